"""Settings that nobody would write: they are read, or refused by a ConfigError of one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from fuzzing import few, is_one_line
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.config import LarpoConfig
from larpo_lib.config.load import check, load_config, parse_settings
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline.parameters import compose

NAMES = [
    *LarpoConfig.model_fields,
    "type",
    "reranker",
    "sampler",
    "objective",
    "selection",
    "negatives",
    "judge",
    "source",
]
NAMES += [
    "k",
    "temperature",
    "base_url",
    "api_key_env",
    "target",
    "settings",
    "members",
    "path",
    "columns",
    "",
    "a b",
    "é",
]
TEXTS = st.sampled_from(
    ["", "a", "hf", "http", "llm_judge", "function", "x.py:f", "s3://a", "http://a:b@c", "\x1b[0m", "[", "{"]
)
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.integers(2**62, 2**70) | st.floats() | TEXTS | st.text(max_size=4)
)
NAME = st.sampled_from(NAMES) | st.text(max_size=3)
VALUES = st.recursive(
    PLAIN, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAME, below, max_size=3), max_leaves=6
)
TREES = st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=3)
BASE = {"policy": "p", "prepare": {"source": "s"}}


def outcome(read: Any) -> str:
    """What is told; nothing where it was read."""
    try:
        read()
    except ConfigError as error:
        return str(error)
    return ""


@few
@given(TREES)
def test_any_tree_is_a_configuration_or_refused(tree: dict[str, Any]) -> None:
    assert is_one_line(outcome(lambda: check(LarpoConfig, {**BASE, **tree})))
    assert is_one_line(outcome(lambda: compose({"settings": json.dumps({**BASE, **tree})})))


@given(st.lists(st.tuples(st.lists(NAME, min_size=1, max_size=3).map(".".join), VALUES | TEXTS), max_size=3), st.text())
def test_any_setting_is_read_or_refused(pairs: list[tuple[str, Any]], text: str) -> None:
    assert is_one_line(outcome(lambda: parse_settings([*(f"{name}={value}" for name, value in pairs), text])))


TOML = st.lists(
    st.sampled_from([*"[]{}=.\"'#\n ,", "'''", '"""', "[prepare]\n", "policy", "seed", "1", "a", "\\", "\x00"])
)


@few
@given(TOML.map("".join) | st.text(max_size=20))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = Path(tmp_path_factory.getbasetemp()) / "any.toml"
    file.write_text(text, "utf-8")
    assert is_one_line(outcome(lambda: load_config(file)))
