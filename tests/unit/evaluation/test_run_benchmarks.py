"""What a run's gate asks of benchmarks is refused before anything that costs, if the run cannot measure it."""

import inspect
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError, DataError, EndpointError
from larpo_lib.evaluation import benchmarks, run_benchmarks
from larpo_lib.evaluation.benchmark import POLICY, Benchmark, Number
from larpo_lib.evaluation.run_benchmarks import (
    check_benchmark_files,
    check_benchmark_servers,
    check_run_benchmarks,
    require_values,
)
from larpo_lib.judging import known_judges
from larpo_lib.tables import write_table


def config(metric: str, files: dict[str, dict[str, str]] | None = None, **sections: Any) -> LarpoConfig:
    gate = {
        "must_improve": [{"metric": "evaluate.reward"}],
        "must_not_lose": [{"metric": metric, "margin": 1}],
    }
    tree = {"policy": "models/base", "prepare": {"source": "p.jsonl", "heldout": 4}, "promote": gate}
    return LarpoConfig.model_validate({**tree, "loop": {"benchmark_files": files or {}}, **sections})


def taking(*names: str, **files: dict[str, str]) -> LarpoConfig:
    """A run that takes benchmarks its gate does not ask for."""
    return config("evaluate.length", loop={"benchmarks": names, "benchmark_files": files})


