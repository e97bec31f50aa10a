import pytest

from larpo_lib.config.load import check
from larpo_lib.evaluation.reward_eval.scoring import Duel, duel, report
from larpo_lib.evaluation.reward_eval.settings import RewardEvalConfig
from larpo_lib.evaluation.reward_eval.step import _duels
from larpo_lib.rewards.rerankers import scored_text
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.thinking import without_thoughts

BOOTSTRAP = Bootstrap(0.9, 100, 0)
SHORT = {"reranker": {"type": "length", "longest": 9}, "mean": 0, "std": 1}


def told(duels):
    return report(duels, policy="p", judged_by="j", version="against b", counts={}, bootstrap=BOOTSTRAP)


@pytest.mark.parametrize(
    ("response", "baseline", "rewards", "preferred"),
    [
        ("a", "b", (2.0, 1.0), 1.0),
        ("a", "b", (1.0, 2.0), 0.0),
        ("a", "b", (1.0, 1.0), 0.5),
        ("a", "a", (2.0, 1.0), 0.5),
    ],
)
def test_the_higher_reward_wins_and_equal_responses_tie(response, baseline, rewards, preferred):
    assert duel(response, baseline, *rewards, list_relative=False).preferred == preferred


@pytest.mark.parametrize(
    ("reranker", "lengths", "preferred"),
    [
        ({"type": "classifier", "path": "m"}, (2, 4), 1.0),
        ({"type": "classifier", "path": "m", "thinking": "keep"}, (22, 24), 1.0),
        ({"type": "ensemble", "members": [SHORT, SHORT]}, (2, 4), 1.0),
        ({"type": "ensemble", "members": [SHORT, {**SHORT, "reranker": {**SHORT["reranker"], "thinking": "keep"}}]},
         (22, 24), 1.0),
    ],
)  # fmt: skip
def test_lengths_are_of_what_the_rewards_are_of(reranker, lengths, preferred):
    """`<think>`, `</think>` and the thought are 20 characters, the replies 2 and 4."""
    responses = ["<think>abcde</think>no", "<think>fghij</think>long"]
    rows = [
        {"prompt_id": "p", "sample_index": index, "response": text, "reward": 2.0 - index, "list_relative": False}
        for index, text in enumerate(responses)
    ]
    config = check(RewardEvalConfig, {"reranker": reranker})
    (found,) = _duels(rows, scored_text(config.reranker)).values()
    assert (found.length, found.baseline_length, found.preferred) == (*lengths, preferred)


def test_equal_replies_after_other_thoughts_are_a_tie():
    rows = [
        {"prompt_id": "p", "sample_index": index, "response": f"<think>{index}</think>\n\nyes", "reward": index,
         "list_relative": False} for index in (0, 1)
    ]  # fmt: skip
    assert _duels(rows, without_thoughts)["p"].preferred == 0.5


def test_rewards_within_a_list_are_not_averaged():
    assert duel("aa", "b", 2.0, 1.0, list_relative=True) == Duel(1.0, 2, 1, None, None)
    metrics = told({"x": Duel(1.0, 2, 1), "y": Duel(0.0, 5, 9)}).metrics()
    assert "reward" not in metrics
    assert metrics["length"] == 3.5


def test_scores_by_hand():
    duels = {
        "a": Duel(1.0, 10, 5, 2.0, 1.0),
        "b": Duel(0.5, 5, 5, 1.0, 1.0),
        "c": Duel(0.0, 2, 5, 0.0, 4.0),
        "d": Duel(1.0, 4, 5, 1.0, 0.0),
    }
    found = told(duels)
    metrics = found.metrics()
    assert (metrics["wins"], metrics["ties"], metrics["losses"]) == (2, 1, 1)
    assert metrics["win_rate"] == 62.5
    assert (metrics["reward"], metrics["baseline_reward"]) == (1.0, 1.5)
    assert found.tables[0].rows == [["the policy's", 1, 100.0], ["the baseline's", 2, 50.0], ["neither", 1, 50.0]]
    for name in ("win_rate", "lc_win_rate", "reward"):
        values = found.values[name]
        assert sum(values.values()) / len(values) == pytest.approx(metrics[name])
    assert metrics["lc_win_rate_low"] <= metrics["lc_win_rate"] <= metrics["lc_win_rate_high"]
    assert [curve.name for curve in found.curves] == ["observed", "fitted"]


def test_a_constant_difference_in_length_leaves_no_controlled_rate():
    found = told({"a": Duel(1.0, 6, 5), "b": Duel(0.0, 9, 8)})
    assert found.metrics()["lc_win_rate"] is None
    assert "lc_win_rate" not in found.values
    assert found.curves == []
