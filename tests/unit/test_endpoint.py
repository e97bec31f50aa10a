import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from doubled_numbers import PAYLOADS, double, endpoint_of, first_fails, numbers
from server_double import Reply, serve

from larpo_lib.config import EndpointConfig
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, EndpointError, FilteredError, InputTooLongError

SECRET = "sk-very-secret"


def test_answers_come_back_in_the_order_asked():
    with serve(double) as server:
        answers = endpoint_of(server).ask(PAYLOADS)
    assert [answer.value for answer in answers] == [2 * number for number in range(20)]
    assert sorted(numbers(server)) == list(range(20))


def test_no_more_requests_are_open_than_allowed():
    def slow(asked):
        return Reply({"value": 1}, after_s=0.03)

    with serve(slow) as server:
        endpoint_of(server, concurrency=3).ask(PAYLOADS)
    assert server.most_in_flight == 3


def test_nothing_asked_is_nothing_answered():
    with serve(double) as server:
        assert endpoint_of(server).ask([]) == []
    assert server.asked == []


def test_arrivals_come_as_they_arrive_in_the_callers_thread():
    with serve(double) as server:
        places = [place for place, _ in endpoint_of(server).arrivals(PAYLOADS)]
    assert sorted(places) == list(range(20))
    assert places[0] not in (0, 1)  # these are slow


def test_a_caller_that_takes_nothing_is_not_bought_more_than_may_be_in_flight_twice():
    with serve(double) as server:
        arrivals = endpoint_of(server, concurrency=3).arrivals(PAYLOADS)
        next(arrivals)
        time.sleep(0.5)
        assert len(server.asked) <= 1 + 2 * 3 < len(PAYLOADS)
        assert len(list(arrivals)) == len(PAYLOADS) - 1
        assert len(server.asked) == len(PAYLOADS)


def test_it_can_be_asked_inside_a_running_event_loop():
    async def notebook():
        return endpoint_of(server).ask(PAYLOADS[:3])

    with serve(double) as server:
        assert [answer.value for answer in asyncio.run(notebook())] == [0, 2, 4]


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": {"message": "timed out"}}, status=408),
        Reply({"error": {"message": "conflict"}}, status=409),
        Reply({"error": "overloaded"}, status=429),
        Reply({"error": "oops"}, status=500),
        Reply("bad gateway", status=502),
        Reply({"value": 6, "filling": "x" * 100}, cut_off=True),
        Reply({"value": 6}, after_s=0.6),  # longer than the timeout
        Reply({"error": {"code": 502, "message": "Provider returned error"}}),
        Reply({"error": "Provider returned error", "choices": []}),
        Reply({"value": 6, "choices": [{"finish_reason": "error", "message": {"content": ""}}]}),
        Reply({"value": 6, "choices": [{"error": {"code": 502, "message": "Upstream error"}, "message": {}}]}),
    ],
    ids=["408", "409", "429", "500", "502", "hang-up", "slow", "error", "no choice", "failed choice", "choice's error"],
)
def test_what_may_pass_is_tried_again(reply):
    slept = []
    with serve(first_fails(reply, times=2)) as server:
        answers = endpoint_of(server, slept, timeout_s=0.3).ask(PAYLOADS)
    assert [answer.value for answer in answers] == [2 * number for number in range(20)]
    assert numbers(server).count(3) == 3
    assert len(numbers(server)) == 22
    assert len(slept) == 2
    assert 0.5 <= slept[0] <= 1.0  # half fixed, half random
    assert 1.0 <= slept[1] <= 2.0


def test_tries_are_bounded_and_counted():
    slept = []
    with serve(lambda _: Reply({"error": {"message": "out of\nmemory"}}, status=503)) as server:
        with pytest.raises(EndpointError) as raised:
            endpoint_of(server, slept, retries=2).ask(PAYLOADS[:1])
        assert len(server.asked) == 3
    assert str(raised.value) == (
        f"{server.url}/v1/double: answered 503: out of (3 tries). Check the server's log;"
        " reduce concurrency, or increase retries."
    )
    assert raised.value.status == 503
    assert len(slept) == 2


def test_a_server_that_is_not_there_is_named():
    with serve(double) as server:
        pass
    with pytest.raises(
        EndpointError, match=r"/v1/double: .*\(2 tries\)\. Start the server, or fix base_url\."
    ) as raised:
        endpoint_of(server, retries=1).ask(PAYLOADS)
    assert raised.value.status is None


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"error": {"code": 401, "message": "no such key"}}, r"answered with an error: no such key\. Set api_key_env"),
        ({"error": {"code": 402, "message": "no credits"}}, r"answered with an error: no credits\. Check the settings"),
    ],
)
def test_an_error_in_the_body_of_a_success_is_what_its_code_says(body, problem):
    with serve(lambda _: Reply(body)) as server:
        with pytest.raises(EndpointError, match=problem):
            endpoint_of(server).ask(PAYLOADS[:1])
        assert len(server.asked) == 1


