import pytest
from reporting.small_report import AFTER, BEFORE, CONFIG, OTHER, rows

from larpo_lib.reporting.quality import headline, summarize


def of(values, *, judged=True, config=CONFIG):
    return summarize(1, config, OTHER, rows(values, judged=judged), judged=judged)


def test_sampled_and_greedy_responses_are_told_apart():
    quality = of(BEFORE)
    assert quality.estimates["reward"].value == pytest.approx((0.5 + 0 + 0) / 3)
    assert quality.estimates["accuracy"].value == pytest.approx(1 / 6)
    assert (
        quality.estimates["greedy_reward"].value == quality.estimates["greedy_accuracy"].value == pytest.approx(1 / 3)
    )
    assert list(quality.rewards) == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_curve_without_a_judge_is_the_best_reward_of_n():
    quality = of({"a": [0.0, 0.25, 0.75], "b": [0.0, 0.5, 0.0]}, judged=False)
    assert [point.value for point in quality.curve] == pytest.approx([(0.5 + 0.25) / 2, (0.75 + 0.5) / 2])
    assert quality.estimates["accuracy"].value is None
    assert quality.estimates["greedy_accuracy"].value is None


def test_curve_is_over_the_prompts_that_have_so_many_responses():
    quality = of({"a": [0.0, 1.0, 1.0, 0.0], "b": [0.0, 0.0]})
    assert [point.value for point in quality.curve] == pytest.approx([(2 / 3 + 0) / 2, 1.0, 1.0])
    assert [sorted(quality.values[f"pass_at_{n}"]) for n in (1, 2, 3)] == [["a", "b"], ["a"], ["a"]]


def test_differences_pair_the_prompts():
    changes = {c.name: c for c in headline(of(BEFORE), of(AFTER), CONFIG, judged=True)}
    assert list(changes) == ["Accuracy", "Mean reward", "Greedy accuracy", "Pass@2"]
    # every prompt gained the same, so the paired interval has no width although the two levels' intervals do
    assert changes["Mean reward"].difference.low == changes["Mean reward"].difference.high == 0.5
    assert changes["Greedy accuracy"].difference.value == pytest.approx(0.0)


def test_without_a_judge_the_headline_speaks_of_rewards():
    changes = headline(of(BEFORE, judged=False), of(AFTER, judged=False), CONFIG, judged=False)
    assert [change.name for change in changes] == ["Mean reward", "Greedy reward", "Best of 2"]
