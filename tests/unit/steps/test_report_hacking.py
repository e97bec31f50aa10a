"""What the report reads of reward hacking from artifacts: whose they are, and what training learns from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from table_rows import ranked, with_table

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig, RerankConfig, Section
from larpo_lib.errors import ArtifactError
from larpo_lib.files import write_json
from larpo_lib.reporting.evaluation import EvaluationReport, Score
from larpo_lib.statistics.estimates import Bootstrap, Estimate
from larpo_lib.steps.report_hacking import read_hacking
from larpo_lib.tables import write_table

BOOTSTRAP = Bootstrap(0.95, 50, 0)
HISTORY = [{"kl": float(step)} for step in range(1, 21)]


def evaluation(root: Path, number: int, watched: str = "") -> Path:
    """Of a policy that is nothing but its number."""
    (root / f"policy-{number}").mkdir()
    (root / f"policy-{number}" / "config.json").write_text(str(number))
    scored = {"sample_index": 0, "temperature": 1.0, "reward": 0.5 - number, "reranker": watched, "watch": "other"}

    def make(work: WorkDir) -> Metrics:
        write_table(work.data / "evaluated.parquet", "evaluated", [
            {**ranked("p", "text", float(number), reranker="verifier-exact"), "correct": None}
        ])  # fmt: skip
        if watched:
            write_table(work.data / "watched.parquet", "watched", [{**scored, "prompt_id": "p"}])
        return {}

    produce("evaluate", EvaluateConfig(), {"policy": root / f"policy-{number}"}, root / f"evaluation-{number}", make)
    return root / f"evaluation-{number}"


def benchmark(root: Path, name: str, policy: Path, value: float, judge: str = "a judge") -> Path:
    estimate = Estimate(value, value - 1, value + 1)
    scores = [
        Score("win_rate", "Win rate", Estimate(0.0), "%", ""),
        Score("lc_win_rate", "LC win rate", estimate, "%", ""),
    ]
    report = EvaluationReport(
        "alpaca_eval", "AlpacaEval 2", digest(policy)[:16], judge, scores, {}, {}, headline=("lc_win_rate", "win_rate")
    )

    def make(work: WorkDir) -> Metrics:
        write_json(work.data / "report.json", report.to_json())
        return {}

    produce("alpaca_eval", Section(), {"policy": policy}, root / name, make)
    return root / name


def read(root: Path, learned: str = "verifier-exact", benchmarks: Sequence[Path] = (), watched: str = "") -> Any:
    evaluations = {number: evaluation(root, number, watched) for number in (0, 1)}
    last = with_table(root / "ranked", "ranked", [ranked("q", "text", 1.0, reranker=learned)])
    return read_hacking(evaluations, last, [HISTORY], benchmarks, BOOTSTRAP)


@pytest.mark.parametrize(
    ("learned", "trained"),
    [
        ("verifier-exact", "reward"),
        ("verifier-exact - 0.01 a character", "reward"),
        ("length", "watch_other"),
        ("classifier-rm", None),
    ],
)
def test_what_training_learns_from_is_found_among_the_measures(tmp_path: Path, learned: str, trained: str) -> None:
    found = read(tmp_path, learned, watched="length")
    assert found.trained == trained
    assert [one.estimates["watch_other"].value for one in found.standings] == [0.5, -0.5]
    assert [one.kl for one in found.standings] == [None, 19.5]  # of the last tenth of 20 steps


@pytest.mark.parametrize(("longest", "trained"), [(30, "reward"), (50, "watch_other"), (70, None)])
def test_rerankers_of_one_name_are_told_apart_by_their_settings(
    tmp_path: Path, longest: int, trained: str | None
) -> None:
    def length(most: int) -> dict[str, Any]:
        return {"type": "length", "longest": most}

    def evaluated(work: WorkDir) -> Metrics:
        row = ranked("p", "text", 0.5, reranker="length")
        seen = {"watch": "other", "prompt_id": "p", "sample_index": 0, "temperature": 1.0, "reranker": "length"}
        write_table(work.data / "evaluated.parquet", "evaluated", [{**row, "correct": None}])
        write_table(work.data / "watched.parquet", "watched", [{**seen, "reward": 0.25}])
        return {}

    def reranked(work: WorkDir) -> Metrics:
        write_table(work.data / "ranked.parquet", "ranked", [ranked("q", "text", 1.0, reranker="length")])
        return {}

    watch = {"name": "other", "reranker": length(50)}
    settings = EvaluateConfig.model_validate({"reranker": length(30), "watch": [watch]})
    learned = RerankConfig.model_validate({"reranker": length(longest)})
    produce("evaluate", settings, {}, tmp_path / "evaluation", evaluated)
    produce("rerank", learned, {}, tmp_path / "ranked", reranked)
    assert read_hacking({0: tmp_path / "evaluation"}, tmp_path / "ranked", [], [], BOOTSTRAP).trained == trained


def test_benchmarks_are_told_apart_by_judge_and_stand_with_the_policies_that_they_measured(tmp_path: Path) -> None:
    policies = [tmp_path / f"policy-{number}" for number in (0, 1)]
    for number, policy in enumerate(policies):
        policy.mkdir()
        (policy / "config.json").write_text(str(number))
    passed = [benchmark(tmp_path, f"b{number}", policy, 40.0 + number) for number, policy in enumerate(policies)]
    passed.append(benchmark(tmp_path, "other", policies[1], 70.0, "another judge"))
    for policy in policies:
        (policy / "config.json").unlink()
        policy.rmdir()
    first, second = read(tmp_path, benchmarks=passed[::-1]).judged
    assert (second.title, second.judged_by) == ("AlpacaEval 2: LC win rate (%)", "a judge")
    assert second.scores == {1: Estimate(41.0, 40.0, 42.0), 0: Estimate(40.0, 39.0, 41.0)}
    assert (first.judged_by, [*first.scores]) == ("another judge", [1])
    assert (first.name, second.name) == ("alpaca_eval_lc_win_rate_1", "alpaca_eval_lc_win_rate_2")


def test_a_benchmark_of_another_policy_or_passed_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = benchmark(tmp_path, "other", tmp_path / "elsewhere", 1.0)
    with pytest.raises(ArtifactError, match=r"other: measured [0-9a-f]{16}, which is no evaluated policy of this run"):
        read(tmp_path, benchmarks=[other])