@pytest.mark.parametrize(
    ("metric", "files", "problem"),
    [
        ("gsm9k.accuracy", {}, r"names a benchmark 'gsm9k', which there is not\. Use evaluate or one of alpaca_eval, "),
        (
            "evaluate.acuracy",
            {},
            r"asks for evaluate\.acuracy, but evaluate has no acuracy\. Use one of evaluate\.reward",
        ),
        (
            "evaluate.watch_rules",
            {},
            r"must_not_lose asks for evaluate\.watch_rules, but evaluate has no watch_rules\. Use one of "
            r"evaluate\.reward, .*, evaluate\.length, or add it to evaluate\.watch",
        ),
        ("gsm8k.reward", {}, r"gsm8k has no reward\. Use one of gsm8k\.accuracy, gsm8k\.sampled_accuracy"),
        ("gsm8k.pass_at_", {}, r"gsm8k has no pass_at_"),
        ("gsm8k.accuracy", {}, r"which needs problems: .*\. Set loop\.benchmark_files\.gsm8k\.problems"),
        (
            "gsm8k.accuracy",
            {"gsm8k": {"problem": "x"}},
            r"loop\.benchmark_files\.gsm8k\.problem is no input of gsm8k\. Remove it",
        ),
        (
            "gsm8k.accuracy",
            {"gsm8k": {"problems": "x", "policy": "y"}},
            r"loop\.benchmark_files\.gsm8k\.policy is what the run has itself",
        ),
        ("divergence.kl", {"gsm9k": {"problems": "x"}}, r"names a benchmark 'gsm9k'"),
        ("alpaca_eval.win_rate", {}, r"the section \[alpaca_eval\] is missing\. Add it"),
    ],
)
def test_what_a_run_cannot_measure_is_refused(metric: str, files: dict[str, dict[str, str]], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_run_benchmarks(config(metric, files))


@pytest.mark.parametrize(
    ("names", "files", "problem"),
    [
        (["gsm9k"], {}, r"loop\.benchmarks names a benchmark 'gsm9k', which there is not\. Use one of alpaca_eval, "),
        (["evaluate"], {}, r"loop\.benchmarks names a benchmark 'evaluate', which there is not"),
        (["gsm8k"], {}, r"loop\.benchmarks contains gsm8k, which needs problems: .*Set loop\.benchmark_files\.gsm8k"),
        (["mixeval"], {}, r"loop\.benchmarks contains mixeval, but the section \[mixeval\] is missing\. Add it"),
        (["score_reward_model"], {}, r"loop\.benchmarks contains score_reward_model, which measures no policy\. R"),
        (["divergence"], {"divergence": {"problems": "x"}}, r"divergence\.problems is no input of divergence"),
        ([], {"gsm9k": {}}, r"loop\.benchmark_files names a benchmark 'gsm9k'"),
    ],
)
def test_a_benchmark_that_a_run_cannot_take_is_refused(
    names: list[str], files: dict[str, dict[str, str]], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_run_benchmarks(taking(*names, **files))


@pytest.mark.parametrize("benchmark", benchmarks().values(), ids=lambda one: one.name)
def test_what_a_benchmark_need_not_read_need_not_be_given(benchmark: Benchmark) -> None:
    run = import_module(f"larpo_lib.evaluation.{benchmark.name}.step").run
    parameters = inspect.signature(run).parameters
    needed = {name for name, one in parameters.items() if one.default is inspect.Parameter.empty}
    assert needed <= {"config", "evaluation", *(one.name for one in benchmark.inputs if one.required)}


def test_a_benchmark_is_listed_once() -> None:
    with pytest.raises(ValueError, match="benchmarks contains gsm8k twice; list each benchmark once"):
        taking("gsm8k", "divergence", "gsm8k")


@pytest.mark.parametrize(
    "metric",
    [
        "divergence.kl",
        "evaluate.length",
        "evaluate.watch_rules",
        "gsm8k.pass_at_4",
        "lm_eval.ifeval.prompt_level_strict_acc",
    ],
)
def test_what_it_can_measure_is_not(metric: str) -> None:
    watch = [{"name": "rules", "reranker": {"type": "ifeval"}}]
    check_run_benchmarks(
        config(metric, {"gsm8k": {"problems": "x"}}, lm_eval={"tasks": ["ifeval"]}, evaluate={"watch": watch})
    )


JUDGED = {"judge": {"base_url": "http://x/v1", "model": "j"}}
HARD = {"arena_hard": {"questions": "q", "hard_prompt_baseline": "h"}}
COLLECTION = {"retrieval": {"queries": "q", "corpus": "c", "relevance": "r"}}
LISTS = {"type": "ensemble", "members": [{"reranker": {"type": "length", "longest": n}} for n in (9, 99)]}
"""Its members are compared within a list, as none has a mean."""


@pytest.mark.parametrize(
    ("metric", "files", "sections", "problem"),
    [
        ("alpaca_eval.average_length", {"alpaca_eval": {"reference": "r"}}, {"alpaca_eval": JUDGED}, "without a value"),
        ("alpaca_eval.lc_win_rate", {"alpaca_eval": {"reference": "r"}}, {"alpaca_eval": JUDGED}, "alpaca_eval.gamed"),
        ("gsm8k.pass_at_9", {"gsm8k": {"problems": "p"}}, {}, "N must be a number from 1 to gsm8k.n = 8"),
        ("gsm8k.majority_accuracy", {"gsm8k": {"problems": "p"}}, {"gsm8k": {"n": 0}}, "with gsm8k.n = 0"),
        ("retrieval.pass_at_9", {}, {"evaluate": {"judge": {"type": "verifier"}}}, "from 1 to evaluate.n = 8"),
        ("retrieval.best_of_9_reward", {}, {}, "from 1 to evaluate.n = 8"),
        ("retrieval.recall_at_2", {}, {}, "evaluate.judge is not set"),
        ("retrieval.majority_accuracy", {}, {}, "evaluate.judge is not set"),
        ("retrieval.bm25_recall_at_2", {}, {}, "needs queries, a corpus and a relevance file"),
        ("retrieval.bm25_recall_at_3", COLLECTION, {}, "give bm25_recall_at_1, bm25_recall_at_2, bm25_recall_at_5"),
        ("arena_hard.creative_writing_win_rate", HARD, {"arena_hard": JUDGED}, "arena_hard.creative_writing_baseline"),
        ("arena_hard.hard_win_rate", HARD, {"arena_hard": JUDGED}, "categories are hard_prompt and creative_writing"),
        ("divergence.kl", {}, {"evaluate": {"temperature": 0.7}}, "evaluate.top_p = 1, not 0.7 and 1"),
        ("reward_eval.reward", {}, {"reward_eval": {"reranker": LISTS}}, "only comparable within one list"),
    ],
)
def test_what_the_settings_leave_out_is_refused(
    metric: str, files: dict[str, dict[str, str]], sections: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_run_benchmarks(config(metric, files, **sections))
    assert f"promote asks for {metric}, which there will not be: " in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "files", "sections"),
    [
        ("alpaca_eval.win_rate", {"alpaca_eval": {"reference": "r"}}, {"alpaca_eval": JUDGED}),
        ("alpaca_eval.lc_win_rate", {"alpaca_eval": {"reference": "r", "gamed": "g"}}, {"alpaca_eval": JUDGED}),
        ("gsm8k.accuracy", {"gsm8k": {"problems": "p"}}, {"gsm8k": {"n": 0}}),
        ("gsm8k.pass_at_8", {"gsm8k": {"problems": "p"}}, {}),
        ("retrieval.recall_at_8", {}, {"evaluate": {"judge": {"type": "verifier"}}}),
        ("retrieval.best_of_8_reward", {}, {}),
        ("retrieval.ndcg", {}, {}),
        ("retrieval.bm25_recall_at_100", COLLECTION, {}),
        ("arena_hard.hard_prompt_equal_style", HARD, {"arena_hard": JUDGED}),
        ("reward_eval.win_rate", {}, {"reward_eval": {"reranker": LISTS}}),
    ],
)
def test_what_the_settings_give_is_not(metric: str, files: dict[str, dict[str, str]], sections: dict[str, Any]) -> None:
    check_run_benchmarks(config(metric, files, **sections))


def test_a_missing_file_or_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"loop\.benchmark_files\.gsm8k\.problems: /nowhere: no such file\. Give an existing"
    ):
        check_benchmark_files(config("gsm8k.accuracy", {"gsm8k": {"problems": "/nowhere"}}))
    with pytest.raises(ConfigError, match=r"gsm8k\.problems: /nowhere: no such file"):
        check_benchmark_files(taking("gsm8k", gsm8k={"problems": "/nowhere"}))
    (tmp_path / "problems.jsonl").touch()
    there = config("gsm8k.accuracy", {"gsm8k": {"problems": str(tmp_path / "problems.jsonl")}})
    check_benchmark_files(there)
    needy = Benchmark(
        "gsm8k", "", "", "", (POLICY,), "", "", (Number("accuracy", "", "", ""),), {}, "", packages={"no-such": "pip"}
    )
    monkeypatch.setattr(run_benchmarks, "benchmarks", lambda: {"gsm8k": needy})
    with pytest.raises(ConfigError, match="needs the package no-such"):
        check_benchmark_files(there)


