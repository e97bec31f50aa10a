"""The policy as a retriever, by hand."""

import math

import pytest

from larpo_lib.evaluation.retrieval.documents import found_documents
from larpo_lib.evaluation.retrieval.ranking import (
    Response,
    curves,
    distinct,
    draws,
    orders,
    scores_of_draws,
    scores_of_orders,
)
from larpo_lib.statistics.estimates import Bootstrap

BOOTSTRAP = Bootstrap(0.95, 50, 0)


def response(name, reward=0.0, *, correct=None, logp=-1.0, tokens=1, text="1"):
    return Response(name, text, reward, correct, logp, tokens)


def test_draws_by_hand():
    prompts = {
        "a": [
            response(str(i), reward, correct=reward > 2, text=text)
            for i, (reward, text) in enumerate([(1.0, "4"), (3.0, "7"), (2.0, "4")])
        ],
        "b": [response("0", 5.0, correct=True, text="x 9")],
    }
    found = draws(prompts, {"a": "#### 7", "b": None})
    assert found["reward"] == {"a": 2.0, "b": 5.0}
    assert found["accuracy"] == {"a": pytest.approx(1 / 3), "b": 1.0}
    # 1 - C(2, 2) / C(3, 2): the prompt with one response counts for N = 1 only
    assert found["pass_at_2"] == {"a": pytest.approx(2 / 3)}
    assert found["pass_at_3"] == {"a": 1.0}
    # of the three pairs the best is 3, 3 and 2
    assert found["best_of_2_reward"] == {"a": pytest.approx(8 / 3)}
    assert found["majority_accuracy"] == {"a": 0.0}  # two of three say 4; "b" has no number to compare with


def test_without_a_judge_there_is_no_pass_at_n():
    assert set(draws({"a": [response("0", 1.0)]}, {"a": "#### 1"})) == {"reward", "best_of_1_reward"}


def test_orders_by_hand():
    group = [
        response("w", 0.0, correct=False, logp=-1.0, tokens=1),
        response("x", 3.0, correct=True, logp=-2.0, tokens=4),
        response("y", 1.0, correct=True, logp=-3.0, tokens=2),
        response("x", 3.0, correct=True, logp=-2.0, tokens=4),  # once more
        response("z", 9.0, correct=True, logp=None),
    ]
    assert [one.candidate_id for one in distinct(group)] == ["w", "x", "y"]
    found = orders({"a": group}, per_token=False)
    assert found["kendall_tau"] == {"a": pytest.approx(-1 / 3)}  # w > x > y against x > y > w: 1 pair of 3 agrees
    assert found["kendall_tau_per_token"] == {"a": pytest.approx(1 / 3)}  # x (-.5) > w (-1) > y (-1.5): 2 of 3
    assert [found[f"recall_at_{i}"]["a"] for i in (1, 2, 3)] == [0.0, 0.5, 1.0]
    # gains 0, 3, 1 of w, x, y in that order, against 3, 1, 0
    assert found["ndcg"] == {"a": pytest.approx((3 / math.log2(3) + 1 / 2) / (3 + 1 / math.log2(3)))}
    by_mean = orders({"a": group}, per_token=True)
    assert [by_mean[f"recall_at_{i}"]["a"] for i in (1, 2, 3)] == [0.5, 0.5, 1.0]


def test_what_is_not_defined_is_left_out():
    found = orders(
        {"a": [response("0", 1.0), response("1", 1.0, logp=-2.0)], "b": [response("0", logp=None)]}, per_token=False
    )
    assert found == {"kendall_tau": {}, "kendall_tau_per_token": {}, "ndcg": {}}
    told = {score.name: score.estimate.value for score in scores_of_orders(found, BOOTSTRAP)}
    assert told == {"ndcg": None, "kendall_tau": None, "kendall_tau_per_token": None}


def test_documents_by_hand():
    recall, hits = found_documents(
        {"q": ["a", "b", "c"], "r": ["x"]}, {"q": frozenset("bc"), "r": frozenset("z")}, [1, 2, 3]
    )  # fmt: skip
    assert recall == {1: {"q": 0.0, "r": 0.0}, 2: {"q": 0.5, "r": 0.0}, 3: {"q": 1.0, "r": 0.0}}
    assert hits == {1: {"q": 0.0, "r": 0.0}, 2: {"q": 1.0, "r": 0.0}, 3: {"q": 1.0, "r": 0.0}}


def test_some_numbers_are_told_and_all_are_drawn():
    group = [response(str(i), float(i), correct=i > 3, logp=-float(i)) for i in range(6)]
    values = {**draws({"a": group}, {"a": None}), **orders({"a": group}, per_token=False)}
    names = [score.name for score in (*scores_of_draws(values, BOOTSTRAP), *scores_of_orders(values, BOOTSTRAP))]
    assert [name for name in names if name.startswith("pass")] == ["pass_at_1", "pass_at_2", "pass_at_4", "pass_at_6"]
    drawn = {curve.name: curve for curve in curves(values, BOOTSTRAP)}
    assert list(drawn) == ["policy, Pass@N", "policy, Recall@N", "reward"]
    assert [point.value for point in drawn["policy, Recall@N"].y] == [0.0, 0.0, 0.0, 0.0, 0.5, 1.0]
