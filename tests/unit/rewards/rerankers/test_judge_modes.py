"""Scores by a judge in each of its modes, against values worked out by hand."""

import math

import numpy as np
import pytest
from judge_double import by_length, items, judging, longer, shown
from scipy.optimize import minimize
from server_double import Reply

from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.rewards.rerankers.judge.modes import Listwise


def grade_of(chances):
    """A reply of the likeliest grade, with the probabilities of all."""
    top = [{"token": name, "logprob": math.log(chance)} for name, chance in chances.items()]
    best = max(top, key=lambda each: each["logprob"])
    message = {"role": "assistant", "content": best["token"]}
    return {"message": message, "logprobs": {"content": [{**best, "top_logprobs": top}]}}


def test_pointwise_scores_are_expected_grades(tmp_path):
    """For "one": (4 * .6 + 5 * .3) / .9 with .1 unread; for "two": the grade itself, without probabilities."""
    replies = {"one": grade_of({"4": 0.6, "5": 0.3, "x": 0.1}), "two": "2", "three": "no idea"}
    with judging(lambda responses: replies[responses[0]]) as judge:
        reranker = judge.reranker(tmp_path)
        given = items("one", "two", "<think>hm</think>one", "three", "two")
        assert reranker.score(given) == pytest.approx([3.9 / 0.9, 2.0, 3.9 / 0.9, None, 2.0])
        assert reranker.cut(given) == {
            "judge_decisions": 2,
            "judge_unread": 1,
            "judge_too_long": 0,
            "judge_grades_without_probabilities": 1,
            "judge_unread_probability_millionths": 100_000,
            "judge_texts_with_control_tokens": 0,
        }
        assert judge.calls() == 3
        (request, *_) = judge.server.payloads("/v1/chat/completions")
    assert {name: request[name] for name in ("model", "temperature", "max_tokens", "logprobs", "top_logprobs")} == {
        "model": "big", "temperature": 0.0, "max_tokens": 512, "logprobs": True, "top_logprobs": 20,
    }  # fmt: skip
    assert not reranker.list_relative


def test_what_a_content_filter_refuses_has_no_score_and_the_others_have(tmp_path):
    refusal = Reply({"error": {"message": "filtered", "code": "content_filter"}}, status=400)
    with judging(lambda responses: refusal if responses[0] == "bad" else "2") as judge:
        reranker = judge.reranker(tmp_path)
        given = items("one", "bad", "two")
        assert reranker.score(given) == [2.0, None, 2.0]
        counts = reranker.cut(given)
    assert (counts["judge_decisions"], counts["judge_unread"], counts["judge_too_long"]) == (2, 1, 0)


def test_a_judge_whose_filter_refuses_everything_is_asked_no_further(tmp_path):
    refusal = Reply({"error": {"message": "filtered", "code": "content_filter"}}, status=400)
    with judging(lambda _: refusal) as judge, pytest.raises(LarpoError, match="none of the first 50 judgements"):
        judge.reranker(tmp_path, concurrency=1).score(items(*map(str, range(60))))
    assert judge.calls() <= 52


def test_a_pairs_verdict_is_the_mean_of_both_orders(tmp_path):
    """By hand: a > b in both orders (1), a and c contradict (0.5), b against c: won and tied (0.75); (k - 1) = 2.

    a: (1 + .5) / 2 = .75; b: (0 + .75) / 2 = .375; c: (.5 + .25) / 2 = .375.
    """
    says = {"ab": "A", "ba": "B", "ac": "A", "ca": "A", "bc": "A", "cb": "C"}
    with judging(lambda responses: says["".join(responses)]) as judge:
        reranker = judge.reranker(tmp_path, mode="pairwise")
        given = items("a", "b", "c", "a")
        assert reranker.score(given) == [0.75, 0.375, 0.375, 0.75]
        counts = reranker.cut(given)
        assert (counts["judge_decisions"], counts["judge_contradictions"]) == (6, 1)
        assert judge.calls() == 6
        assert set(judge.bought.values()) == {1}
    assert reranker.list_relative


