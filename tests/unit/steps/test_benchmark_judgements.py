"""When the gate compares two evaluations by one benchmark; hand-made evaluations."""

from pathlib import Path
from typing import Any

import pytest
from promotions import benchmark

from larpo_lib.config.benchmarks import LlmJudgeConfig
from larpo_lib.evaluation import benchmarks
from larpo_lib.evaluation.alpaca_eval.report import make_report
from larpo_lib.evaluation.alpaca_eval.scoring import Comparison, Scores
from larpo_lib.evaluation.alpaca_eval.settings import AlpacaEvalConfig
from larpo_lib.steps.judgements import Judgement, incomparable, kept_judgement, read_judgement

SAMPLED = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8, "n": 4}
GAVE = {"reranker": "verifier", "settings": {"type": "verifier", "format_weight": 0.1, "content": {}}}
OF_ANSWERS = ("pass_at_4", "majority_accuracy", "recall_at_2", "accuracy")
OF_REWARDS = ("best_of_2_reward", "ndcg", "kendall_tau", "kendall_tau_per_token", "reward")
OF_DOCUMENTS = ("bm25_recall_at_2", "embedding_recall_at_10")
METRICS = (*OF_ANSWERS, *OF_REWARDS, *OF_DOCUMENTS)


def retrieval(**changes: Any) -> Judgement:
    given = {
        "reranker": "rewards by verifier, right or wrong by verifier",
        "values": {metric: {"p1": 0.5, "p2": 1.0} for metric in METRICS},
        "benchmark": "retrieval ranked by logprob",
        "sampling": SAMPLED,
        "watched": {"reward": GAVE},
    }
    return Judgement(**{**given, **changes})


def other_weight(weight: float) -> dict[str, Any]:
    return {"reward": {**GAVE, "settings": {**GAVE["settings"], "format_weight": weight}}}  # type: ignore[dict-item]


@pytest.mark.parametrize("metric", METRICS)
def test_an_equal_one_can_be_compared_also_as_the_registry_keeps_it(metric: str) -> None:
    assert incomparable(metric, retrieval(), kept_judgement(retrieval().to_json())) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sampling": {**SAMPLED, "temperature": 0.3}}, "sampled with other settings: temperature 0.3 instead of 1.0"),
        ({"sampling": {**SAMPLED, "max_new_tokens": 24}}, "other settings: max_new_tokens 24 instead of 8"),
        ({"reranker": "rewards by verifier, right or wrong by verifier-math"}, "right or wrong by verifier-math, not"),
    ],
)
def test_what_was_sampled_or_judged_otherwise_is_not_compared(changes: dict[str, Any], problem: str) -> None:
    for metric in {*METRICS} - {"reward"}:  # whose responses nobody needs to judge right or wrong
        found = incomparable(metric, retrieval(), kept_judgement(retrieval(**changes).to_json()))
        assert (found is None) == (metric in OF_DOCUMENTS)
        assert problem in (found or problem)


@pytest.mark.parametrize(
    ("watched", "problem"),
    [
        (other_weight(5.0), "its rewards come from another verifier (format_weight 5.0 instead of 0.1)"),
        ({}, "what gave its rewards was kept by an earlier version, without the settings"),
    ],
)
def test_other_rewards_matter_only_to_numbers_of_rewards(watched: dict[str, Any], problem: str) -> None:
    for metric in METRICS:
        found = incomparable(metric, retrieval(), kept_judgement(retrieval(watched=watched).to_json()))
        assert found == (problem if metric in OF_REWARDS else None)


def test_all_that_reward_eval_reports_is_of_its_reward() -> None:
    for one in benchmarks()["reward_eval"].numbers:
        new, old = (
            Judgement("a model", {one.name: {"p": 1.0}}, "reward_eval against b", watched=watched)
            for watched in ({"reward": GAVE}, other_weight(5.0))
        )
        assert "format_weight" in (incomparable(one.name, new, old) or "")


def test_documents_are_found_alike_with_and_without_a_policy_but_not_where_they_are_others() -> None:
    alone = retrieval(reranker="documents by the relevance file", sampling=None, watched={})
    assert incomparable("bm25_recall_at_2", retrieval(), alone) is None
    other = retrieval(values={"bm25_recall_at_2": {"q1": 0.5, "p2": 1.0}})
    assert "different items (1 of 2 in common)" in (incomparable("bm25_recall_at_2", retrieval(), other) or "")


def test_only_numbers_that_depend_on_how_many_were_sampled_need_equally_many() -> None:
    """Pass@N and best-of-N are unbiased for any number of samples (Chen et al. 2021); a vote of 16 is no vote of 4."""
    more = retrieval(sampling={**SAMPLED, "n": 16})
    found = {metric for metric in METRICS if incomparable(metric, retrieval(), more)}
    assert found == {"majority_accuracy", "ndcg", "kendall_tau", "kendall_tau_per_token", "recall_at_2"}
    said = incomparable("majority_accuracy", retrieval(), more)
    assert said == "its responses were sampled with other settings: n 16 instead of 4"


def test_votes_of_other_sizes_are_not_compared_nor_those_whose_size_is_not_known() -> None:
    values = {"accuracy": {"a": 100.0}, "majority_accuracy": {"a": 100.0}, "pass_at_2": {"a": 100.0}}
    of = {n: Judgement("a rule", values, "gsm8k 0-shot", sampling={"temperature": 1.0, "n": n}) for n in (2, 16)}
    unknown = Judgement("a rule", values, "gsm8k 0-shot", sampling={"temperature": 1.0})
    not_kept = "an earlier version did not keep how many responses were sampled"
    for other, problem in ((of[2], "n 2 instead of 16"), (unknown, not_kept)):
        assert problem in (incomparable("majority_accuracy", of[16], other) or "")
        assert incomparable("majority_accuracy", other, of[16])
        assert incomparable("accuracy", of[16], other) is None
        assert incomparable("pass_at_2", of[16], other) is None
    assert incomparable("majority_accuracy", of[16], of[16]) is None
    assert incomparable("majority_accuracy", unknown, of[16]) == not_kept
    colder = Judgement("a rule", values, "gsm8k 0-shot", sampling={"temperature": 0.5})
    assert (incomparable("majority_accuracy", of[16], colder) or "").endswith(": temperature 0.5 instead of 1.0")


def test_values_that_an_earlier_version_kept_otherwise_are_not_compared(tmp_path: Path) -> None:
    """Of AlpacaEval's `lc_win_rate`, which were fitted preferences; win rates stay what they were."""
    config = AlpacaEvalConfig(judge=LlmJudgeConfig(base_url="http://localhost/v1", model="gpt"))
    compared = {text: Comparison(None, 1.5, 9, 9) for text in ("a", "b")}
    scores = Scores(50.0, 0.0, 55.0, 5.0, 9.0, 2, 0, 2, [50.0, 60.0])
    found = make_report(config, "p", "r", compared, scores, {}, {}, "")
    new = read_judgement(benchmark(tmp_path / "new", values=found.values, made_by=found.made_by))
    earlier = read_judgement(benchmark(tmp_path / "earlier", values=found.values))
    for one, other in ((new, kept_judgement(earlier.to_json())), (earlier, kept_judgement(new.to_json()))):
        assert incomparable("win_rate", one, other) is None
        assert incomparable("lc_win_rate", one, other) == "an earlier version kept other values of lc_win_rate"
    assert incomparable("lc_win_rate", new, kept_judgement(new.to_json())) is None
