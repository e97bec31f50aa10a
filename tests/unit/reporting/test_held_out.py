import pytest

from larpo_lib.config import EvaluateConfig
from larpo_lib.reporting.held_out import Measures, summarize
from larpo_lib.rewards.judges.verifier import VerifierJudgeConfig

JUDGED = EvaluateConfig(n=3, judge=VerifierJudgeConfig(), resamples=200)


def _row(prompt_id, reward, correct, temperature=1.0):
    return {"prompt_id": prompt_id, "reward": reward, "correct": correct, "temperature": temperature}


ROWS = [
    _row("a", 1.0, True),
    _row("a", 0.5, False),
    _row("a", 0.0, False),
    _row("a", 0.75, True, temperature=0.0),
    _row("b", 0.25, False),
    _row("b", 0.5, False),
    _row("b", 0.0, False),
    _row("b", -1.0, False, temperature=0.0),
]


def test_metrics_of_two_prompts_by_hand():
    metrics = summarize(ROWS, JUDGED)
    assert metrics["mean_reward"] == pytest.approx((0.5 + 0.25) / 2)
    assert metrics["accuracy"] == pytest.approx((1 / 3 + 0) / 2)
    assert metrics["best_of_n_reward"] == pytest.approx((1.0 + 0.5) / 2)
    assert metrics["greedy_reward"] == pytest.approx((0.75 - 1.0) / 2)
    assert metrics["greedy_accuracy"] == 0.5
    assert metrics["pass_at_1"] == pytest.approx((1 / 3 + 0) / 2)
    assert metrics["pass_at_2"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["pass_at_3"] == 0.5
    assert "pass_at_4" not in metrics
    assert {metrics[f"pass_at_{n}_prompts"] for n in (1, 2, 3)} == {metrics["best_of_n_prompts"]} == {2}
    assert metrics["responses_without_judgement"] == 0


def test_intervals_enclose_their_means():
    metrics = summarize(ROWS, JUDGED)
    for name, low, high in (("mean_reward", 0.25, 0.5), ("accuracy", 0.0, 1 / 3)):
        assert low <= metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"] <= high
        assert metrics[f"{name}_low"] < metrics[f"{name}_high"]


def test_without_a_judge_nothing_is_called_right():
    metrics = summarize([row | {"correct": None} for row in ROWS], EvaluateConfig(n=3, resamples=50))
    undefined = {name for name, value in metrics.items() if value is None}
    assert undefined == {
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "greedy_accuracy",
        "responses_without_judgement",
        *(f"pass_at_{n}{what}" for n in (1, 2, 3) for what in ("", "_prompts")),
    }


def test_without_greedy_responses_their_metrics_are_undefined():
    metrics = summarize([row for row in ROWS if row["temperature"] > 0], JUDGED)
    assert metrics["greedy_reward"] is None
    assert metrics["greedy_accuracy"] is None
    assert metrics["accuracy"] is not None


def test_measures_of_n_responses_are_over_the_prompts_that_have_them():
    metrics = summarize(ROWS[:2] + ROWS[3:], JUDGED)  # two sampled responses are left of prompt a, one of them right
    assert [metrics[f"pass_at_{n}"] for n in (1, 2, 3)] == [0.25, 0.5, 0.0]
    assert [metrics[f"pass_at_{n}_prompts"] for n in (1, 2, 3)] == [2, 2, 1]
    assert (metrics["best_of_n_reward"], metrics["best_of_n_prompts"]) == (0.5, 1)


def test_measures_of_n_responses_are_undefined_where_no_prompt_has_them():
    metrics = summarize(ROWS, JUDGED.model_copy(update={"n": 4}))
    assert (metrics["pass_at_4"], metrics["pass_at_4_prompts"]) == (None, 0)
    assert (metrics["best_of_n_reward"], metrics["best_of_n_prompts"]) == (None, 0)


def test_undecided_responses_are_counted_and_left_out_of_accuracies_only():
    rows = [
        _row("a", 1.0, True),
        _row("a", 0.5, None),
        _row("a", 0.0, False),
        _row("a", 0.75, None, temperature=0.0),
        *ROWS[4:],
        _row("c", 3.0, None),
    ]
    metrics = summarize(rows, JUDGED)
    assert metrics["responses_without_judgement"] == 3
    assert metrics["mean_reward"] == pytest.approx((0.5 + 0.25 + 3.0) / 3)
    assert metrics["accuracy"] == pytest.approx((1 / 2 + 0) / 2)
    assert metrics["greedy_accuracy"] == 0.0
    assert [metrics[f"pass_at_{n}"] for n in (1, 2, 3)] == [0.25, 0.5, 0.0]
    assert [metrics[f"pass_at_{n}_prompts"] for n in (1, 2, 3)] == [2, 2, 1]


def test_where_nothing_is_decided_nothing_is_claimed():
    metrics = summarize([row | {"correct": None} for row in ROWS], JUDGED)
    assert metrics["responses_without_judgement"] == 8
    assert metrics["accuracy"] is metrics["accuracy_low"] is metrics["greedy_accuracy"] is metrics["pass_at_1"] is None
    assert metrics["pass_at_1_prompts"] == 0


def test_each_prompt_by_hand():
    undecided = [*ROWS[:2], ROWS[2] | {"correct": None}, *ROWS[3:]]
    assert Measures(undecided, judged=True) == {
        "reward": {"a": 0.5, "b": 0.25},
        "accuracy": {"a": 1 / 2, "b": 0.0},
        "greedy_reward": {"a": 0.75, "b": -1.0},
        "greedy_accuracy": {"a": 1.0, "b": 0.0},
        "pass_at_1": {"a": 1 / 2, "b": 0.0},
        "pass_at_2": {"a": 1.0, "b": 0.0},
        "pass_at_3": {"b": 0.0},
    }


def test_without_a_judge_each_prompt_has_its_best_reward_of_n():
    found = Measures(ROWS, judged=False)
    assert found["accuracy"] == found["greedy_accuracy"] == {}
    # of the pairs of 1, 0.5, 0 the best are 1, 1 and 0.5; of 0.25, 0.5, 0 they are 0.5, 0.25 and 0.5
    assert found["best_of_2"] == {"a": pytest.approx(2.5 / 3), "b": pytest.approx(1.25 / 3)}
    assert list(found)[-3:] == ["best_of_1", "best_of_2", "best_of_3"]
