import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config.load import load_config, parse_settings
from larpo_lib.errors import ConfigError
from larpo_lib.parsing import parse_json, parse_toml, unusable
from larpo_lib.pipeline.parameters import read_settings

DEEP = "nested more than 100 levels deep"
DIGITS = "9" * 5000


def lists(depth: int) -> str:
    return "[" * depth + "]" * depth


def tables(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("text", [lists(101), tables(100), json.dumps([[[]] * 500]), "-1.5e3"])
@pytest.mark.parametrize("written", [str, str.encode])
def test_json_is_read(text: str, written: Callable[[str], Any]) -> None:
    assert parse_json(written(text)) == json.loads(text)


@pytest.mark.parametrize("depth", [102, 900, 3000, 100_000])
def test_json_that_is_nested_deeply_is_refused(depth: int) -> None:
    for text in (lists(depth), tables(depth)):
        with pytest.raises(ValueError, match=DEEP):
            parse_json(text)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (json.loads(lists(101)), ""),
        (json.loads(lists(102)), DEEP),
        ({"a": [2**63 - 1, -(2**63), True]}, ""),
        ({"a": [2**63]}, "64 bits"),
        ({"a": {"b": -(2**63) - 1}}, "64 bits"),
    ],
)
def test_values_that_settings_may_have(value: Any, problem: str) -> None:
    assert problem in unusable(value)
    assert bool(problem) == bool(unusable(value))


@pytest.mark.parametrize(
    ("text", "setting", "problem"),
    [
        (f"policy = {lists(3000)}", f"policy={lists(3000)}", DEEP),
        ("policy = " + "{a = " * 3000 + "1" + "}" * 3000, "policy=" + "{a=" * 3000 + "1" + "}" * 3000, DEEP),
        (f"policy{'.a' * 3000} = 1", f"policy{'.a' * 3000}=1", f"setting 'policy': it is {DEEP}"),
        (f"seed = {DIGITS}", f"seed={DIGITS}", "thousands of digits"),
        (f"seed = 0x{'f' * 5000}", f"seed=0x{'f' * 5000}", "setting 'seed': a whole number has more than 64 bits"),
        (f"[train]\nlearning_rate = {DIGITS}.0", f"train.learning_rate={DIGITS}.0", "should be a finite number"),
    ],
)
def test_settings_of_any_depth_and_length_end_in_one_line(
    tmp_path: Path, text: str, setting: str, problem: str
) -> None:
    (tmp_path / "larpo.toml").write_text(text)
    for path, settings in ((tmp_path / "larpo.toml", []), (None, [setting])):
        with pytest.raises(ConfigError, match=problem) as raised:
            load_config(path, settings)
        assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("text", "problem"),
    [(tables(3000), DEEP), (f'{{"seed": {DIGITS}}}', "thousands of digits"), (f'{{"seed": {2**64}}}', "64 bits")],
)
def test_settings_of_a_pipeline_too(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_settings(text)


def test_other_toml_is_as_ever() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        parse_toml("a = [")
    assert parse_settings(["policy=[", "seed=7"]) == {"policy": "[", "seed": 7}
