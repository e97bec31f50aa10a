"""The gate: what it reads of an evaluation, and whether a policy passes. Nothing is registered here."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promotions import CONFIG, PROMPTS, benchmark, evaluated, evaluation, judgement, row

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig, PromoteConfig
from larpo_lib.errors import DataError
from larpo_lib.rewards.judges.verifier import VerifierJudgeConfig
from larpo_lib.steps.gate import Decision, Opponent, decide
from larpo_lib.steps.judgements import Judgement, kept_judgement, read_judgement
from larpo_lib.tables import write_table


def test_values_are_means_over_sampled_responses_and_the_greedy_ones_correctness(tmp_path: Path) -> None:
    found = read_judgement(
        evaluation(
            tmp_path / "evaluation",
            [
                row("a", 0.25, correct=True, index=0),
                row("a", 0.75, correct=False, index=1),
                row("a", 9.0, temperature=0.0, correct=False),
                row("b", 1.0, correct=True),
                row("b", 9.0, temperature=0.0, correct=True),
            ],
        )
    )
    assert found == Judgement(
        "verifier",
        {"reward": {"a": 0.5, "b": 1.0}, "accuracy": {"a": 0.5, "b": 1.0}, "greedy_accuracy": {"a": 0.0, "b": 1.0}},
    )


def test_an_evaluation_without_a_judge_or_greedy_responses_gives_rewards_only(tmp_path: Path) -> None:
    assert set(read_judgement(evaluation(tmp_path / "evaluation", [row("a", 0.5)])).values) == {"reward"}


def test_rewards_that_hold_only_within_a_list_are_refused(tmp_path: Path) -> None:
    rows = [row("p0", 1.0), {**row("p1", 1.0), "list_relative": True}]
    with pytest.raises(
        DataError, match=r"row 1, field 'list_relative': .* cannot compare two policies\. Evaluate with"
    ):
        read_judgement(evaluation(tmp_path / "evaluation", rows))


def test_an_evaluation_without_responses_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains no sampled response"):
        read_judgement(evaluation(tmp_path / "evaluation", []))


@given(st.dictionaries(st.sampled_from(PROMPTS), st.floats(-5, 5), min_size=1), st.floats(0.01, 3))
def test_a_constant_gain_passes_exactly_if_it_exceeds_the_margin(old: dict[str, float], gain: float) -> None:
    new = {prompt: value + gain for prompt, value in old.items()}
    opponent = Opponent("baseline", judgement(old))
    below = decide(PromoteConfig(margin=gain * 0.99), judgement(new), opponent)
    assert (below.promoted, below.probability) == (True, 1.0)
    assert below.difference == pytest.approx(gain)
    above = decide(PromoteConfig(margin=gain * 1.01), judgement(new), opponent)
    assert (above.promoted, above.probability) == (False, 0.0)


def test_the_probability_is_the_binomial_one() -> None:
    # 3 prompts gain 1 and 1 loses 1. The mean of n = 4 draws is positive if at most one of them is the loser:
    # P = .75^4 + 4 * .25 * .75^3 = 0.7383.
    new = judgement({"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0})
    old = judgement({"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0})
    decision = decide(PromoteConfig(resamples=20_000, confidence=0.7), new, Opponent("baseline", old))
    assert decision.probability == pytest.approx(0.7383, abs=0.01)
    assert decision.promoted
    assert (decision.policy_mean, decision.opponent_mean, decision.difference) == (0.75, 0.25, 0.5)
    assert not decide(PromoteConfig(resamples=20_000, confidence=0.8), new, Opponent("baseline", old)).promoted


def test_pairs_are_made_by_prompt_whatever_the_order() -> None:
    new, old = {"a": 1.0, "b": 0.0}, {"b": 0.0, "a": 1.0}
    decision = decide(CONFIG, judgement(new), Opponent("baseline", judgement(old)))
    assert (decision.difference, decision.probability, decision.promoted) == (0.0, 0.0, False)


def test_with_nothing_to_beat_the_gate_is_open() -> None:
    decision = decide(CONFIG, judgement({"a": -3.0}), None)
    assert (decision.promoted, decision.policy_mean, decision.probability) == (True, -3.0, None)


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (None, "its evaluation is not in the registry"),
        (judgement({"a": 0.0, "c": 0.0}), "different prompts (1 of 2 in common)"),
        (judgement({"a": 0.0}), "different prompts (1 of 2 in common)"),
        (judgement({"a": 0.0, "b": 0.0}, reranker="pairrm"), "its rewards come from pairrm, not from verifier"),
        (judgement({"a": 0.0, "b": 0.0}, metric="accuracy"), "its evaluation has no reward"),
    ],
)
def test_what_cannot_be_compared_is_not_promoted_and_says_why(known: Judgement | None, reason: str) -> None:
    decision = decide(CONFIG, judgement({"a": 1.0, "b": 1.0}), Opponent("version 3", known))
    assert (decision.promoted, decision.probability, decision.difference) == (False, None, None)
    assert decision.reason.startswith("cannot be compared with version 3: ")
    assert reason in decision.reason


def test_accuracies_of_other_judges_cannot_be_compared() -> None:
    new = judgement({"a": 1.0}, "accuracy")
    old = dataclasses.replace(judgement({"a": 0.0}, "accuracy"), judge="verifier-math")
    decision = decide(PromoteConfig(metric="accuracy"), new, Opponent("version 3", old))
    assert not decision.promoted
    assert "it was judged by verifier-math, not by verifier" in decision.reason


def test_who_judged_is_known_again_from_the_registry() -> None:
    kept = dataclasses.replace(judgement({"a": 0.0}, "accuracy"), judge="verifier-math")
    assert kept_judgement(json.loads(json.dumps(kept.to_json()))) == kept
    assert kept_judgement({"reranker": "r", "values": {}}).judge == "verifier"  # as older versions kept it


def test_an_evaluation_tells_who_judged(tmp_path: Path) -> None:
    def made(name: str, judge: VerifierJudgeConfig | None) -> Path:
        def make(work: WorkDir) -> Metrics:
            write_table(work.data / "evaluated.parquet", "evaluated", [row("a", 0.5, correct=True)])
            return {}

        produce("evaluate", EvaluateConfig(judge=judge), {}, tmp_path / name, make)
        return tmp_path / name

    assert read_judgement(made("numbers", VerifierJudgeConfig())).judge == "verifier"
    assert read_judgement(made("mathematics", VerifierJudgeConfig(mode="math"))).judge == "verifier-math"


def test_accuracies_of_other_rerankers_can_be_compared() -> None:
    new, old = judgement({"a": 1.0}, "accuracy"), judgement({"a": 0.0}, "accuracy", reranker="pairrm")
    assert decide(PromoteConfig(metric="accuracy"), new, Opponent("version 3", old)).promoted


def scored(folder: Path, reward: float, **reranker: Any) -> Judgement:
    return read_judgement(evaluated(folder, reward, reranker=reranker))


def compared(new: Judgement, old: dict[str, Any]) -> Decision:
    return decide(CONFIG, new, Opponent("version 3", kept_judgement(json.loads(json.dumps(old)))))


def test_rewards_of_one_reranker_with_other_weights_in_its_settings_are_not_compared(tmp_path: Path) -> None:
    """By format_weight = 5, wrong answers alone (5 each) would beat right ones (0.6 + 0.3 + 0.1)."""
    right = scored(tmp_path / "right", 1.0, type="verifier")
    wrong = scored(tmp_path / "wrong", 5.0, type="verifier", format_weight=5.0)
    found = compared(wrong, right.to_json())
    assert (found.promoted, found.probability) == (False, None)
    assert found.reason == (
        "cannot be compared with version 3: its rewards come from another one name (format_weight 0.1 instead of 5.0)"
    )
    assert compared(scored(tmp_path / "better", 1.25, type="verifier"), right.to_json()).promoted
    older = {name: value for name, value in right.to_json().items() if name != "watched"}
    assert compared(wrong, older).promoted  # of a champion of an older version, only the name is known
    accuracy = PromoteConfig(metric="accuracy")
    both = [dataclasses.replace(one, values={"accuracy": {"a": value}}) for one, value in ((wrong, 1.0), (right, 0.0))]
    assert decide(accuracy, both[0], Opponent("version 3", both[1])).promoted  # who is right, the judge says


def test_rewards_of_models_of_one_name_are_compared_by_their_content_wherever_they_lie(tmp_path: Path) -> None:
    def judged(folder: str, reward: float, weights: str, **settings: Any) -> Judgement:
        model = tmp_path / folder / "reward-model"
        model.mkdir(parents=True)
        (model / "model.safetensors").write_text(weights)
        return scored(tmp_path / f"{folder}-evaluation", reward, type="classifier", path=str(model), **settings)

    old = judged("v1", 0.5, "x")
    assert compared(judged("moved", 1.0, "x", model={"device": "cuda:1"}), old.to_json()).promoted
    other = judged("v2", 1.0, "y")
    digests = [digest(tmp_path / name / "reward-model")[:11] for name in ("v1", "v2")]
    assert compared(other, old.to_json()).reason == (
        "cannot be compared with version 3: its rewards come from another one name "
        f'(content.reranker "{digests[0]}..." instead of "{digests[1]}...")'
    )
    cut = judged("cut", 1.0, "x", max_tokens=64)
    assert compared(cut, old.to_json()).reason.endswith("one name (max_tokens 2048 instead of 64)")


def test_a_part_of_an_ensemble_that_differs_is_named_by_its_place(tmp_path: Path) -> None:
    def ensemble(weight: float) -> dict[str, Any]:
        parts = {"type": "length", "longest": 30}, {"type": "verifier", "steps_weight": weight}
        return {"type": "ensemble", "members": [{"reranker": one, "mean": 0.0, "std": 1.0} for one in parts]}

    old = scored(tmp_path / "old", 0.5, **ensemble(0.3))
    reason = compared(scored(tmp_path / "new", 1.0, **ensemble(0.5)), old.to_json()).reason
    assert reason.endswith("another one name (members.1.reranker.steps_weight 0.3 instead of 0.5)")


def test_a_judge_with_the_seed_of_another_run_is_the_same_judge(tmp_path: Path) -> None:
    judge = {"type": "llm_judge", "base_url": "http://localhost:1/v1", "model": "m"}
    old = scored(tmp_path / "old", 0.5, **judge)
    assert compared(scored(tmp_path / "new", 1.0, **judge, seed=1), old.to_json()).promoted
    hotter = scored(tmp_path / "hotter", 1.0, **judge, temperature=0.5)
    assert "(temperature 0.0 instead of 0.5)" in compared(hotter, old.to_json()).reason


def test_rewards_of_responses_sampled_otherwise_are_not_compared(tmp_path: Path) -> None:
    old = read_judgement(evaluated(tmp_path / "old", 0.5, temperature=2.0, max_new_tokens=16))
    new = read_judgement(evaluated(tmp_path / "new", 1.0, temperature=0.25, max_new_tokens=8))
    found = compared(new, old.to_json())
    assert (found.promoted, found.probability) == (False, None)
    assert found.reason == (
        "cannot be compared with version 3: its responses were sampled with other settings: max_new_tokens 16 instead "
        "of 8; temperature 2.0 instead of 0.25"
    )
    older = {name: value for name, value in old.to_json().items() if name != "sampling"}
    assert compared(new, older).promoted  # of what an older version registered, it is not known
    again = evaluated(tmp_path / "again", 1.0, temperature=2.0, max_new_tokens=16, n=4)
    assert compared(read_judgement(again), old.to_json()).promoted


def test_temperature_is_nothing_to_greedy_responses_but_their_length_is(tmp_path: Path) -> None:
    def right(folder: str, share: float, **settings: Any) -> Judgement:
        found = read_judgement(evaluated(tmp_path / folder, 0.0, **settings))
        return dataclasses.replace(found, values={"greedy_accuracy": dict.fromkeys(PROMPTS, share)})

    gate = PromoteConfig(metric="greedy_accuracy")
    new, hotter, longer = right("new", 1.0), right("hot", 0.0, temperature=2.0), right("long", 0.0, max_new_tokens=4096)
    assert decide(gate, new, Opponent("version 3", hotter)).promoted
    reason = decide(gate, new, Opponent("version 3", longer)).reason
    assert reason.endswith("sampled with other settings: max_new_tokens 4096 instead of 2048")


def test_a_benchmark_says_how_a_policy_did_on_each_item(tmp_path: Path) -> None:
    found = read_judgement(benchmark(tmp_path / "b"))
    assert (found.reranker, found.benchmark) == ("gpt", "alpaca_eval 2")
    assert found.values["win_rate"]["p03"] == 43.0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"judged_by": "llama"},
            "it was judged by llama, not by gpt; judges are strict in different ways, so a difference could come from "
            "them and not from the policies",
        ),
        ({"version": "1"}, "it was evaluated by alpaca_eval 1, not by alpaca_eval 2"),
        ({"values": {"win_rate": {"p00": 1.0}}}, "it was evaluated on different items (1 of 20 in common)"),
        ({"values": {"lc_win_rate": {"p00": 1.0}}}, "its evaluation has no win_rate"),
    ],
)
def test_scores_of_other_judges_editions_and_items_are_not_compared(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    new, old = read_judgement(benchmark(tmp_path / "new")), read_judgement(benchmark(tmp_path / "old", **changes))
    decision = decide(PromoteConfig(metric="win_rate"), new, Opponent("version 3", old))
    assert (decision.promoted, decision.reason) == (False, f"cannot be compared with version 3: {reason}")


def test_a_benchmark_is_not_compared_with_an_evaluation(tmp_path: Path) -> None:
    scores = {"accuracy": dict.fromkeys(PROMPTS, 1.0)}
    new = read_judgement(benchmark(tmp_path / "new", benchmark="gsm8k", version="", values=scores))
    old = judgement(dict.fromkeys(PROMPTS, 0.0), "accuracy")
    decision = decide(PromoteConfig(metric="accuracy"), new, Opponent("baseline", old))
    assert decision.reason == "cannot be compared with baseline: it was evaluated by the step evaluate, not by gsm8k"
