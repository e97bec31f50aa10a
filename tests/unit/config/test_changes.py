"""Settings that change from an iteration on."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config import LarpoConfig, at_iteration, by_iteration, load_config, load_section
from larpo_lib.config.load import check, check_given
from larpo_lib.config.toml import document, inline
from larpo_lib.errors import ConfigError

FILE = """
policy = "models/base"
seed = 7

[prepare]
source = "prompts.jsonl"
heldout = 10

[sample]
k = 4
max_new_tokens = 64

[train]
objective = { type = "listmle", top = 1, beta = 0.5 }

[loop]
iterations = 5

[[loop.changes]]
iteration = 2
sample.k = 8
train.objective.top = 2

[[loop.changes]]
iteration = 4
sample = { temperature = 0.7, max_new_tokens = 128 }
lists.negatives = { kind = "cold", count = 2 }
train.objective = { type = "dpo" }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "larpo.toml"
    path.write_text(FILE, "utf-8")
    return path


def refusal(file: Path, *settings: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(file, settings)
    return str(caught.value).removeprefix(f"{file}: ")


def change(**tables: Any) -> str:
    """`--set` of a single change, at iteration 2 if it names none."""
    return f"loop.changes={inline([{'iteration': 2, **tables}])}"


def test_each_iteration_has_the_settings_of_the_changes_until_then(file: Path) -> None:
    config = load_config(file)
    found = [at_iteration(config, number) for number in range(1, 6)]
    assert [one.sample.k for one in found] == [4, 8, 8, 8, 8]
    assert [one.sample.temperature for one in found] == [1.0, 1.0, 1.0, 0.7, 0.7]
    assert [one.train.objective.identity() for one in found[:4:2]] == [
        {"type": "listmle", "beta": 0.5, "top": top, "reduction": "sum"} for top in (1, 2)
    ]
    assert found[4].train.objective.type == "dpo"
    assert [one.lists.negatives is None for one in found] == [True, True, True, False, False]
    assert {one.lists.seed for one in found} == {7}
    assert [*by_iteration(config)] == [1, 2, 4]


def test_what_does_not_change_is_that_of_the_first_iteration(file: Path) -> None:
    """Also what is taken over from a setting that changes: evaluations must stay comparable."""
    config = load_config(file)
    last = at_iteration(config, 5)
    assert (config.evaluate.max_new_tokens, last.sample.max_new_tokens) == (64, 128)
    for name in type(config).model_fields:
        if name not in ("sample", "lists", "train"):
            assert getattr(last, name) == getattr(config, name), name
    same = {"seed", "sampler", "max_prompt_tokens", "extra_draws"}
    assert last.sample.model_dump(include=same) == config.sample.model_dump(include=same)


def test_without_changes_there_is_one_configuration() -> None:
    config = load_config(None, ["policy=p", "prepare.source=s", "loop.iterations=9"])
    assert by_iteration(config) == {1: config}
    assert at_iteration(config, 9) is config


def test_they_are_written_as_they_are_read(file: Path) -> None:
    config = load_config(file)
    assert check(LarpoConfig, tomllib.loads(document(config.model_dump(mode="json")))) == config
    assert check(LarpoConfig, json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sample": {"kk": 8}}, "unknown setting 'loop.changes.0.sample.kk'. Did you mean 'k'?"),
        ({"train": {"objective": {"tops": 1}}}, "unknown setting 'loop.changes.0.train.objective.tops'."),
        ({"sample": {"k": "eight"}}, "setting 'loop.changes.0.sample.k': Input should be a valid integer"),
        ({"sample": {"k": 1}}, "setting 'loop.changes.0.sample': k = 1 makes lists of one response"),
        ({"sample": 8}, "setting 'loop.changes.0.sample': Input should be a valid dictionary, not 8"),
        ({"lists": {"memory": "some"}}, "setting 'loop.changes.0.lists.memory': Input should be 'current', 'previous'"),
        ({"train": {"objective": {"type": "lst"}}}, "'loop.changes.0.train.objective' has the unknown type 'lst'"),
        (
            {"train": {"objective": {"type": "target", "top": 2}}},
            "unknown setting 'loop.changes.0.train.objective.top'",
        ),
        ({"report": {"title": "x"}}, "unknown setting 'loop.changes.0.report'"),
        (
            {"iteration": 1, "sample": {"k": 8}},
            "'loop.changes.0.iteration': Input should be greater than or equal to 2",
        ),
        (
            {"iteration": 6, "sample": {"k": 8}},
            "changes has one for iteration 6, but iterations is 5; remove it, or incr",
        ),
        ({"sample": {"seed": 8}}, "'loop.changes.0': sample.seed cannot change during a run: all random choices"),
        ({"train": {"model": {"dtype": "float32"}}}, "train.model cannot change during a run: models are loaded alike"),
        ({"train": {"launch": {"nproc": 2}}}, "train.launch cannot change during a run: machines are chosen before"),
        (
            {"sample": {"prompts_per_iteration": 8}},
            "sample.prompts_per_iteration cannot change during a run: each iter",
        ),
        (
            {"rerank": {"length_penalty": 1.0}},
            "rerank cannot change during a run: lists may contain responses of several",
        ),
        ({"evaluate": {"n": 2}}, "evaluate cannot change during a run: policies are only comparable if"),
        (
            {"train": {"objective": {"type": "function", "target": "a.py:f"}}},
            "train.objective.target cannot change during a run: functions are looked up before the run begins",
        ),
        (
            {"lists": {"negatives": {"kind": "related", "retriever": {"type": "embedding", "path": "m"}}}},
            "lists.negatives.retriever cannot change during a run: models are looked up before the run begins",
        ),
        (
            {"sample": {"temperature": [1.0, 0.5]}},
            "'loop.changes.0.sample.temperature': a list of temperatures has one",
        ),
    ],
)
def test_a_change_that_cannot_be_is_refused_by_its_place_with_the_reason(
    file: Path, given: dict[str, Any], told: str
) -> None:
    assert told in refusal(file, change(**given))


