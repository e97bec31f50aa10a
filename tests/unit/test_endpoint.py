import asyncio
import gzip
import json
import logging
import time
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import BaseModel
from server_double import Reply, serve

from larpo_lib import http_answers
from larpo_lib.config import EndpointConfig
from larpo_lib.config.load import check
from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import ConfigError, EndpointError, FilteredError, InputTooLongError

SECRET = "sk-very-secret"


class Doubled(BaseModel):
    value: int


def _double(asked):
    """Twice the number asked; the first ones last."""
    number = asked.payload["number"]
    return Reply({"value": 2 * number}, after_s=0.05 if number < 2 else 0.0)


PAYLOADS = [{"number": number} for number in range(20)]


def _endpoint(server, slept=None, answer=Doubled, path="double", **settings):
    config = EndpointConfig(
        base_url=f"{server.url}/v1", **{"concurrency": 4, "retries": 3, "timeout_s": 5.0} | settings
    )

    async def sleep(seconds):
        (slept if slept is not None else []).append(seconds)

    return Endpoint(config, path, answer, sleep=sleep)


def _first_fails(reply, times=1, number=3):
    def answer(asked):
        return reply if asked.payload == {"number": number} and asked.tries <= times else _double(asked)

    return answer


def _numbers(server):
    return [payload["number"] for payload in server.payloads("/v1/double")]


def test_answers_come_back_in_the_order_asked():
    with serve(_double) as server:
        answers = _endpoint(server).ask(PAYLOADS)
    assert [answer.value for answer in answers] == [2 * number for number in range(20)]
    assert sorted(_numbers(server)) == list(range(20))


def test_no_more_requests_are_open_than_allowed():
    def slow(asked):
        return Reply({"value": 1}, after_s=0.03)

    with serve(slow) as server:
        _endpoint(server, concurrency=3).ask(PAYLOADS)
    assert server.most_in_flight == 3


def test_nothing_asked_is_nothing_answered():
    with serve(_double) as server:
        assert _endpoint(server).ask([]) == []
    assert server.asked == []


def test_arrivals_come_as_they_arrive_in_the_callers_thread():
    with serve(_double) as server:
        places = [place for place, _ in _endpoint(server).arrivals(PAYLOADS)]
    assert sorted(places) == list(range(20))
    assert places[0] not in (0, 1)  # these are slow


def test_a_caller_that_takes_nothing_is_not_bought_more_than_may_be_in_flight_twice():
    with serve(_double) as server:
        arrivals = _endpoint(server, concurrency=3).arrivals(PAYLOADS)
        next(arrivals)
        time.sleep(0.5)
        assert len(server.asked) <= 1 + 2 * 3 < len(PAYLOADS)
        assert len(list(arrivals)) == len(PAYLOADS) - 1
        assert len(server.asked) == len(PAYLOADS)


def test_it_can_be_asked_inside_a_running_event_loop():
    async def notebook():
        return _endpoint(server).ask(PAYLOADS[:3])

    with serve(_double) as server:
        assert [answer.value for answer in asyncio.run(notebook())] == [0, 2, 4]


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": "overloaded"}, status=429),
        Reply({"error": "oops"}, status=500),
        Reply("bad gateway", status=502),
        Reply({"value": 6, "filling": "x" * 100}, cut_off=True),
        Reply({"value": 6}, after_s=0.6),  # longer than the timeout
    ],
    ids=["429", "500", "502", "hang-up", "slow"],
)
def test_what_may_pass_is_tried_again(reply):
    slept = []
    with serve(_first_fails(reply, times=2)) as server:
        answers = _endpoint(server, slept, timeout_s=0.3).ask(PAYLOADS)
    assert [answer.value for answer in answers] == [2 * number for number in range(20)]
    assert _numbers(server).count(3) == 3
    assert len(_numbers(server)) == 22
    assert len(slept) == 2
    assert 0.5 <= slept[0] <= 1.0  # half fixed, half random
    assert 1.0 <= slept[1] <= 2.0


