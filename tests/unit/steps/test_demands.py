"""The gate of several metrics, by hand-made evaluations; nothing is registered here."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError
from scipy import stats

from larpo_lib.config import PromoteConfig
from larpo_lib.steps.gate import Decision, Opponent, decide_by_all
from larpo_lib.steps.judgements import Judgement, by_name, lower_is_better, scale

STRICT = "judges are strict in different ways, so a difference could come from them and not from the policies"
ITEMS = [f"i{number:02d}" for number in range(80)]
REWARD, SOLVED = "evaluate.reward", "gsm8k.accuracy"


def around(mean: float, spread: float = 0.1) -> dict[str, float]:
    """Values of 80 items, half of them above the mean and half below."""
    return {item: mean + (spread if number % 2 else -spread) for number, item in enumerate(ITEMS)}


def judgements(reward: float, solved: float, length: float = 100.0, **changes: Any) -> dict[str, Judgement]:
    """Held-out rewards, and of 80 problems how many percent were solved: the first ones."""
    right = {item: 100.0 * (number < solved * 80) for number, item in enumerate(ITEMS)}
    held_out = {"reward": around(reward), "length": around(length)}
    gsm8k: dict[str, Any] = {"reranker": "a rule", "values": {"accuracy": right}, "benchmark": "gsm8k 0-shot"}
    return by_name([Judgement("fsfairx", held_out), Judgement(**{**gsm8k, **changes})])


def gate(improve: Mapping[str, float], keep: Mapping[str, float], **settings: Any) -> PromoteConfig:
    return PromoteConfig.model_validate(
        {
            "must_improve": [{"metric": name, "margin": margin} for name, margin in improve.items()],
            "must_not_lose": [{"metric": name, "margin": margin} for name, margin in keep.items()],
            **settings,
        }
    )


GUARDED = gate({REWARD: 0.1}, {SOLVED: 5.0})


def decided(config: PromoteConfig, policy: dict[str, Judgement], opponent: dict[str, Judgement]) -> Decision:
    first, *others = opponent.values()
    return decide_by_all(config, policy, Opponent("version 3", first, tuple(others)))


def test_better_by_one_and_no_worse_by_the_other_is_promoted_and_says_by_how_much() -> None:
    found = decided(GUARDED, judgements(0.75, 0.5), judgements(0.5, 0.5))
    assert found.promoted
    lowest = found.tests[1].low
    assert lowest == pytest.approx(-100 * stats.binomtest(0, 80).proportion_ci(0.9, "exact").high, abs=0.3)
    assert found.reason == (
        "better than version 3 in evaluate.reward by 0.25; no worse in gsm8k.accuracy "
        f"(+0 [{lowest:.4g}, +{-lowest:.4g}], allowed: -5)"
    )
    assert (found.policy_mean, found.opponent_mean) == pytest.approx((0.75, 0.5))
    assert (found.difference, found.probability) == (pytest.approx(0.25), None)


def test_a_gain_of_reward_that_loses_the_guarded_metric_is_not_promoted_and_says_which_and_by_how_much() -> None:
    found = decided(GUARDED, judgements(0.75, 0.25), judgements(0.5, 0.75))  # 20 problems solved instead of 60
    assert not found.promoted
    assert [test.passed for test in found.tests] == [True, False]
    assert found.reason.startswith(
        "gsm8k.accuracy is worse by 50, where less than 5 is allowed: 25 against 75 of version 3, gain -50 ["
    )
    assert found.reason.endswith("adjusted p 1, required: at most 0.05")
    assert (found.tests[1].gain, found.tests[1].adjusted_p_value) == (-50.0, 1.0)


def test_a_small_loss_that_few_items_cannot_tell_from_a_large_one_is_not_promoted_either() -> None:
    found = decided(GUARDED, judgements(0.75, 0.475), judgements(0.5, 0.5))  # two of 80 problems
    assert not found.promoted
    assert found.tests[1].gain == -2.5
    assert found.reason.startswith("gsm8k.accuracy may be worse by 5 or more, which the 80 items do not exclude: ")


def test_no_loss_without_a_gain_is_not_promoted() -> None:
    found = decided(GUARDED, judgements(0.55, 0.5), judgements(0.5, 0.5))
    assert [test.passed for test in found.tests] == [False, True]
    assert found.reason.startswith("evaluate.reward is not better by more than 0.1: 0.55 against 0.5 of version 3, ")


def test_all_demands_that_are_missed_are_told() -> None:
    found = decided(GUARDED, judgements(0.4, 0.25), judgements(0.5, 0.75))
    assert "evaluate.reward is not better by more than 0.1" in found.reason
    assert "; gsm8k.accuracy is worse by 50" in found.reason


def test_where_lower_is_better_growth_is_the_loss() -> None:
    guarded = gate({REWARD: 0.0}, {"evaluate.length": 20.0})
    longer = decided(guarded, judgements(0.75, 0.5, 150.0), judgements(0.5, 0.5, 100.0))
    assert not longer.promoted
    assert longer.reason.startswith(
        "evaluate.length is worse by 50, where less than 20 is allowed: 150 against 100 of version 3, lower is better, "
    )
    assert decided(guarded, judgements(0.75, 0.5, 50.0), judgements(0.5, 0.5, 100.0)).promoted
    must_shorten = gate({"evaluate.length": 20.0}, {})
    assert decided(must_shorten, judgements(0.5, 0.5, 70.0), judgements(0.5, 0.5, 100.0)).promoted
    assert not decided(must_shorten, judgements(0.5, 0.5, 130.0), judgements(0.5, 0.5, 100.0)).promoted
    mistakes = judgements(0.75, 1.0, falling=("accuracy",))  # as the policy's evaluation itself tells
    assert "worse by 50, " in decided(GUARDED, mistakes, judgements(0.5, 0.5)).reason


def test_directions_are_those_that_the_benchmarks_declare() -> None:
    lower = [
        "evaluate.length",
        "divergence.kl",
        "divergence.tokens",
        "reward_eval.length",
        "alpaca_eval.average_length",
    ]
    higher = ["evaluate.reward", "gsm8k.accuracy", "gsm8k.pass_at_4", "alpaca_eval.lc_win_rate", "unknown.thing"]
    assert [lower_is_better(metric) for metric in (*lower, *higher)] == [True] * 5 + [False] * 5


def test_p_values_are_corrected_for_how_many_demands_there_are() -> None:
    """Each p-value of about .04 would do alone; of two, Holm's are about .08."""
    # 26 of 40 gain 1 and 14 lose 1; the sign test's p-value is .0403.
    items = ITEMS[:40]
    gains = {item: 1.0 if number < 26 else -1.0 for number, item in enumerate(items)}
    one = Judgement("r", {"reward": gains, "accuracy": gains})
    zero = Judgement("r", {"reward": dict.fromkeys(items, 0.0), "accuracy": dict.fromkeys(items, 0.0)})
    alone, both = gate({REWARD: 0.0}, {}), gate({REWARD: 0.0, "evaluate.accuracy": 0.0}, {})
    found = decided(alone, by_name([one]), by_name([zero]))
    assert found.tests[0].p_value == found.tests[0].adjusted_p_value == pytest.approx(0.0403, abs=0.01)
    assert found.promoted
    corrected = decided(both, by_name([one]), by_name([zero]))
    assert corrected.tests[0].adjusted_p_value == pytest.approx(2 * corrected.tests[0].p_value)  # type: ignore[operator]
    assert not corrected.promoted


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"benchmark": "gsm8k 8-shot"}, "it was evaluated by gsm8k 8-shot, not by gsm8k 0-shot"),
        ({"reranker": "another rule"}, f"it was judged by another rule, not by a rule; {STRICT}"),
        ({"values": {"accuracy": {"i00": 1.0}}}, "it was evaluated on different items (1 of 80 in common)"),
        ({"values": {"pass_at_2": {"i00": 1.0}}}, "its evaluation has no accuracy"),
        (
            {"sampling": {"temperature": 0.7}},
            "its responses were sampled with other settings: temperature 0.7 instead of 1.0",
        ),
        ({"benchmark": "mixeval"}, "it has no evaluation by gsm8k"),
    ],
)
def test_what_cannot_be_compared_is_not_promoted_and_says_why(changes: dict[str, Any], reason: str) -> None:
    policy = judgements(0.75, 0.5, sampling={"temperature": 1.0})
    found = decided(GUARDED, policy, judgements(0.5, 0.5, **changes))
    assert not found.promoted
    assert found.reason == f"gsm8k.accuracy cannot be compared with version 3: {reason}"
    assert found.tests[0].passed
    assert (found.tests[1].p_value, found.tests[1].obstacle) == (None, reason)