def test_changes_are_refused_where_they_contradict_each_other(file: Path) -> None:
    twice = "loop.changes=[{iteration = 2, sample = {k = 8}}, {iteration = 2, sample = {k = 9}}]"
    assert "changes begin with iterations [2, 2]; list each iteration once, in rising order" in refusal(file, twice)
    scheduled = refusal(file, "sample.temperature=[1.0, 0.8]")
    assert "setting 'loop.changes.1.sample.temperature': a list of temperatures has one for each iter" in scheduled
    assert "Use either a list in sample.temperature, or single values and changes." in scheduled
    assert "loop.changes.0.train.objective.top" in refusal(file, "train.objective.type=nca")  # whose top it was


def test_null_is_refused_for_a_run_keeps_its_settings_as_toml() -> None:
    tree = {"policy": "p", "prepare": {"source": "s"}}
    with pytest.raises(ConfigError, match=r"lists\.negatives is null, which TOML does not have; leave it out"):
        check(LarpoConfig, {**tree, "loop": {"changes": [{"iteration": 2, "lists": {"negatives": None}}]}})


def test_what_a_function_is_called_with_may_change(file: Path) -> None:
    mine = 'train.objective={type = "function", target = "a.py:f", settings = {seed = 1}}'
    config = load_config(file, [mine, change(train={"objective": {"settings": {"seed": 2}}})])
    assert at_iteration(config, 2).train.objective.model_dump()["settings"] == {"seed": 2}


def test_a_change_that_holds_a_secret_is_refused(file: Path) -> None:
    secret = {"train": {"objective": {"settings": {"api_key": "hf_abcdefghijklmnopqrstuvwxyz012345"}}}}
    mine = 'train.objective={type = "function", target = "a.py:f"}'
    assert "looks like a password or a key" in refusal(file, mine, change(**secret))


def test_single_steps_say_that_they_do_not_read_changes(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("sample", "lists", "train"):
        load_section(name, file)
        (told,) = caplog.messages
        assert told.startswith(f"loop.changes has other settings of {name} for later iterations, which single steps do")
        caplog.clear()
    load_section("rerank", file)
    load_section("sample", None, ["loop.changes=3"])
    assert not caplog.messages
    with pytest.raises(ConfigError, match=r"unknown setting 'loop\.changes\.0\.sample\.kk'"):
        load_section("rerank", None, ["loop.changes=[{iteration = 2, sample = {kk = 8}}]"])


def test_changes_of_settings_that_are_completed_later_are_checked_as_far_as_they_are_known() -> None:
    """As those that a pipeline is sent, over a preset: what the objective of a change is, is not known yet."""
    fits = {"iteration": 2, "sample": {"k": 8}, "train": {"objective": {"top": 2}}}
    check_given({"loop": {"changes": [fits]}})
    with pytest.raises(ConfigError, match=r"unknown setting 'loop\.changes\.1\.sample\.kk'\. Did you mean 'k'"):
        check_given({"loop": {"changes": [fits, {"iteration": 3, "sample": {"kk": 8}}]}})
    with pytest.raises(ConfigError, match=r"loop\.changes\.0\.iteration"):
        check_given({"loop": {"changes": [{**fits, "iteration": 1}]}})