LONG, FILTERED = "maximum context length is 9 tokens", "flagged: content_filter"


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": 400, "message": LONG}, InputTooLongError, 400),
        ({"code": "400", "message": LONG}, InputTooLongError, 400),
        ({"code": "context_length_exceeded", "message": "Too many tokens."}, InputTooLongError, None),
        ({"message": LONG}, InputTooLongError, None),
        (LONG, InputTooLongError, None),
        ({"code": 403, "message": FILTERED}, FilteredError, 403),
        ({"code": "403", "message": FILTERED}, FilteredError, 403),
        ({"code": "content_filter", "message": "no"}, FilteredError, None),
        ({"message": FILTERED}, FilteredError, None),
    ],
)
def test_what_the_body_of_a_success_says_of_the_input_is_asked_once_with_or_without_a_code(error, kind, status):
    with serve(lambda _: Reply({"error": error})) as server:
        (answer,) = endpoint_of(server).ask(PAYLOADS[:1])
        assert len(server.asked) == 1
    assert (type(answer), answer.status) == (kind, status)


@pytest.mark.parametrize(("code", "asked"), [("401", 1), ("502", 2), ("4000", 2), ("٤٠١", 2), (True, 2)])
def test_digits_in_a_text_are_a_code_if_they_are_one_of_a_refusal(code, asked):
    with serve(lambda _: Reply({"error": {"code": code, "message": "no"}})) as server:
        with pytest.raises(EndpointError, match="answered with an error: no"):
            endpoint_of(server, retries=1).ask(PAYLOADS[:1])
        assert len(server.asked) == asked


@pytest.mark.parametrize(
    "body", [{"value": 6, "error": None}, {"value": 6, "choices": [{"finish_reason": "stop", "error": None}]}]
)
def test_no_error_is_none(body):
    with serve(lambda _: Reply(body)) as server:
        assert [answer.value for answer in endpoint_of(server).ask(PAYLOADS[:1])] == [6]


@pytest.mark.parametrize("retry_after", ["7", "in an hour", "an hour ago", "0", "soon"])
def test_the_server_says_how_long_to_wait(retry_after):
    """At least; a server that says 0, or whose clock is behind, is not asked again at once."""
    slept = []
    hours = {"in an hour": 1, "an hour ago": -1}
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=hours.get(retry_after, 0)))
    stated = in_an_hour if retry_after in hours else retry_after
    reply = Reply({"error": "busy"}, status=429, headers={"retry-after": stated})
    with serve(first_fails(reply)) as server:
        endpoint_of(server, slept).ask(PAYLOADS)
    (seconds,) = slept
    expected = {"7": 7.0, "in an hour": 600.0}  # an hour is too long
    assert seconds == expected.get(retry_after, pytest.approx(0.75, abs=0.25))


@pytest.mark.parametrize(
    ("status", "remedy"), [(400, "settings"), (401, "api_key_env"), (404, "base_url"), (501, "route")]
)
def test_what_will_not_pass_is_asked_once(status, remedy):
    with serve(lambda _: Reply({"detail": "never"}, status=status)) as server:
        with pytest.raises(EndpointError, match=rf"answered {status}: never\. .*{remedy}"):
            endpoint_of(server).ask(PAYLOADS[:1])
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
            arrived.extend(place for place, _ in endpoint_of(server).arrivals(PAYLOADS))
        assert time.monotonic() - start < 2.0
        assert set(numbers(server)) <= {0, 1, 2, 3, 4}
    assert arrived in ([], [0])  # what was there before the error is not lost


def test_a_caller_that_stops_cancels_the_rest():
    with serve(lambda asked: Reply({"value": 0}, after_s=0.0 if asked.payload["number"] == 0 else 3.0)) as server:
        start = time.monotonic()
        arrivals = endpoint_of(server).arrivals(PAYLOADS)
        assert next(arrivals)[0] == 0
        arrivals.close()
        assert time.monotonic() - start < 2.0


def test_the_key_is_sent_and_never_told(monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", f"{SECRET}\n")
    caplog.set_level(logging.DEBUG)

    def echoing(asked):
        status = 500 if asked.tries == 1 else 401
        return Reply({"error": {"message": f"wrong key: {asked.headers['authorization']}"}}, status=status)

    with serve(echoing) as server, pytest.raises(EndpointError) as raised:
        endpoint_of(server, api_key_env="MY_KEY").ask(PAYLOADS[:1])
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
    with serve(double) as server:
        with pytest.raises(ConfigError, match=f"the environment variable MY_KEY, named by api_key_env, {problem}"):
            endpoint_of(server, api_key_env="MY_KEY")
        assert server.asked == []


def test_without_a_key_none_is_sent():
    with serve(double) as server:
        endpoint_of(server).ask(PAYLOADS[:1])
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
    with serve(lambda asked: Reply({"error": "busy"}, status=429) if asked.tries == 1 else double(asked)) as server:
        endpoint_of(server).ask(PAYLOADS)
    assert len(server.asked) == 40
    assert [record.message.count("busy; retrying") for record in caplog.records] == [1]
