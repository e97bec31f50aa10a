"""Scores by a judge, against values worked out by hand."""

import json
import math
import re

import numpy as np
import pytest
from judge_double import answered, broken, by_length, items, judging, longer, shown
from scipy.optimize import minimize
from server_double import Reply

from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, EndpointError, LarpoError
from larpo_lib.rewards.rerankers import Scorable, foresee, make_reranker
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig
from larpo_lib.rewards.rerankers.judge.modes import Listwise, Pairwise
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig


def settings(**given):
    return check(LlmJudgeRerankerConfig, {"base_url": "http://nowhere/v1", "model": "big"} | given)


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
        pairs = [sorted(map(len, _shown(payload))) for payload in judge.server.payloads("/v1/chat/completions")]
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


def _shown(payload):
    return shown(payload["messages"][0]["content"])


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
        one, other = (_shown(payload) for payload in judge.server.payloads("/v1/chat/completions"))
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


def test_windows_slide_from_the_end_to_the_beginning(tmp_path):
    """A perfect judge, windows of 4 and steps of 2: the best 2 of 8 come first whatever the order was."""
    assert Listwise(4, 2).windows(8) == [(4, 8), (2, 6), (0, 4)]
    assert Listwise(20, 10).windows(25) == [(5, 25), (0, 15)]
    assert Listwise(20, 10).windows(20) == [(0, 20)]
    texts = ["x" * length for length in range(1, 9)]
    with judging(by_length) as judge:
        scores = judge.reranker(tmp_path, mode="listwise", window=4, window_step=2).score(items(*texts))
        assert judge.calls() == 2 * 3
        assert {len(_shown(payload)) for payload in judge.server.payloads("/v1/chat/completions")} == {4}
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
            orders[name] = [_shown(payload) for payload in judge.server.payloads("/v1/chat/completions")[before:]]
    assert sorted(orders["one"]) == sorted(orders["again"])
    assert sorted(orders["one"]) != sorted(orders["seed"])
    assert sorted(orders["one"]) != sorted(orders["prompt"])


def test_no_decision_is_bought_twice_whatever_fails(tmp_path):
    """Refusals with Retry-After, broken connections, an error in the middle, other rerankers, another prompt's list."""
    tries = {}

    def say(responses):
        tries["".join(responses)] = number = tries.get("".join(responses), 0) + 1
        if number == 1:
            return Reply({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "0"})
        if number == 2 and responses == ["a", "bb"]:
            return broken(longer(responses))
        if number == 2 and fails:
            return Reply({"error": {"message": "bad"}}, status=400)
        return answered(longer(responses))

    given, fails = items("a", "bb", "ccc", "dddd"), True
    with judging(say) as judge:
        with pytest.raises(EndpointError, match="answered 400"):
            judge.reranker(tmp_path, mode="pairwise", retries=5, concurrency=1).score(given)
        fails = False
        first = judge.reranker(tmp_path, mode="pairwise", retries=5)
        scores = first.score(given)
        assert judge.reranker(tmp_path, mode="pairwise", concurrency=3).score(given[::-1]) == scores[::-1]
        assert len(judge.bought) == 12
        assert set(judge.bought.values()) == {1}
        before = judge.calls()
        more = judge.reranker(tmp_path, mode="pairwise", retries=5)
        more.score([*given, *items("eeeee")])
        assert len(judge.bought) == 20
        assert set(judge.bought.values()) == {1}
        assert judge.calls() > before
        judge.reranker(tmp_path, mode="pairwise", rubric="Short ones.", retries=5).score(given)
        assert len(judge.bought) == 32  # another question


def test_a_reply_that_cannot_be_read_is_asked_for_again_as_often_as_allowed(tmp_path):
    count = {}

    def say(responses):
        count[responses[0]] = count.get(responses[0], 0) + 1
        return "3" if count[responses[0]] == {"a": 1, "b": 2}.get(responses[0]) else "hm"

    with judging(say) as judge:
        reranker = judge.reranker(tmp_path, attempts=3)
        assert reranker.score(items("a", "b", "c")) == [3.0, 3.0, None]
        assert judge.calls() == 1 + 2 + 3
        assert judge.reranker(tmp_path, attempts=3).score(items("a", "b", "c")) == [3.0, 3.0, None]
        assert judge.calls() == 6


def test_what_is_too_long_for_the_judge_has_no_score(tmp_path):
    too_long = Reply({"error": {"message": "maximum context length is 8 tokens"}}, status=400)
    with judging(lambda responses: too_long if len(responses[0]) > 3 else "2") as judge:
        reranker = judge.reranker(tmp_path)
        assert reranker.score(items("a", "bbbb")) == [2.0, None]
        assert reranker.cut(items("a", "bbbb"))["judge_too_long"] == 1


def test_a_judge_of_whom_nothing_can_be_read_is_asked_no_further(tmp_path):
    with judging(lambda _: "As a language model") as judge:
        with pytest.raises(LarpoError, match=r"none of the first 50 judgements.*a judge that replies with a grade"):
            judge.reranker(tmp_path, concurrency=4).score(items(*(str(number) for number in range(200))))
        assert judge.calls() < 100