def test_a_judge_that_cannot_be_asked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(date):
        @classmethod
        def today(cls) -> "Later":
            return cls(2027, 1, 1)

    monkeypatch.setattr(known_judges, "date", Later)
    reference = {"alpaca_eval": {"reference": "x"}}
    judge = {"base_url": "https://api.openai.com/v1", "model": "gpt-4-1106-preview"}
    with pytest.raises(ConfigError, match="the judge gpt-4-1106-preview cannot be asked: OpenAI shut it down"):
        check_benchmark_files(config("alpaca_eval.win_rate", reference, alpaca_eval={"judge": judge}))
    away = {"base_url": "http://localhost:1/v1", "model": "policy"}
    with pytest.raises(EndpointError, match="localhost:1"):
        check_benchmark_servers(config("alpaca_eval.win_rate", reference, alpaca_eval={"judge": away}))


def test_a_benchmark_whose_settings_leave_the_metric_out_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "scores.parquet", "scores", [{"metric": "accuracy", "item_id": "a", "value": 1.0}])
    (tmp_path / "metrics.json").write_text('{"accuracy": 1.0}')
    require_values(tmp_path, ["accuracy"])
    with pytest.raises(DataError, match=r"has no pass_at_4 for each item, .*Ask for one of accuracy"):
        require_values(tmp_path, ["accuracy", "pass_at_4"])