def test_tries_are_bounded_and_counted():
    slept = []
    with serve(lambda _: Reply({"error": {"message": "out of\nmemory"}}, status=503)) as server:
        with pytest.raises(EndpointError) as raised:
            _endpoint(server, slept, retries=2).ask(PAYLOADS[:1])
        assert len(server.asked) == 3
    assert str(raised.value) == (
        f"{server.url}/v1/double: answered 503: out of (3 tries). Check the server's log;"
        " reduce concurrency, or increase retries."
    )
    assert raised.value.status == 503
    assert len(slept) == 2


def test_a_server_that_is_not_there_is_named():
    with serve(_double) as server:
        pass
    with pytest.raises(
        EndpointError, match=r"/v1/double: .*\(2 tries\)\. Start the server, or fix base_url\."
    ) as raised:
        _endpoint(server, retries=1).ask(PAYLOADS)
    assert raised.value.status is None


@pytest.mark.parametrize("retry_after", ["7", "in an hour", "0", "soon"])
def test_the_server_says_how_long_to_wait(retry_after):
    slept = []
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    stated = in_an_hour if retry_after == "in an hour" else retry_after
    reply = Reply({"error": "busy"}, status=429, headers={"retry-after": stated})
    with serve(_first_fails(reply)) as server:
        _endpoint(server, slept).ask(PAYLOADS)
    (seconds,) = slept
    expected = {"7": 7.0, "0": 0.0, "soon": pytest.approx(0.75, abs=0.25)}
    assert seconds == expected.get(retry_after, 600.0)  # an hour is too long


@pytest.mark.parametrize(
    ("status", "remedy"), [(400, "settings"), (401, "api_key_env"), (404, "base_url"), (501, "route")]
)
def test_what_will_not_pass_is_asked_once(status, remedy):
    with serve(lambda _: Reply({"detail": "never"}, status=status)) as server:
        with pytest.raises(EndpointError, match=rf"answered {status}: never\. .*{remedy}"):
            _endpoint(server).ask(PAYLOADS[:1])
        assert len(server.asked) == 1


def test_a_fatal_answer_cancels_the_others():
    def answer(asked):
        number = asked.payload["number"]
        return (
            Reply({"error": "no"}, status=400) if number == 3 else Reply({"value": 0}, after_s=0 if number == 0 else 3)
        )

    arrived = []
    with serve(answer) as server:
        start = time.monotonic()
        with pytest.raises(EndpointError, match="answered 400: no"):
            arrived.extend(place for place, _ in _endpoint(server).arrivals(PAYLOADS))
        assert time.monotonic() - start < 2.0
        assert set(_numbers(server)) <= {0, 1, 2, 3, 4}
    assert arrived in ([], [0])  # what was there before the error is not lost


def test_a_caller_that_stops_cancels_the_rest():
    with serve(lambda asked: Reply({"value": 0}, after_s=0.0 if asked.payload["number"] == 0 else 3.0)) as server:
        start = time.monotonic()
        arrivals = _endpoint(server).arrivals(PAYLOADS)
        assert next(arrivals)[0] == 0
        arrivals.close()
        assert time.monotonic() - start < 2.0


