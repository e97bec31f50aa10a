import pytest

from larpo_lib.reporting.table import UNDEFINED, count, number, summary_table

JUDGED = {
    "mean_reward": 0.5123, "mean_reward_low": 0.48, "mean_reward_high": 0.5444,
    "accuracy": 0.25, "accuracy_low": 0.2, "accuracy_high": 0.3,
    "pass_at_1": 0.25, "pass_at_8": 0.75, "pass_at_16": None, "greedy_accuracy": 0.375,
    "greedy_reward": 0.6, "best_of_n_reward": 0.9,
}  # fmt: skip


def test_table_has_one_row_a_policy():
    later = {**JUDGED, "mean_reward": 12.5, "mean_reward_low": 11.0, "mean_reward_high": 13.0}
    assert summary_table({0: JUDGED, 1: later}).splitlines() == [
        "policy       mean reward           accuracy              pass@8  greedy accuracy",
        "start        0.512 [0.480, 0.544]  0.250 [0.200, 0.300]  0.750   0.375",
        "iteration 1  12.50 [11.00, 13.00]  0.250 [0.200, 0.300]  0.750   0.375",
    ]


def test_without_a_judge_rewards_take_the_place_of_accuracy():
    undefined = dict.fromkeys(
        ("accuracy", "accuracy_low", "accuracy_high", "pass_at_1", "pass_at_8", "greedy_accuracy")
    )
    assert summary_table({0: JUDGED | undefined}).splitlines() == [
        "policy  mean reward           best of n  greedy reward",
        "start   0.512 [0.480, 0.544]  0.900      0.600",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(None, UNDEFINED), (0.0, "0.000"), (-0.5, "-0.500"), (12.345, "12.35"), (12345.6, "12,346")]
)
def test_numbers(value, text):
    assert number(value) == text


def test_counts_keep_shares_apart():
    assert [count(value) for value in (0, 1234567, 0.5, None)] == ["0", "1,234,567", "0.500", UNDEFINED]