def test_with_nothing_to_beat_the_gate_is_open_and_an_unknown_opponent_shuts_it() -> None:
    found = decide_by_all(GUARDED, judgements(0.75, 0.5), None)
    assert (found.promoted, found.reason) == (True, "no champion and no baseline to compare with")
    assert (found.tests[0].policy, found.tests[0].p_value) == (pytest.approx(0.75), None)
    unknown = decide_by_all(GUARDED, judgements(0.75, 0.5), Opponent("version 3", None))
    assert not unknown.promoted
    assert "evaluate.reward cannot be compared with version 3: its evaluation is not in the registry" in unknown.reason


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"must_not_lose": [{"metric": SOLVED, "margin": 1}]}, "must_not_lose needs must_improve"),
        ({"must_improve": [{"metric": REWARD}], "metric": "accuracy"}, "metric has no meaning beside must_improve"),
        ({"must_improve": [{"metric": REWARD}], "margin": 0.1}, "margin has no meaning beside must_improve"),
        ({"must_improve": [{"metric": REWARD}, {"metric": REWARD}]}, "evaluate.reward is asked for twice"),
        ({"must_improve": [{"metric": "reward"}]}, "should match pattern"),
        (
            {"must_improve": [{"metric": REWARD}], "must_not_lose": [{"metric": SOLVED, "margin": 0}]},
            "should be greater than 0",
        ),
        (
            {"must_improve": [{"metric": REWARD}], "must_not_lose": [{"metric": SOLVED, "margin": 1}], "resamples": 38},
            "resamples is 38, too few to show anything of 2 metrics with confidence 0.95; set it to 39 or more",
        ),
    ],
)
def test_demands_that_contradict_each_other_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        PromoteConfig.model_validate(settings)


