import json
from typing import Any

import pytest
from judge_double import answered
from server_double import Reply, serve

from larpo_lib.config import LlmJudgeConfig
from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import ConfigError, DataError, EndpointError
from larpo_lib.judging.completions import completions, text
from larpo_lib.judging.decisions import decisions

REQUESTS = [{"model": "judge", "question": number} for number in range(8)]


def _verdict(asked):
    return Reply({"verdict": asked.payload["question"] % 2})


def _endpoint(server, **settings):
    return Endpoint(LlmJudgeConfig(base_url=server.url, model="judge", **settings), "judge", dict[str, Any])


def _judge(server, path, requests=REQUESTS, limit=None, attempt=0, **settings):
    with decisions(path, limit=limit) as store:
        return store.ask(_endpoint(server, **settings), requests, label="judging", attempt=attempt)


def test_answers_come_in_the_order_of_the_requests_and_each_is_bought_once(tmp_path):
    file = tmp_path / "decisions.jsonl"
    with serve(_verdict) as server:
        twice = [*REQUESTS, *REQUESTS]
        assert _judge(server, file, twice) == [{"verdict": request["question"] % 2} for request in twice]
        assert _judge(server, file) == [{"verdict": request["question"] % 2} for request in REQUESTS]
        assert len(server.asked) == len(REQUESTS)
        _judge(server, file, REQUESTS[:3], attempt=1)
        assert len(server.asked) == len(REQUESTS) + 3


def test_a_failure_keeps_what_came_before_it(tmp_path):
    file = tmp_path / "decisions.jsonl"
    with serve(lambda asked: Reply({}, status=400) if asked.payload["question"] == 5 else _verdict(asked)) as server:
        with pytest.raises(EndpointError):
            _judge(server, file, concurrency=1)
        assert [json.loads(line)["request"]["question"] for line in file.read_text().splitlines()] == [0, 1, 2, 3, 4]
        server.answer = _verdict
        _judge(server, file)
        assert sorted(asked.payload["question"] for asked in server.asked[6:]) == [5, 6, 7]


FAILED = {"index": 0, "finish_reason": "error", "message": {"role": "assistant", "content": ""}}


@pytest.mark.parametrize(
    "failure",
    [
        Reply({"choices": [{**FAILED, "error": {"code": 502, "message": "Upstream error"}}]}),
        Reply({"choices": [FAILED]}),
        Reply({"error": {"code": 502, "message": "Provider returned error"}}),
        Reply({"error": {"message": "Operation timed out"}}, status=408),
    ],
)
def test_what_a_provider_failed_to_answer_is_asked_again_and_never_stored(tmp_path, failure):
    file, answer = tmp_path / "decisions.jsonl", answered("[[A>B]]")
    with serve(lambda asked: failure if asked.tries == 1 else answer) as server:
        endpoint = completions(LlmJudgeConfig(base_url=server.url, model="judge"))
        endpoint._sleep = _no_sleep
        with decisions(file) as store:
            found = store.ask(endpoint, REQUESTS[:1], label="judging")
        assert len(server.asked) == 2
    assert found == [answer.body]
    assert [json.loads(line)["answer"] for line in file.read_text().splitlines()] == [answer.body]


async def _no_sleep(_seconds):
    pass


