"""An answer over HTTP: its body, within a limit, and what it says where it is a refusal."""

import json
import re
import zlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

ENCODINGS = "gzip, deflate"
"""The compressions that `read_body` knows, to ask for no other."""

_LONGEST = 2**25
"""Bytes of an answer, decompressed or not: an answer with the most probable tokens of a long text has a few million."""
_LONGEST_WAIT_S = 600.0
_TOO_LONG = re.compile(
    r"maximum context length|maximum model length|context_length_exceeded|model's context length|context size"
    r"|must have less than \d+ tokens|tokens \+ `max_new_tokens` must be",
    re.IGNORECASE,
)
"""How vLLM, OpenAI, SGLang, llama.cpp, TEI and TGI say that an input is too long."""


_FILTERED = re.compile(
    r"content_filter|content management policy|content filtering policy|content_policy_violation|our usage polic"
    r"|data_inspection_failed|requires moderation",
    re.IGNORECASE,
)
"""How Azure, Anthropic, OpenAI, DashScope and OpenRouter say that a filter refused a text."""
_THREE_DIGITS = re.compile(r"\d{3}", re.ASCII)


class UnusableBodyError(Exception):
    """A body is not compressed as it says; the text says what is wrong."""


class TooLongBodyError(UnusableBodyError):
    """A body is longer than any answer."""


async def read_body(response: httpx2.Response) -> bytes:
    """What an answer holds, without its compression.

    Raises:
        TooLongBodyError: it is longer than any answer.
        UnusableBodyError: it cannot be decompressed.
    """
    received = bytearray()
    async for piece in response.aiter_raw():
        received += piece
        if len(received) > _LONGEST:
            raise TooLongBodyError(f"has more than {_LONGEST} bytes")
    encoding = response.headers.get("content-encoding", "").strip().lower()
    return bytes(received) if encoding in ("", "identity") else _decompressed(bytes(received), encoding)


def _decompressed(body: bytes, encoding: str) -> bytes:
    """Never more than the limit is held: a few kilobytes may stand for gigabytes."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnusableBodyError(f"is compressed as '{encoding}', but only {ENCODINGS} was asked for")
    bare = encoding == "deflate" and (body[0] & 15 != zlib.DEFLATED or int.from_bytes(body[:2]) % 31) if body else False
    found = b""
    while body:  # gzip may have several parts, one behind the other
        stream = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)  # 32: the header of gzip or zlib
        try:
            found += stream.decompress(body, _LONGEST + 1 - len(found))
        except zlib.error as error:
            raise UnusableBodyError(f"is not compressed as it says ({encoding}): {error}") from None
        if len(found) > _LONGEST:
            raise TooLongBodyError(f"has more than {_LONGEST} bytes once it is decompressed")
        if not stream.eof:
            raise UnusableBodyError("ends in the middle of its compression")
        body = stream.unused_data.lstrip(b"\0")
    return found


def message_of(response: httpx2.Response) -> str:
    """What a server says of a refusal: in OpenAI's form, TEI's and TGI's, FastAPI's, or as plain text."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return response.text
    return _said(body.get("error", body) if isinstance(body, dict) else body)


def failure_in(body: bytes) -> tuple[int | None, str] | None:
    """What the body of a success says of a failure: its status, if it gives one, and its message; None: it says none.

    Servers that pass on what others answer, such as OpenRouter, do so where the other one fails after the answer has
    begun: an `error` and no choices, or a first choice with an `error` or the finish reason "error".
    """
    if b'"error"' not in body:
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    error, choices = found.get("error"), found.get("choices")
    if choices:
        first = choices[0] if isinstance(choices, list) and isinstance(choices[0], dict) else {}
        error = first.get("error") or ("the finish reason is error" if first.get("finish_reason") == "error" else None)
    if not error:
        return None
    return _status(error.get("code")) if isinstance(error, dict) else None, _said(error)


def _status(code: Any) -> int | None:
    """The status that a code is, as a number or as its digits; None: it is another code."""
    found = int(code) if isinstance(code, str) and _THREE_DIGITS.fullmatch(code) else code
    return found if isinstance(found, int) and 400 <= found < 600 else None


def _said(error: Any) -> str:
    if isinstance(error, dict):
        parts = [str(error[name]) for name in ("message", "detail") if error.get(name) is not None]
        code = [error["code"]] if isinstance(error.get("code"), str) else []
        return "; ".join([*parts, *code]) or str(error)
    return str(error)


def says_too_long(status: int, message: str) -> bool:
    """Whether a refusal is because of the input's length."""
    if status == httpx2.codes.REQUEST_ENTITY_TOO_LARGE:
        return "batch size" not in message  # TEI says so of too many inputs as well
    return status in (400, 422) and _TOO_LONG.search(message) is not None


def says_filtered(status: int, message: str) -> bool:
    """Whether a refusal is that of a content filter."""
    return status in (400, 403, 422) and _FILTERED.search(message) is not None


def retry_after_s(response: httpx2.Response) -> float | None:
    """What Retry-After says, as seconds from now, or None."""
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = (
            float(value) if value.isdigit() else (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError, OverflowError):  # none, or no time of day with a zone
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)