TOO_LONG = {
    "vllm": (400, {"error": {"message": "This model's maximum context length is 9 tokens. However, ...", "code": 400}}),
    "vllm's engine": (
        400,
        {"error": {"message": "The decoder prompt (length 12) is longer than the maximum model length of 9."}},
    ),
    "openai": (400, {"error": {"message": "Too many tokens.", "code": "context_length_exceeded"}}),
    "tei": (413, {"error": "`inputs` must have less than 9 tokens. Given: 12", "error_type": "Validation"}),
    "tgi": (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 9. Given: 12", "error_type": "validation"}),
    "nginx": (413, "<html>\n<h1>413 Request Entity Too Large</h1></html>"),
}


@pytest.mark.parametrize("server_of", TOO_LONG)
def test_an_input_that_is_too_long_is_told_apart(server_of):
    status, body = TOO_LONG[server_of]
    with serve(_first_fails(Reply(body, status=status))) as server:
        answers = _endpoint(server).ask(PAYLOADS)
        assert len(server.asked) == 20
    assert isinstance(answers[3], InputTooLongError)
    assert answers[3].status == status
    assert [answer.value for i, answer in enumerate(answers) if i != 3] == [2 * i for i in range(20) if i != 3]


FILTERED = {
    "azure": (
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy. Please modify your prompt and retry.",
                "param": "prompt",
                "code": "content_filter",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
    ),
    "anthropic": (
        400,
        {"error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}},
    ),
    "openai": (
        400,
        {
            "error": {
                "message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
                "code": "invalid_prompt",
            }
        },
    ),
}


@pytest.mark.parametrize("server_of", FILTERED)
def test_what_a_content_filter_refuses_is_told_apart_and_the_others_are_answered(server_of):
    """As these servers answered in reports of their users."""
    status, body = FILTERED[server_of]
    with serve(_first_fails(Reply(body, status=status))) as server:
        answers = _endpoint(server).ask(PAYLOADS)
        assert len(server.asked) == 20
    assert isinstance(answers[3], FilteredError)
    assert [answer.value for i, answer in enumerate(answers) if i != 3] == [2 * i for i in range(20) if i != 3]


def test_too_large_a_batch_is_no_input_that_is_too_long():
    body = {"error": "batch size 40 > maximum allowed batch size 32", "error_type": "Validation"}
    with (
        serve(lambda _: Reply(body, status=413)) as server,
        pytest.raises(EndpointError, match="batch size 40") as raised,
    ):
        _endpoint(server).ask(PAYLOADS[:1])
    assert not isinstance(raised.value, InputTooLongError)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<html>", "Invalid JSON"),
        ({"value": "x"}, "value: Input should be a valid integer"),
        ([], "should be an object"),
    ],
)
def test_an_answer_of_another_form_is_refused_at_once(body, problem):
    with serve(lambda _: Reply(body)) as server:
        with pytest.raises(EndpointError, match=f"the answer cannot be read: .*{problem}"):
            _endpoint(server).ask(PAYLOADS[:1])
        assert len(server.asked) == 1


def test_a_route_is_got_or_is_not_there():
    def answer(asked):
        assert asked.method == "GET"
        assert asked.payload is None
        return Reply({"value": 5}) if asked.path == "/v1/five" else Reply("Not Found", status=404)

    with serve(answer) as server:
        assert _endpoint(server, path="five").get() == Doubled(value=5)
        assert _endpoint(server, path="six").get() is None


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),  # without a header, as some servers send it
        ("x-gzip", lambda body: gzip.compress(body[:3]) + gzip.compress(body[3:])),
    ],
    ids=["gzip", "deflate", "bare deflate", "two parts"],
)
def test_a_compressed_answer_is_read_and_so_is_a_refusal(encoding, compress):
    def answer(asked):
        found = {"value": 7} if asked.payload["number"] else {"error": "no such number"}
        headers = {"content-encoding": encoding}
        return Reply(compress(json.dumps(found).encode()), 200 if "value" in found else 400, headers)

    with serve(answer) as server:
        assert _endpoint(server).ask([{"number": 1}]) == [Doubled(value=7)]
        with pytest.raises(EndpointError, match="answered 400: no such number"):
            _endpoint(server).ask([{"number": 0}])
    assert server.asked[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    ("body", "encoding", "problem"),
    [
        (b"1" * 1001, "identity", "has more than 1000 bytes"),
        (gzip.compress(b"1" * 1001), "gzip", "has more than 1000 bytes once it is decompressed"),
        (gzip.compress(b"1" * 501) * 2, "gzip", "has more than 1000 bytes once it is decompressed"),
        (zlib.compress(b"1" * 10**5), "deflate", "has more than 1000 bytes once it is decompressed"),
    ],
    ids=["plain", "gzip", "gzip of two parts", "deflate"],
)
def test_an_answer_beyond_the_limit_is_refused(monkeypatch, body, encoding, problem, status):
    """A gzip of 1.5 GB is 1.5 MB on its way."""
    monkeypatch.setattr(http_answers, "_LONGEST", 1000)
    with serve(lambda _: Reply(body, status, {"content-encoding": encoding})) as server:
        with pytest.raises(EndpointError, match=f"/v1/double: the answer {problem}"):
            _endpoint(server).ask(PAYLOADS[:1])
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize(
    ("body", "encoding", "problem"),
    [
        (gzip.compress(b'{"value": 7}')[:-9], "gzip", "ends in the middle of its compression"),
        (b"<html>", "gzip", r"is not compressed as it says \(gzip\): .*incorrect header"),
        (b'{"value": 7}', "br", "is compressed as 'br', but only gzip, deflate was asked for"),
        (gzip.compress(gzip.compress(b'{"value": 7}')), "gzip, gzip", "is compressed as 'gzip, gzip'"),
    ],
    ids=["cut", "no gzip", "another", "twice"],
)
def test_an_answer_with_broken_compression_is_asked_for_again(body, encoding, problem, status):
    broken = Reply(body, status, {"content-encoding": encoding})
    with serve(lambda asked: broken if asked.tries == 1 else Reply({"value": 7})) as server:
        assert _endpoint(server, retries=1).ask(PAYLOADS[:1]) == [Doubled(value=7)]
    with serve(lambda _: broken) as server, pytest.raises(EndpointError, match=f"/v1/double: .*the answer {problem}"):
        _endpoint(server, retries=0).ask(PAYLOADS[:1])


