"""The numbers of the policy that a run began with stand in a card only where they can be compared with the policy's."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from promotions import PROMPTS, World, benchmark, row

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import EvaluateConfig, PromoteConfig
from larpo_lib.registry import Registry
from larpo_lib.reporting.evaluation import Score
from larpo_lib.statistics.estimates import Estimate
from larpo_lib.steps import promote
from larpo_lib.tables import write_table

WATCH = [{"name": "low", "reranker": {"type": "length", "longest": 30}}]


def evaluation(
    folder: Path, reward: float, prompts: list[str] = PROMPTS, rewards_by: str = "verifier", **settings: Any
) -> Path:
    """With a number of every kind that the step `evaluate` tells, all of them `reward`."""
    config = EvaluateConfig.model_validate({"watch": WATCH, "judge": {"type": "verifier"}, **settings})

    def make(work: WorkDir) -> Metrics:
        rows = [
            {**row(prompt, reward, correct=True, temperature=temperature), "reranker": rewards_by}
            for prompt in prompts
            for temperature in (0.0, 1.0)
        ]
        write_table(work.data / "evaluated.parquet", "evaluated", rows)
        watched = [
            {**{name: one[name] for name in ("prompt_id", "sample_index", "temperature", "reward")}, "watch": "low",
             "reranker": "length"}
            for one in rows
        ]  # fmt: skip
        write_table(work.data / "watched.parquet", "watched", watched)
        means = ("mean_reward", "accuracy", "watch_low")
        bounds = {f"{name}{end}": reward for name in means for end in ("", "_low", "_high")}
        return {
            **bounds,
            **dict.fromkeys(("greedy_reward", "greedy_accuracy", "pass_at_1", "best_of_n_reward"), reward),
        }

    produce("evaluate", config, {}, folder, make, arguments={"rewards_by": rewards_by, "reward": reward})
    return folder


def starts(world: World, tmp_path: Path, new: Path, old: Path, gate: PromoteConfig | None = None) -> dict[str, str]:
    """The cells of the table's column "start", by the metrics' names; empty where there is no such column."""
    (tmp_path / "policy").mkdir()
    registry = Registry(world.uri, world.run_id)
    promote.run(
        gate or PromoteConfig(), policy=tmp_path / "policy", evaluation=new, baseline=old,
        promotion=tmp_path / "promotion", registry=registry,
    )  # fmt: skip
    (version,) = MlflowClient(world.uri).search_model_versions("name = 'larpo-policy'")
    table = version.description.partition("| metric | policy |")[2].partition("\n\n")[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {name: start for name, _, *starts in cells for start in starts}


REWARDS = {"mean reward", "greedy reward", "best of n reward"}
RIGHT = {"accuracy", "greedy accuracy", "pass at 1"}
ALL = REWARDS | RIGHT | {"watch low"}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, ALL),
        ({"prompts": ["q1", "q2"]}, set()),
        ({"prompts": PROMPTS[1:]}, set()),
        ({"temperature": 0.5}, {"greedy accuracy"}),
        ({"n": 3}, ALL - {"best of n reward"}),
        ({"rewards_by": "another"}, ALL - REWARDS),
        ({"reranker": {"type": "verifier", "format_weight": 5.0}}, ALL - REWARDS),
        ({"judge": {"type": "verifier", "mode": "math"}}, ALL - RIGHT),
        ({"watch": [{"name": "low", "reranker": {"type": "length", "longest": 31}}]}, ALL - {"watch low"}),
    ],
)
def test_a_number_of_the_start_is_left_out_where_it_cannot_be_compared(
    world: World, tmp_path: Path, changes: dict[str, Any], shown: set[str]
) -> None:
    new, old = evaluation(tmp_path / "new", 0.9), evaluation(tmp_path / "old", 0.3, **changes)
    found = starts(world, tmp_path, new, old)
    assert {name for name, start in found.items() if start.startswith("0.300")} == shown
    assert found.keys() == (ALL if shown else set())


@pytest.mark.parametrize(("judge", "shown"), [("gpt", {"win rate", "lc win rate"}), ("llama", set())])
def test_a_benchmarks_number_that_is_no_mean_of_values_is_compared_by_all_of_them(
    world: World, tmp_path: Path, judge: str, shown: set[str]
) -> None:
    new, old = (
        benchmark(tmp_path / name, gain, judged_by=by, scores=[
            Score(score, "", Estimate(50.0 + gain, 49.0, 55.0), "%", "") for score in ("win_rate", "lc_win_rate")])
        for name, gain, by in (("new", 2.0, "gpt"), ("old", 0.0, judge))
    )  # fmt: skip
    found = starts(world, tmp_path, new, old, PromoteConfig(metric="win_rate"))
    assert {name for name, start in found.items() if start.startswith("50.00 ")} == shown