def test_with_all_pairs_the_score_is_the_win_rate(tmp_path):
    responses = ["x" * length for length in (5, 1, 3, 3, 2)]
    responses[3] = "yyy"
    with judging(longer) as judge:
        scores = judge.reranker(tmp_path, mode="pairwise").score(items(*responses))
        assert judge.calls() == 2 * 10
    assert scores == [1.0, 0.0, 2.5 / 4, 2.5 / 4, 0.25]


def test_a_pair_that_cannot_be_read_in_one_order_is_left_out(tmp_path):
    """b is compared with c alone, whom it loses to; a is unread against both, and has no score."""
    says = {"ab": "A", "ba": "?", "ac": "", "ca": "A", "bc": "B", "cb": "A"}
    with judging(lambda responses: says["".join(responses)]) as judge:
        reranker = judge.reranker(tmp_path, mode="pairwise")
        given = items("a", "b", "c")
        none, worse, better = reranker.score(given)
        assert none is None
        assert worse < 0.5 < better
        assert reranker.cut(given)["judge_unread"] == 2


@pytest.mark.parametrize("most", [4, 12, 20])
def test_a_tournament_keeps_its_bound_and_scores_as_a_general_optimiser_fits_it(tmp_path, most):
    responses = ["x" * length for length in range(1, 9)]
    with judging(longer) as judge:
        scores = judge.reranker(tmp_path, mode="pairwise", max_comparisons=most).score(items(*responses))
        pairs = [sorted(map(len, shown(question))) for question in judge.questions()]
    met = {tuple(pair) for pair in pairs}
    assert len(met) == most
    assert all(pairs.count([*pair]) == 2 for pair in met)  # both orders, and no pair meets twice
    assert {length for pair in met for length in pair} == set(range(1, 9))

    def loss(values):  # the longer one of each pair won; each drew with an opponent of strength 0
        lost = sum(np.logaddexp(0.0, values[short - 1] - values[long - 1]) for short, long in met)
        return lost + sum(np.logaddexp(0.0, value) / 2 + np.logaddexp(0.0, -value) / 2 for value in values)

    fitted = minimize(loss, np.zeros(8), method="BFGS", options={"gtol": 1e-9}).x
    rates = [(sum(1 / (1 + np.exp(fitted - own))) - 0.5) / 7 for own in fitted]
    assert scores == pytest.approx(rates, abs=1e-6)
    assert (min(scores), max(scores)) == (scores[0], scores[-1])


def test_an_odd_one_out_meets_somebody_in_the_next_round(tmp_path):
    with judging(longer) as judge:
        scores = judge.reranker(tmp_path, mode="pairwise", max_comparisons=3).score(
            items("a", "bb", "ccc", "d4d4", "e5e5e")
        )
    assert None not in scores


def test_too_few_comparisons_are_refused(tmp_path):
    with judging(longer) as judge:
        reranker = judge.reranker(tmp_path, mode="pairwise", max_comparisons=2)
        with pytest.raises(ConfigError, match=r"max_comparisons is 2, but prompt p has 5 responses.*at least 3"):
            reranker.score(items("a", "bb", "ccc", "dddd", "eeeee"))
        assert judge.calls() == 0


def test_listwise_scores_fuse_both_orders_by_hand(tmp_path):
    """A judge that puts the first response shown last, and ranks the others by length.

    The drawn order and its reverse begin with different responses. With places from 0 of k = 4, the score is the mean
    of (3 - place) / 3. Of the orders o and reversed(o), the one begins with o[0], the other with o[3].
    """

    def say(responses):
        rest = sorted(range(1, len(responses)), key=lambda place: -len(responses[place]))
        return " > ".join(f"[{place + 1}]" for place in [*rest, 0])

    with judging(say) as judge:
        reranker = judge.reranker(tmp_path, mode="listwise")
        texts = ["x", "xx", "xxx", "xxxx"]
        scores = dict(zip(texts, reranker.score(items(*texts)), strict=True))
        one, other = (shown(question) for question in judge.questions())
    assert one == other[::-1]
    assert sorted(one) == texts
    expected = dict.fromkeys(texts, 0.0)
    for order in (one, other):
        ranked = [*sorted(order[1:], key=len, reverse=True), order[0]]
        for place, text in enumerate(ranked):
            expected[text] += (3 - place) / 3 / 2
    assert scores == pytest.approx(expected)
    assert reranker.cut(items(*texts))["judge_decisions"] == 2


