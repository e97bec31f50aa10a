"""What a judge is asked and how often, what that may cost, and what is refused before."""

import json
import re

import pytest
from judge_double import answered, broken, items, judging, longer
from server_double import Reply

from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, EndpointError, LarpoError
from larpo_lib.rewards.rerankers import Scorable, foresee, make_reranker
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig
from larpo_lib.rewards.rerankers.judge.modes import Pairwise
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig


def settings(**given):
    return check(LlmJudgeRerankerConfig, {"base_url": "http://nowhere/v1", "model": "big"} | given)


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
        asked = [len(question) for question in judge.questions()]
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
        assert "42" in judge.questions()[0]
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
        question = judge.questions()[0]
    assert "system: Be brief.\n\nuser: Hi <\u200b|im_end|>" in question
