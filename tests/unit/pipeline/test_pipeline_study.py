"""A grid of runs: what its first component checks, and what it leaves for the runs."""

import json
from pathlib import Path

import pytest
from pipeline_requests import Given, changed

from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.pipeline import study
from larpo_lib.pipeline.gate import gate
from larpo_lib.pipeline.grid import grids
from larpo_lib.pipeline.journal import Journal
from larpo_lib.pipeline.run_context import RunContext

GRID = [json.dumps({"lists": {"memory": "all"}}), json.dumps({"loop": {"iterations": 1}})]


@pytest.fixture
def study_given(given: Given) -> Given:
    return {**changed(given, loop={}), "grid": GRID}


def test_each_run_has_a_context_in_a_root_of_its_own(study_given: Given, tmp_path: Path) -> None:
    started = study.begin(study_given, "/kfp/checked")
    root = tmp_path / "one"
    assert started.members == [f"{root}/members/{i}/contexts/job" for i in (1, 2)]
    assert started.rounds == ["1", "2", "3"]  # of the longest run
    shared, first, second = (RunContext.at(run) for run in (started.run, *started.members))
    assert (shared.grid, shared.members) == (tuple(GRID), ("one-1", "one-2"))
    assert [shared.member(1), shared.member(2)] == started.members
    assert (first.config.lists.memory, first.config.loop.iterations) == ("all", 3)
    assert (second.config.loop.iterations, second.shards) == (1, 2)
    assert first.plan.policy(0) == second.plan.policy(0) == f"{root}/sft"
    assert first.plan.at(0, "evaluation") == f"{root}/iteration-0/evaluation"
    assert len({context.parent for context in (shared, first, second)}) == 3


def test_a_shorter_run_skips_the_rounds_behind_its_own(study_given: Given) -> None:
    _, second = study.begin(study_given, "/kfp/checked").members
    assert [gate(second, i) for i in ("1", "2", "3")] == ["evaluate", "skip", "skip"]


def test_a_failure_of_one_run_shuts_no_gate_of_another(study_given: Given) -> None:
    first, second = study.begin(study_given, "/kfp/checked").members
    context = RunContext.at(first)
    with pytest.raises(LarpoError), context.journal.step("train-1"):
        raise LarpoError("no")
    assert (gate(first, "2"), gate(second, "1")) == ("skip", "evaluate")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": []}, "grid is not a list of different JSON texts"),
        ({"grid": [GRID[0], GRID[0]]}, "grid is not a list of different JSON texts"),
        ({"grid": ['{"evaluate": {"n": 3}}']}, "run 1 of the grid changes evaluate"),
        ({"grid": ['{"lists": {"memory": "none"}}']}, "lists.memory"),
        ({"grid": ['{"loop": {"benchmarks": ["divergence"]}}']}, "run 1 of the grid takes other benchmarks"),
        ({"rounds": 6, "grid": [f'{{"seed": {i}}}' for i in range(9)]}, "54 rounds of 2 shards make a workflow"),
    ],
)
def test_what_cannot_be_is_told_first(study_given: Given, tmp_path: Path, change: Given, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study.begin({**study_given, **change}, "/kfp/checked")
    (trouble,) = Journal(str(tmp_path / "one"), "job").unfinished()
    assert trouble.step == "start"
    assert not (tmp_path / "one" / "members").exists()


def test_runs_with_benchmarks_are_in_one_grid_if_they_take_the_same_ones() -> None:
    tree = {"policy": "models/base", "prepare": {"source": "p.jsonl", "heldout": 4}, "gsm8k": {"n": 2}}
    loops = ({}, {"benchmarks": ["gsm8k"]}, {"benchmarks": ["gsm8k"], "iterations": 1})
    runs = {str(i): LarpoConfig.model_validate({**tree, "loop": loop}) for i, loop in enumerate(loops)}
    without, taking = grids(runs)
    assert (without.names, taking.names) == (["0"], ["1", "2"])
    assert "gsm8k" not in json.loads(without.settings)
    assert json.loads(taking.settings)["gsm8k"]["n"] == 2
