import math

import pytest

from larpo_lib.evaluation.gsm8k.scoring import accuracy, conversation, judge, report
from larpo_lib.reporting.scores import uncertainty
from larpo_lib.statistics.estimates import Bootstrap

BOOTSTRAP = Bootstrap(0.95, 200, 0)


def test_accuracy_compares_numbers_not_texts():
    pairs = [("#### 1,000", "so 1000.0"), ("#### 44", "there are 544"), ("#### 7", "no idea"), ("#### -2", "A: -2")]
    assert accuracy(pairs) == 50.0


def test_worked_examples_are_earlier_turns_and_braces_stay():
    assert conversation("q?", "{x} {question}", [("a?", "b")]) == [
        {"role": "user", "content": "{x} a?"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "{x} q?"},
    ]


def test_scores_by_hand():
    judged = {
        # sampled: right, wrong, wrong -> Pass@2 = 1 - C(2,2)/C(3,2) = 2/3; the vote is for 4
        "a": judge("<<1+2=3>>3 #### 3", "#### 3", ["3", "4", "4"]),
        # sampled: right, right, no number -> Pass@2 = 1 - C(1,2)/C(3,2) = 1; the vote is for 5
        "b": judge("#### 5", "no number", ["5", "5", "none"]),
    }
    found = report(judged, policy="p", version="", counts={"problems": 2}, bootstrap=BOOTSTRAP)
    metrics = found.metrics()
    assert metrics["accuracy"] == 50.0
    assert metrics["accuracy_standard_error"] == pytest.approx(100 * math.sqrt(0.5) / math.sqrt(2))  # std 70.7 of n 2
    assert (metrics["accuracy_low"], metrics["accuracy_high"]) == (0.0, 100.0)
    assert metrics["sampled_accuracy"] == pytest.approx(50.0)
    assert metrics["majority_accuracy"] == 50.0
    assert found.made_by == {"sampling": {"n": 3}}
    assert metrics["pass_at_1"] == pytest.approx(50.0)
    assert metrics["pass_at_2"] == pytest.approx(250 / 3)
    assert metrics["pass_at_3"] == 100.0
    assert (metrics["greedy_without_number"], metrics["sampled_without_number"]) == (1, 1)
    assert found.tables[0].rows == [["0", 1, 0.0], ["1", 1, 100.0]]
    # the first response alone is right on both; of the first two of "a" one is: half a vote
    assert [curve.name for curve in found.curves] == ["Pass@N", "majority of N"]
    assert [point.value for point in found.curves[1].y] == [100.0, 75.0, 50.0]
    for name, values in found.values.items():
        assert sum(values.values()) / len(values) == pytest.approx(metrics[name])


def test_problems_that_are_all_right_do_not_tell_how_sure_that_is():
    judged = {name: judge("#### 3", "#### 3", []) for name in "abc"}
    found = report(judged, policy="p", version="", counts={"problems": 3}, bootstrap=BOOTSTRAP)
    assert {name: value for name, value in found.metrics().items() if "accuracy" in name} == {"accuracy": 100.0}
    assert uncertainty(found.scores[0]) == ""


def test_without_sampled_responses_there_is_only_accuracy():
    found = report({"a": judge("#### 3", None, [])}, policy="p", version="", counts={}, bootstrap=BOOTSTRAP)
    assert [score.name for score in found.scores] == ["accuracy"]
    assert found.scores[0].estimate.value == 0.0
    assert found.curves == []
    assert found.tables == []