def test_an_answer_that_comes_byte_by_byte_has_no_more_time_than_another():
    with serve(lambda _: Reply(" " * 200, byte_s=0.05)) as server:
        start = time.monotonic()
        with pytest.raises(EndpointError, match=r"no answer within 0\.2 s"):
            _endpoint(server, timeout_s=0.2, retries=0).ask(PAYLOADS[:1])
        assert time.monotonic() - start < 2


def test_the_key_is_sent_and_never_told(monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", f"{SECRET}\n")
    caplog.set_level(logging.DEBUG)

    def echoing(asked):
        status = 500 if asked.tries == 1 else 401
        return Reply({"error": {"message": f"wrong key: {asked.headers['authorization']}"}}, status=status)

    with serve(echoing) as server, pytest.raises(EndpointError) as raised:
        _endpoint(server, api_key_env="MY_KEY").ask(PAYLOADS[:1])
    assert server.asked[0].headers["authorization"] == f"Bearer {SECRET}"
    assert "wrong key: Bearer ***" in str(raised.value)
    assert "Check the key in MY_KEY" in str(raised.value)
    assert "retrying" in caplog.text
    assert SECRET not in str(raised.value) + repr(raised.value) + caplog.text


@pytest.mark.parametrize(
    ("value", "problem"), [(None, "is not set"), ("", "is not set"), ("sk\nx", "does not hold a valid key")]
)
def test_a_missing_key_is_told_before_anything_is_asked(monkeypatch, value, problem):
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with serve(_double) as server:
        with pytest.raises(ConfigError, match=f"the environment variable MY_KEY, named by api_key_env, {problem}"):
            _endpoint(server, api_key_env="MY_KEY")
        assert server.asked == []


def test_without_a_key_none_is_sent():
    with serve(_double) as server:
        _endpoint(server).ask(PAYLOADS[:1])
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hush-hush@host/v1",
        "http://host/v1?key=hush-hush",
        "ftp://host",
        "host:80",
        "http://",
        "http://host:x/",
    ],
)
def test_an_address_with_a_secret_or_without_a_host_is_refused_unread(url):
    with pytest.raises(ConfigError, match=r"base_url.* without user, password or query") as raised:
        check(EndpointConfig, {"base_url": url})
    assert "hush" not in str(raised.value)


def test_a_slash_at_the_end_of_an_address_does_not_matter():
    assert EndpointConfig(base_url="http://host:80/v1/").base_url == "http://host:80/v1"


def test_many_requests_that_fail_make_one_line_in_the_log(caplog):
    with serve(lambda asked: Reply({"error": "busy"}, status=429) if asked.tries == 1 else _double(asked)) as server:
        _endpoint(server).ask(PAYLOADS)
    assert len(server.asked) == 40
    assert [record.message.count("busy; retrying") for record in caplog.records] == [1]
