import json
from functools import partial
from typing import get_args

import pytest
from server_double import Reply, serve

from larpo_lib.config import LlmJudgeConfig
from larpo_lib.config.benchmarks import PairProtocol
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.evaluation.alpaca_eval import step as alpaca_eval
from larpo_lib.evaluation.alpaca_eval.settings import AlpacaEvalConfig
from larpo_lib.evaluation.judge_check import step as judge_check
from larpo_lib.evaluation.judge_check.settings import JudgeCheckConfig
from larpo_lib.judging.completions import completions
from larpo_lib.judging.decisions import decisions
from larpo_lib.judging.official import official
from larpo_lib.judging.pairs import Pair, judge_in_both_orders, judge_pairs, mean_of_orders

PROTOCOLS = get_args(PairProtocol)
WEIGHTED, BY_TOOL, BY_TEXT = PROTOCOLS
PAIRS = [
    Pair("What is 2 + 2?", "4", "It is 5."),
    Pair("Grüße an {output_1} und {output_2}!", "Hallo,\n\nWelt", "  Hi <|im_start|> \n"),
    Pair('Say """nothing"""', "", "nothing"),
    Pair("Count to three.", "1, 2, 3", "1\n2\n3"),
    Pair("Name a colour.", "Red", "Blue"),
    Pair("Name a fruit.", "Apple", "Pear"),
]


def _message(**message):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, **message}}
    return {
        "id": "x", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }  # fmt: skip


def _by_logprobs(*tokens, **logprobs):
    answer = _message(content="m")
    top = [{"token": token, "bytes": None, "logprob": value} for token, value in (*tokens, *logprobs.items())]
    answer["choices"][0]["logprobs"] = {
        "content": [{"token": "m", "bytes": None, "logprob": -0.1, "top_logprobs": top}]
    }
    return answer


def _by_tool(arguments):
    call = {"name": "make_partial_leaderboard", "arguments": arguments}
    return _message(tool_calls=[{"id": "1", "type": "function", "function": call}])


def _ranks(first, name="model_1"):
    other = {"model_1": "model_2", "m": "M"}[name]
    return [{"model": name, "rank": first}, {"model": other, "rank": 3 - first}]


def _config(url, protocol, model="judge"):
    return AlpacaEvalConfig(judge=LlmJudgeConfig(base_url=url, model=model, retries=0), protocol=protocol)


def _judge(config, path, pairs=PAIRS, limit=None, ask=judge_pairs):
    with decisions(path, limit=limit) as store:
        endpoint = completions(config.judge)
        return ask(config.protocol, config.judge.model, pairs, store, endpoint, "alpaca_eval")


def _stock(protocol, pairs, url, folder):
    """The official client, whole, asking another server."""
    clients = folder / "clients.yaml"
    clients.write_text(json.dumps({"default": [{"api_key": "none", "base_url": url}]}))
    with official("annotators") as annotators:
        annotator = annotators.PairwiseAnnotator(annotators_config=protocol, caching_path=None)
        settings = annotator.annotators[protocol].completions_kwargs
        settings.pop("client_kwargs", None)  # it names a vendor's server
        settings["client_config_path"] = str(clients)
        rows = annotator.annotate_pairs(
            [{"instruction": p.instruction, "output_1": p.reference, "output_2": p.model} for p in pairs]
        )
    return settings["model_name"], {row["instruction"]: row["preference"] for row in rows}


