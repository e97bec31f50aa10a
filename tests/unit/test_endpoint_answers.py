"""What a server answers: refusals that are of one input, bodies, compressions and their limits."""

import gzip
import json
import time
import zlib

import pytest
from doubled_numbers import PAYLOADS, Doubled, endpoint_of, first_fails
from server_double import Reply, serve

from larpo_lib import http_answers
from larpo_lib.errors import EndpointError, FilteredError, InputTooLongError

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
    with serve(first_fails(Reply(body, status=status))) as server:
        answers = endpoint_of(server).ask(PAYLOADS)
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
    with serve(first_fails(Reply(body, status=status))) as server:
        answers = endpoint_of(server).ask(PAYLOADS)
        assert len(server.asked) == 20
    assert isinstance(answers[3], FilteredError)
    assert [answer.value for i, answer in enumerate(answers) if i != 3] == [2 * i for i in range(20) if i != 3]


def test_too_large_a_batch_is_no_input_that_is_too_long():
    body = {"error": "batch size 40 > maximum allowed batch size 32", "error_type": "Validation"}
    with (
        serve(lambda _: Reply(body, status=413)) as server,
        pytest.raises(EndpointError, match="batch size 40") as raised,
    ):
        endpoint_of(server).ask(PAYLOADS[:1])
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
            endpoint_of(server).ask(PAYLOADS[:1])
        assert len(server.asked) == 1


def test_a_route_is_got_or_is_not_there():
    def answer(asked):
        assert asked.method == "GET"
        assert asked.payload is None
        return Reply({"value": 5}) if asked.path == "/v1/five" else Reply("Not Found", status=404)

    with serve(answer) as server:
        assert endpoint_of(server, path="five").get() == Doubled(value=5)
        assert endpoint_of(server, path="six").get() is None


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
        assert endpoint_of(server).ask([{"number": 1}]) == [Doubled(value=7)]
        with pytest.raises(EndpointError, match="answered 400: no such number"):
            endpoint_of(server).ask([{"number": 0}])
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
            endpoint_of(server).ask(PAYLOADS[:1])
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
        assert endpoint_of(server, retries=1).ask(PAYLOADS[:1]) == [Doubled(value=7)]
    with serve(lambda _: broken) as server, pytest.raises(EndpointError, match=f"/v1/double: .*the answer {problem}"):
        endpoint_of(server, retries=0).ask(PAYLOADS[:1])


def test_an_answer_that_comes_byte_by_byte_has_no_more_time_than_another():
    with serve(lambda _: Reply(" " * 200, byte_s=0.05)) as server:
        start = time.monotonic()
        with pytest.raises(EndpointError, match=r"no answer within 0\.2 s"):
            endpoint_of(server, timeout_s=0.2, retries=0).ask(PAYLOADS[:1])
        assert time.monotonic() - start < 2