def test_missing_and_repeated_numbers_are_repaired_and_counted(tmp_path):
    """Only the longest is named, twice: the others keep the order shown, which both orders together make ties."""

    def say(responses):
        best = 1 + max(range(3), key=lambda place: len(responses[place]))
        return f"[{best}] > [{best}]"

    with judging(say) as judge:
        reranker = judge.reranker(tmp_path, mode="listwise")
        assert reranker.score(items("x", "xxx", "yy")) == [0.25, 1.0, 0.25]
        assert reranker.cut(items("x", "xxx", "yy"))["judge_rankings_repaired"] == 2


def test_other_signs_and_remarks_leave_a_ranking_as_it_is_and_ties_even_out(tmp_path):
    """The longest is far better than two that tie: places 0, 1 and 2 in one order, 0, 2 and 1 in the other."""

    def say(responses):
        best = 1 + max(range(3), key=lambda place: len(responses[place]))
        one, other = sorted({1, 2, 3} - {best})
        return f"[{best}] >> [{one}] = [{other}]\n(120 > 80 words)"

    with judging(say) as judge:
        reranker = judge.reranker(tmp_path, mode="listwise")
        assert reranker.score(items("x", "xxx", "yy")) == [0.25, 1.0, 0.25]
        assert reranker.cut(items("x", "xxx", "yy"))["judge_rankings_repaired"] == 0


def test_windows_slide_from_the_end_to_the_beginning(tmp_path):
    """A perfect judge, windows of 4 and steps of 2: the best 2 of 8 come first whatever the order was."""
    assert Listwise(4, 2).windows(8) == [(4, 8), (2, 6), (0, 4)]
    assert Listwise(20, 10).windows(25) == [(5, 25), (0, 15)]
    assert Listwise(20, 10).windows(20) == [(0, 20)]
    texts = ["x" * length for length in range(1, 9)]
    with judging(by_length) as judge:
        scores = judge.reranker(tmp_path, mode="listwise", window=4, window_step=2).score(items(*texts))
        assert judge.calls() == 2 * 3
        assert {len(shown(question)) for question in judge.questions()} == {4}
    assert scores[-2:] == [6 / 7, 1.0]


def test_a_ranking_that_cannot_be_read_leaves_the_list_without_scores(tmp_path):
    with judging(lambda responses: by_length(responses) if len(responses[0]) == 1 else "none") as judge:
        reranker = judge.reranker(tmp_path, mode="listwise")
        assert reranker.score(items("x", "yy")) == [None, None]
        assert reranker.cut(items("x", "yy"))["judge_unread"] == 1


@pytest.mark.parametrize("mode", ["pairwise", "listwise"])
def test_a_lone_response_costs_nothing(tmp_path, mode):
    with judging(longer) as judge:
        assert judge.reranker(tmp_path, mode=mode).score(items("a", "a")) == [0.5, 0.5]
        assert judge.calls() == 0


def test_the_order_shown_depends_on_seed_and_prompt_alone(tmp_path):
    texts = ["x" * length for length in range(1, 9)]
    with judging(by_length) as judge:
        orders = {}
        for name, seed, prompt, given in (
            ("one", 0, "p", texts), ("again", 0, "p", texts[::-1]), ("seed", 1, "p", texts), ("prompt", 0, "q", texts),
        ):  # fmt: skip
            before = judge.calls()
            judge.reranker(tmp_path / name, mode="listwise", seed=seed).score(items(*given, prompt=prompt))
            orders[name] = [shown(question) for question in judge.questions()[before:]]
    assert sorted(orders["one"]) == sorted(orders["again"])
    assert sorted(orders["one"]) != sorted(orders["seed"])
    assert sorted(orders["one"]) != sorted(orders["prompt"])