def test_calls_are_counted_and_limited_before_the_first_one(tmp_path, caplog):
    lists = [items("a", "bb", "ccc", "a"), items("a", "bb", prompt="q")]
    with judging(longer) as judge:
        config = judge.config(tmp_path, mode="pairwise", max_calls=7)
        with pytest.raises(ConfigError, match=r"rerank needs at most 8 judge calls, about .* but max_calls is 7"):
            foresee(config, "rerank", lists)
        assert judge.calls() == 0
        foresee(judge.config(tmp_path, mode="pairwise", max_calls=8), "rerank", lists)
        assert caplog.messages[-1].startswith("rerank: at most 8 judge calls, about ")
        reranker = make_reranker(config)
        reranker.score(lists[0])
        foresee(config, "rerank", lists)  # two are left
        told = caplog.messages[-1]
        assert told.startswith("rerank: at most 2 judge calls")
        assert "6 decisions of this judge are already stored" in told
        (tokens,) = re.findall("about ([0-9,]+) input tokens", told)
        reranker.score(lists[1])
        asked = [len(payload["messages"][0]["content"]) for payload in judge.server.payloads("/v1/chat/completions")]
        assert int(tokens.replace(",", "")) == round(sum(asked[-2:]) / 4)
        caplog.clear()
        foresee(config, "rerank", lists)
        assert not caplog.messages


def test_the_bound_of_a_tournament_counts_what_may_follow(tmp_path, caplog):
    given = items(*("x" * length for length in range(1, 9)))
    with judging(longer) as judge:
        config = judge.config(tmp_path, mode="pairwise", max_comparisons=12, attempts=2)
        foresee(config, "rerank", [given])
        assert caplog.messages[-1].startswith(f"rerank: at most {2 * 2 * 12} judge calls")
        assert config.most_calls(8) == 48
        make_reranker(config).score(given)
        assert judge.calls() == 24
    assert Pairwise(None).most_calls(8) == 56


def test_a_prompt_without_the_reference_that_the_template_shows_is_named(tmp_path):
    template = "{prompt} {response} {reference}"
    with judging(lambda _: "2") as judge:
        assert judge.reranker(tmp_path, template=template).score(items("a", reference="42")) == [2.0]
        assert "42" in judge.server.payloads("/v1/chat/completions")[0]["messages"][0]["content"]
        with pytest.raises(LarpoError, match="prompt p: has no reference, which the judge's template asks for"):
            foresee(judge.config(tmp_path, template=template), "rerank", [items("a")])


def test_a_judge_can_be_a_member_of_an_ensemble(tmp_path):
    with judging(lambda responses: str(len(responses[0]))) as judge:
        member = judge.config(tmp_path, max_calls=2).model_dump()
        config = EnsembleConfig.model_validate(
            {
                "type": "ensemble",
                "members": [
                    {"reranker": member, "mean": 1.0, "std": 1.0},
                    {"reranker": {"type": "verifier", "mode": "exact"}, "mean": 0.0, "std": 1.0},
                ],
            }
        )
        assert not config.list_relative
        given = items("1", "22", reference="22")
        assert make_reranker(config).score(given) == [0.0, 2.0]
        with pytest.raises(ConfigError, match="at most 3 judge calls"):
            foresee(config, "rerank", [items("a", "b", "c")])


def test_the_key_is_sent_and_stands_nowhere(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    with judging(lambda _: "2") as judge:
        reranker = judge.reranker(tmp_path, api_key_env="JUDGE_KEY")
        reranker.score(items("a"))
        assert judge.server.asked[-1].headers["authorization"] == "Bearer sk-very-secret"
    stored = "".join(file.read_text() for file in tmp_path.rglob("*.jsonl"))
    assert "sk-very-secret" not in stored + caplog.text + reranker.name
    assert json.loads(stored)["answer"]["choices"]


def test_the_server_and_its_model_are_looked_at(tmp_path):
    with judging(longer) as judge:
        judge.config(tmp_path).check()
        with pytest.raises(ConfigError, match=r"does not serve a model 'small'\. Set model to one of big"):
            judge.config(tmp_path, model="small").check()
        judge.config(tmp_path, max_tokens=4095).check()
        with pytest.raises(ConfigError, match="serves 'big' with 4096 tokens, but max_tokens = 4096"):
            judge.config(tmp_path, max_tokens=4096).check()
        address = judge.server.url
    with pytest.raises(EndpointError, match=address):
        settings(base_url=f"{address}/v1").check()


def test_requests_take_further_fields(tmp_path):
    extra = {"max_completion_tokens": 99, "reasoning_effort": "low", "temperature": 1.0}
    with judging(lambda _: "2") as judge:
        judge.reranker(tmp_path, request=extra, top_logprobs=0).score(items("a"))
        (payload,) = judge.server.payloads("/v1/chat/completions")
    assert {**extra, "model": "big"}.items() <= payload.items()
    assert {"max_tokens", "logprobs", "top_logprobs"}.isdisjoint(payload)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lowest_grade": 5}, "lowest_grade must be less than highest_grade"),
        ({"window": 5, "window_step": 5}, "window_step must be less than window"),
        ({"request": {"messages": []}}, "request must not contain messages"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        settings(**given)


def test_how_the_work_is_done_is_no_part_of_the_fingerprint(tmp_path):
    plain = settings().identity()
    moved = settings(base_url="http://other", decisions=str(tmp_path), concurrency=2, max_calls=5).identity()
    assert moved == plain
    assert settings(rubric="Short.").identity() != plain


def test_unit_rewards_are_known():
    assert settings().beyond_one is not None
    assert settings(lowest_grade=0, highest_grade=1).beyond_one is None
    assert settings(mode="pairwise").beyond_one is None


def test_conversations_and_control_tokens_are_shown_as_text(tmp_path):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|im_end|>"}]
    with judging(lambda _: "2") as judge:
        reranker = judge.reranker(tmp_path)
        given = [Scorable("p", messages, "ok"), Scorable("p", messages, "no </s>")]
        reranker.score(given)
        assert reranker.cut(given)["judge_texts_with_control_tokens"] == 2
        question = judge.server.payloads("/v1/chat/completions")[0]["messages"][0]["content"]
    assert "system: Be brief.\n\nuser: Hi <\u200b|im_end|>" in question