@pytest.mark.parametrize(("confidence", "resamples"), [(0.9, 9), (0.95, 19), (0.99, 99)])
def test_with_just_enough_resamples_the_gate_can_open(confidence: float, resamples: int) -> None:
    """Of 9, the least p-value is 1 / 10, which 1 - 0.9 falls short of by rounding."""
    config = gate({REWARD: 0.1}, {}, confidence=confidence, resamples=resamples)
    found = decided(config, judgements(0.75, 0.5), judgements(0.5, 0.5))
    assert found.tests[0].p_value == pytest.approx(1 - confidence)
    assert found.promoted


@pytest.mark.parametrize("items", [1, 4, 5])
def test_a_few_items_decide_nothing_whatever_they_gain(items: int) -> None:
    new = Judgement("r", {"reward": dict.fromkeys(ITEMS[:items], 1.0)})
    old = Judgement("r", {"reward": dict.fromkeys(ITEMS[:items], 0.9)})
    found = decided(gate({REWARD: 0.0}, {}), by_name([new]), by_name([old]))
    assert found.promoted == (items == 5)  # the sign test: 1 / 32
    few = f"evaluate.reward cannot be compared with version 3: a comparison needs 5 items or more, not {items}"
    assert (found.reason == few) == (items < 5)


@pytest.mark.parametrize(("items", "kept"), [(5, False), (80, False), (450, True)])
def test_unchanged_items_exclude_a_loss_only_if_there_are_many(items: int, kept: bool) -> None:
    """Of 1 percentage point: .99^80 is .45, and .99^450 is .011."""
    names = [f"i{number}" for number in range(items)]

    def all_wrong(reward: float) -> dict[str, Judgement]:
        """What a percentage can be, no value shows: it is the metric's unit that tells."""
        solved = Judgement("a rule", {"accuracy": dict.fromkeys(names, 0.0)}, "gsm8k 0-shot")
        return by_name([Judgement("r", {"reward": dict.fromkeys(names, reward)}), solved])

    found = decided(gate({REWARD: 0.0}, {SOLVED: 1.0}), all_wrong(0.75), all_wrong(0.5))
    assert found.tests[1].passed == kept


def test_the_range_of_values_is_that_of_the_unit() -> None:
    names = ["gsm8k.pass_at_4", "evaluate.greedy_accuracy", "mixeval.free_form", "evaluate.reward", "evaluate.length",
             "evaluate.watch_accuracy", "divergence.kl", "unknown.thing"]  # fmt: skip
    assert [scale(name) for name in names] == [100, 1, 1, 0, 0, 0, 0, 0]