ANSWERS = {
    WEIGHTED: _by_logprobs(m=-0.2, M=-1.7, Both=-9.0),
    BY_TOOL: _by_tool(json.dumps({"ordered_models": _ranks(1, "m")})),
    BY_TEXT: _message(content=str(_ranks(1))),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_server_gets_what_the_official_client_posts_and_its_answers_mean_the_same(tmp_path, protocol):
    with serve(lambda _: Reply(ANSWERS[protocol])) as server:
        model, expected = _stock(protocol, PAIRS, server.url, tmp_path)
        official_bodies = server.payloads("/chat/completions")
        server.asked.clear()
        judged = _judge(_config(server.url, protocol, model), tmp_path / "decisions.jsonl")
        bodies = server.payloads("/chat/completions")
    assert len(bodies) == len(PAIRS)
    assert sorted(map(_text, bodies)) == sorted(map(_text, official_bodies))
    assert list(judged.preferences) == [expected[pair.instruction] for pair in PAIRS]
    assert len(set(judged.preferences)) == 2  # some pairs were shown the other way round


def _text(body):
    return json.dumps(body, sort_keys=True)


def test_a_weighted_preference_by_hand(tmp_path):
    """p(m) = 1 / (1 + e^-1.5) for whatever is shown first."""
    with serve(lambda _: Reply(ANSWERS[WEIGHTED])) as server:
        judged = _judge(_config(server.url, WEIGHTED), tmp_path / "decisions.jsonl")
        shown_first = {
            pair.instruction: pair.reference
            for pair in PAIRS
            for body in server.payloads("/chat/completions")
            if pair.instruction in body["messages"][1]["content"]
            and body["messages"][1]["content"].index(f'"""{pair.reference}"""\n    }}')
            < body["messages"][1]["content"].index(f'"""{pair.model}"""\n    }}')
        }
    first = 2 - 1 / (1 + 2.718281828459045**-1.5)
    plain = [number for number, pair in enumerate(PAIRS) if pair.instruction.startswith(("What", "Count", "Name"))]
    for number in plain:
        expected = first if PAIRS[number].instruction in shown_first else 3 - first
        assert judged.preferences[number] == pytest.approx(expected, abs=1e-12)
        assert judged.completions[number]["message"]["content"] == "m"


UNREADABLE = {
    WEIGHTED: [_by_logprobs(The=-0.1), _message(content="m"), _message()],
    BY_TOOL: [_by_tool("{"), _by_tool("{}"), _message(content="m"), _by_tool(None)],
    BY_TEXT: [
        _message(content="model_1"), _message(content=""), _message(), _message(content=str(_ranks(3))),
        _message(content="__import__('os')"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "answer"), [(protocol, answer) for protocol in PROTOCOLS for answer in UNREADABLE[protocol]]
)
def test_an_answer_that_cannot_be_read_is_no_preference(tmp_path, protocol, answer):
    def reply(asked):
        return Reply(answer if "2 + 2" in json.dumps(asked.payload) else ANSWERS[protocol])

    with serve(reply) as server:
        judged = _judge(_config(server.url, protocol), tmp_path / "decisions.jsonl")
    assert [value is None for value in judged.preferences] == [True] + [False] * 5
    assert not any(judged.too_long)
    assert judged.names_neither[0] == (answer == _by_logprobs(The=-0.1))


E = 2.718281828459045


@pytest.mark.parametrize(
    ("tokens", "first", "second"),
    [
        ([(" M", -0.2), (" m", -2.0), ("m", -6.0), ("M", -9.0)], E**-2 + E**-6, E**-0.2 + E**-9),
        ([("M", -0.1), ("m", -2.4), ("M", -8.0), ("m", -9.0)], E**-2.4 + E**-9, E**-0.1 + E**-8),
        ([("\u2581m", -0.1), ("\u0120M", -2.4), ("The", -6.0)], E**-0.1, E**-2.4),
        ([("m", -1.0), ("M", -0.7), ("m", -1.0)], E**-1, E**-0.7),  # one token, told twice
        ([("m", -1.5), ("M", -0.7), (" m", -2.0)], E**-1.5, E**-0.7),  # as officially where the names are probable
        ([("m", -0.6), ("The", -1.0)], 1.0, 0.0),
    ],
)
def test_a_names_tokens_count_together(tmp_path, tokens, first, second):
    """By hand: the share of the probability of m, for whatever is shown first."""
    with serve(lambda _: Reply(_by_logprobs(*tokens))) as server:
        judged = _judge(_config(server.url, WEIGHTED), tmp_path / "decisions.jsonl")
    prefers_first = first / (first + second)
    for value, model_first in zip(judged.preferences, judged.model_first, strict=True):
        assert value == pytest.approx(1 + prefers_first if model_first else 2 - prefers_first, abs=1e-12)
    assert not any(judged.names_neither)


def test_a_judge_that_would_say_something_else_has_no_preference_and_is_counted_once(tmp_path):
    def reply(asked):
        """One pair is left undecided in one order, and another in both; a third is too long in both."""
        body = json.dumps(asked.payload)
        if "Name a fruit." in body:
            return Reply({"error": {"message": "maximum context length is 8192 tokens"}}, status=400)
        off = "2 + 2" in body or ("Name a colour." in body and body.index("Blue") < body.index("Red"))
        return Reply(_by_logprobs(("Both", -0.2), ("m", -2.0), ("M", -4.0)) if off else ANSWERS[WEIGHTED])

    with serve(reply) as server:
        config, file = _config(server.url, WEIGHTED), tmp_path / "decisions.jsonl"
        judged = mean_of_orders(*_judge(config, file, ask=judge_in_both_orders))
    undecided = ["2 + 2" in pair.instruction or pair.instruction == "Name a colour." for pair in PAIRS]
    too_long = [pair.instruction == "Name a fruit." for pair in PAIRS]
    assert (list(judged.names_neither), list(judged.too_long)) == (undecided, too_long)
    assert [value is None for value in judged.preferences] == [*map(max, undecided, too_long)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_judge_of_whom_nothing_can_be_read_is_asked_no_more(tmp_path, protocol):
    pairs = [Pair(f"What is {number}?", "A number.", "Nothing.") for number in range(60)]
    with serve(lambda _: Reply(UNREADABLE[protocol][0])) as server:
        config, file = _config(server.url, protocol), tmp_path / "decisions.jsonl"
        config = config.model_copy(update={"judge": config.judge.model_copy(update={"concurrency": 1})})
        said = rf"none of the first 50 judgements can be read.* stored .* kept\. Set alpaca_eval\.judge .* {protocol}"
        with pytest.raises(LarpoError, match=said):
            _judge(config, file, pairs)
        assert len(server.asked) <= 53  # what was on its way
        server.answer = lambda _: Reply(ANSWERS[protocol])
        file.unlink()
        assert None not in _judge(config, file, pairs).preferences


def test_what_a_judge_thinks_before_is_left_out(tmp_path):
    thoughts = f"<think>\nSuch as {_ranks(2)}? No.\n</think>\n\n"
    with serve(lambda _: Reply(_message(content=f"{thoughts}{_ranks(1)}"))) as server:
        judged = _judge(_config(server.url, BY_TEXT), tmp_path / "decisions.jsonl")
    assert [value == 2 for value in judged.preferences] == list(judged.model_first)
    with serve(lambda _: Reply(_message(content=thoughts[:-12]))) as server:
        judged = _judge(_config(server.url, BY_TEXT), tmp_path / "cut.jsonl")
    assert list(judged.preferences) == [None] * len(PAIRS)


def test_few_may_be_unreadable(tmp_path):
    with serve(lambda _: Reply(_message(content="?"))) as server:
        judged = _judge(_config(server.url, BY_TEXT), tmp_path / "decisions.jsonl")
    assert list(judged.preferences) == [None] * len(PAIRS)


def test_what_is_too_long_for_the_judge_is_counted(tmp_path):
    def reply(asked):
        if "2 + 2" in json.dumps(asked.payload):
            return Reply({"error": {"message": "maximum context length is 8192 tokens"}}, status=400)
        return Reply(ANSWERS[WEIGHTED])

    with serve(reply) as server:
        judged = _judge(_config(server.url, WEIGHTED), tmp_path / "decisions.jsonl")
    assert judged.preferences[0] is None
    assert judged.completions[0] is None
    assert None not in judged.preferences[1:]
    assert list(judged.too_long) == [True] + [False] * 5


def test_equal_answers_are_a_draw_that_nobody_is_asked_about(tmp_path):
    with serve(lambda _: Reply(ANSWERS[BY_TEXT])) as server:
        config, file = _config(server.url, BY_TEXT), tmp_path / "decisions.jsonl"
        judged = _judge(config, file, [Pair("What is 1 + 1?", "2", "2"), *PAIRS])
        assert judged.preferences[0] == 1.5
        assert judged.completions[0] is None
        assert len(server.asked) == len(PAIRS)
        assert list(_judge(config, file, [Pair("What is 1 + 1?", "2", "2")]).preferences) == [1.5]


def test_decisions_are_found_again_whatever_the_order_and_the_limit_comes_before_the_first_call(tmp_path):
    with serve(lambda _: Reply(ANSWERS[WEIGHTED])) as server:
        config, file = _config(server.url, WEIGHTED), tmp_path / "decisions.jsonl"
        with pytest.raises(ConfigError, match=r"needs 6 judge calls.*more than the allowed 5.*--max-judge-calls"):
            _judge(config, file, limit=5)
        assert not server.asked
        ours = _judge(config, file, limit=6)
        again = _judge(config, file, PAIRS[::-1], limit=6)
        assert len(server.asked) == len(PAIRS)
    assert list(again.preferences) == list(ours.preferences)[::-1]


def test_in_both_orders_a_judge_that_sees_only_places_prefers_nothing(tmp_path):
    """Which answer was shown first is what the request says, and neither order is bought twice."""
    with serve(lambda _: Reply(ANSWERS[BY_TEXT])) as server:
        config, file = _config(server.url, BY_TEXT), tmp_path / "decisions.jsonl"
        first, second = _judge(config, file, ask=judge_in_both_orders)
        assert len(server.asked) == 2 * len(PAIRS)
        assert list(_judge(config, file).preferences) == list(first.preferences)
        assert len(server.asked) == 2 * len(PAIRS)
        shown = {_text(body) for body in server.payloads("/chat/completions")}
    assert list(mean_of_orders(first, second).preferences) == [1.5] * len(PAIRS)
    assert [value == 2 for value in first.preferences] == list(first.model_first)
    assert [value == 2 for value in second.preferences] == list(second.model_first)
    assert list(second.model_first) == [not is_first for is_first in first.model_first]
    assert len(shown) == 2 * len(PAIRS)
    colours = [body for body in shown if "Name a colour." in body]
    assert {body.index("Blue") < body.index("Red") for body in colours} == {True, False}


def test_a_live_judge_is_checked_and_told_beside_its_scores(tmp_path, capfd):
    """It prefers what is shown first; so it agrees by chance, and the order decides everything."""
    rows = [
        {"instruction": p.instruction, "output_1": p.reference, "output_2": p.model, "preference": 1 + number % 2,
         "generator_1": "r", "generator_2": "m", "annotator": "people"} for number, p in enumerate(PAIRS)
    ]  # fmt: skip
    (tmp_path / "people.json").write_text(json.dumps(rows))
    reference = [{"instruction": p.instruction, "output": p.reference, "generator": "r"} for p in PAIRS]
    answers = [{"instruction": p.instruction, "output": p.model, "generator": "m"} for p in PAIRS]
    for name, outputs in (("reference", reference), ("answers", answers)):
        (tmp_path / f"{name}.json").write_text(json.dumps(outputs))
    with serve(lambda _: Reply(ANSWERS[BY_TEXT])) as server:
        judge = LlmJudgeConfig(base_url=server.url, model="judge", retries=0, max_calls=11)
        config = JudgeCheckConfig(judge=judge, protocol=BY_TEXT, resamples=20)
        run = partial(judge_check.run, reference=[tmp_path / "people.json"], evaluation=tmp_path / "check")
        with pytest.raises(ConfigError, match="judge_check, judging needs 12 judge calls"):
            run(config)
        config = config.model_copy(update={"judge": judge.model_copy(update={"max_calls": 12})})
        found = run(config)
        assert (found["changed_by_order"], found["prefers_first"], found["pairs"]) == (1.0, 1.0, 6)
        assert found["agreement_both_orders"] == 0.0  # it prefers neither, people always one
        again = run(config, evaluation=tmp_path / "again", decisions=tmp_path / "check.decisions.jsonl")
        assert again == found
        asked = len(server.asked)
        assert asked == 2 * len(PAIRS)
        scored = AlpacaEvalConfig(judge=judge, protocol=BY_TEXT, partial=True)
        files = {name: tmp_path / f"{name}.json" for name in ("reference", "answers")}
        alpaca_eval.run(scored, **files, evaluation=tmp_path / "scores", judge_check=tmp_path / "check")
        other = scored.model_copy(update={"protocol": WEIGHTED})
        with pytest.raises(ConfigError, match=r"is a check of judge by alpaca_eval_llama3_70b_fn, but the judge here"):
            alpaca_eval.run(other, **files, evaluation=tmp_path / "other", judge_check=tmp_path / "check")
        both = scored.model_copy(update={"both_orders": True, "judge": config.judge})
        in_both = alpaca_eval.run(both, **files, evaluation=tmp_path / "both", judge_check=tmp_path / "check")
    assert "Annotation chunk" not in capfd.readouterr().err
    assert in_both["win_rate"] == 50.0
    assert in_both["draws"] == 6
    report, summary = (json.loads((tmp_path / "scores" / "report.json").read_text()), "summary.txt")
    assert report["judge_check"].startswith("on 6 pairs that people annotated: Agreement ")
    for file in (summary, "report.html"):
        assert "on 6 pairs that people annotated" in (tmp_path / "scores" / file).read_text()
    assert "Agreement in both orders 0.000" in (tmp_path / "both" / summary).read_text()
    (kept,) = {row["is_switched_outputs"] == (row["preference"] == 2) for row in _read(tmp_path / "scores")}
    assert kept  # what is shown first is what it prefers
    assert all(sorted(row["preference_by_order"]) == [1, 2] for row in _read(tmp_path / "both"))


def _read(artifact):
    return json.loads((artifact / "annotations.json").read_text())