def test_a_line_that_a_crash_left_half_written_is_bought_again(tmp_path):
    file = tmp_path / "decisions.jsonl"
    with serve(_verdict) as server:
        _judge(server, file)
        whole = file.read_bytes()
        file.write_bytes(whole[:-7])
        answers = _judge(server, file)
        assert answers == [{"verdict": request["question"] % 2} for request in REQUESTS]
        assert len(server.asked) == len(REQUESTS) + 1
    assert sorted(file.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_more_than_the_limit_is_told_before_anything_is_bought(tmp_path):
    file = tmp_path / "decisions.jsonl"
    with serve(_verdict) as server:
        _judge(server, file, REQUESTS[:3], limit=3)
        with pytest.raises(ConfigError, match=r"5 judge calls.*3 decisions.*more than the allowed 7"):
            _judge(server, file, limit=7)
        assert len(server.asked) == 3
        _judge(server, file, limit=8)
        assert len(server.asked) == 8


def test_the_calls_to_come_are_told_before_the_first_one(tmp_path, caplog):
    file = tmp_path / "decisions.jsonl"
    with serve(_verdict) as server:
        _judge(server, file, REQUESTS[:3])
        assert caplog.messages[0].startswith("judging: 3 judge calls, about ")
        caplog.clear()
        _judge(server, file)
        # five requests of 33 characters, four to a token
        told = "judging: 5 judge calls, about 41 input tokens; 3 decisions are already stored"
        assert caplog.messages[0].startswith(told)
        caplog.clear()
        _judge(server, file)
        assert "judge calls" not in caplog.text


def test_a_request_that_is_too_long_has_no_answer_and_is_not_stored(tmp_path):
    file = tmp_path / "decisions.jsonl"

    def answer(asked):
        if asked.payload["question"] == 2:
            return Reply({"error": {"message": "maximum context length is 8192 tokens"}}, status=400)
        return _verdict(asked)

    with serve(answer) as server:
        assert _judge(server, file)[2] is None
    assert len(file.read_text().splitlines()) == 7


def test_what_a_filter_refuses_is_an_answer_that_says_nothing_and_is_stored(tmp_path):
    file = tmp_path / "decisions.jsonl"

    def answer(asked):
        if asked.payload["question"] == 2:
            return Reply({"error": {"message": "filtered", "code": "content_filter"}}, status=400)
        return _verdict(asked)

    with serve(answer) as server:
        for _ in range(2):
            found = _judge(server, file)
            assert text(found[2]) == ""
            assert found[2]["choices"][0]["message"]["refusal"] == "400: filtered; content_filter"
            assert [found[i] for i in (1, 3)] == [{"verdict": 1}, {"verdict": 1}]
        assert len(server.asked) == len(REQUESTS)


def test_an_answer_that_was_changed_on_the_disk_is_bought_again(tmp_path, caplog):
    """Every single bit of the answer and of the key; lines of earlier versions, which have no checksum, are read."""
    file = tmp_path / "decisions.jsonl"
    with serve(_verdict) as server:
        _judge(server, file, REQUESTS[1:2])
        (line,) = file.read_bytes().splitlines(keepends=True)
        digit = line.index(b'"verdict": 1') + len(b'"verdict": ')
        key = line.index(b'"key": "') + len(b'"key": "')
        for place, bit in ((digit, 1), (digit, 8), (key, 1), (key + 5, 2)):
            file.write_bytes(line[:place] + bytes([line[place] ^ bit]) + line[place + 1 :])
            asked = len(server.asked)
            assert _judge(server, file, REQUESTS[1:2]) == [{"verdict": 1}]
            assert len(server.asked) == asked + 1
            assert f"{file}, row 1: differs from its checksum, and is not used" in caplog.messages
            caplog.clear()
        older = {name: value for name, value in json.loads(line).items() if name != "checksum"}
        file.write_text(json.dumps(older) + "\n")
        assert _judge(server, file, REQUESTS[1:2]) == [{"verdict": 1}]
        assert len(server.asked) == asked + 1


def test_what_was_asked_for_is_saved_in_an_order_of_its_own(tmp_path):
    file = tmp_path / "decisions.jsonl"
    with serve(_verdict) as server:
        _judge(server, file)
        for name, requests in (("one", REQUESTS[:5]), ("other", [*REQUESTS[4::-1], *REQUESTS[:2]])):
            with decisions(file) as store:
                store.ask(_endpoint(server), requests, label="judging")
                store.save(tmp_path / name)
    saved = (tmp_path / "one").read_bytes()
    assert saved == (tmp_path / "other").read_bytes()
    assert sorted(json.loads(line)["request"]["question"] for line in saved.splitlines()) == [0, 1, 2, 3, 4]
    with decisions(tmp_path / "one") as store:
        assert len(store) == 5
        assert store.get(REQUESTS[3]) == {"verdict": 1}


@pytest.mark.parametrize("line", ["no json", "[]", '{"key": "k"}'])
def test_a_line_that_is_no_decision_is_named(tmp_path, line):
    file = tmp_path / "decisions.jsonl"
    file.write_text(f"{line}\n")
    with pytest.raises(DataError, match=r"decisions.jsonl, row 1: is not a judge's decision"), decisions(file):
        pass


def test_two_processes_do_not_judge_with_one_file(tmp_path):
    file = tmp_path / "decisions.jsonl"
    with decisions(file), pytest.raises(ConfigError, match="another process"), decisions(file):
        pass
