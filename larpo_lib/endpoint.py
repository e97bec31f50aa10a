"""Asks a server over HTTP, many requests at a time.

Requests run in an event loop on a thread of its own, so that a caller may be plain code or stand inside another loop,
as a notebook does. The thread and its connections live as long as one call: there is nothing to close.
"""

import logging
import os
import queue
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from ssl import SSLContext
from typing import Any, Generic, TypeVar

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal
from pydantic import TypeAdapter, ValidationError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random_exponential,
)

from larpo_lib.config import EndpointConfig
from larpo_lib.errors import ConfigError, EndpointError, FilteredError, InputRefusedError, InputTooLongError
from larpo_lib.heartbeat import mark
from larpo_lib.http_answers import (
    ENCODINGS,
    TooLongBodyError,
    UnusableBodyError,
    failure_in,
    message_of,
    read_body,
    retry_after_s,
    says_filtered,
    says_too_long,
)

AnswerT = TypeVar("AnswerT")
Payload = dict[str, Any] | None
_Arrived = queue.SimpleQueue[tuple[int, AnswerT | InputRefusedError] | None]

_CONNECT_S = 10.0
_TELL_EVERY_S = 10.0
_LOOK_AGAIN_S = 0.01
_NO_SUCH_ROUTE = {404, 405, 501}
_MAY_PASS = {408, 409, 429, *range(500, 600)} - _NO_SUCH_ROUTE
_BACKOFF = wait_exponential(multiplier=0.5, max=30) + wait_random_exponential(multiplier=0.5, max=30)


class _TransientError(EndpointError):
    """A failure that another try may not meet; `wait_s` is how long the server asks to wait at least."""

    wait_s: float | None = None


class Endpoint(Generic[AnswerT]):
    """One route of a server.

    Args:
        config: where the server is and how it may be asked.
        path: of the route, behind `base_url`.
        answer: type that an answer's JSON must have.
        retries: instead of the settings' own.
        sleep: waits so many seconds before another try.

    Raises:
        ConfigError: the environment lacks the key that `config` names.
    """

    def __init__(
        self,
        config: EndpointConfig,
        path: str,
        answer: type[AnswerT],
        *,
        retries: int | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.url = f"{config.base_url}/{path}"
        self.config = config
        self._key = _key(config)
        self._answer = TypeAdapter(answer)
        self._tries = 1 + (config.retries if retries is None else retries)
        self._sleep = sleep
        self._told = float("-inf")

    def ask(self, payloads: Sequence[dict[str, Any]]) -> list[AnswerT | InputRefusedError]:
        """Post each payload; answers come back in the order of the payloads.

        Returns:
            For each payload its answer, or the error (not raised) that says that the input is too long for the model,
            or that a content filter refuses it.

        Raises:
            EndpointError: a request failed for good. The others in flight are cancelled.
        """
        arrived = dict(self.arrivals(payloads))
        return [arrived[number] for number in range(len(payloads))]

    def arrivals(self, payloads: Sequence[dict[str, Any]]) -> Iterator[tuple[int, AnswerT | InputRefusedError]]:
        """As `ask`, but yields each payload's place with its answer as soon as it is there, in the caller's thread.

        What arrived before a request failed for good is yielded before the error is raised. A caller that stops
        iterating (and closes the iterator) cancels the rest. While a slow caller has not taken as many answers as may
        be in flight, nothing more is asked, so that a crash of it loses few.
        """
        yield from self._exchange("POST", payloads)

    def get(self) -> AnswerT | None:
        """What the route holds; None if the server has no such route.

        Raises:
            EndpointError: as `ask`.
        """
        try:
            (answer,) = dict(self._exchange("GET", [None])).values()
        except EndpointError as error:
            if error.status in _NO_SUCH_ROUTE:
                return None
            raise
        if isinstance(answer, InputRefusedError):
            raise answer
        return answer

    def refuse(self, problem: str, remedy: str) -> EndpointError:
        """The error to raise for an answer that has the right type and still cannot be used."""
        return EndpointError(f"{self.url}: {problem}", remedy=remedy)

    def _exchange(self, method: str, payloads: Sequence[Payload]) -> Iterator[tuple[int, AnswerT | InputRefusedError]]:
        arrived: _Arrived[AnswerT] = queue.SimpleQueue()
        with start_blocking_portal() as portal:  # left by an exception, it cancels what is still running
            done = portal.start_task_soon(self._request_all, method, payloads, arrived)
            done.add_done_callback(lambda _: arrived.put(None))
            while (arrival := arrived.get()) is not None:
                mark()
                yield arrival
            done.result()

    async def _request_all(self, method: str, payloads: Sequence[Payload], arrived: _Arrived[AnswerT]) -> None:
        left = iter(enumerate(payloads))
        workers = min(self.config.concurrency, len(payloads))
        async with httpx2.AsyncClient(
            headers={"Accept-Encoding": ENCODINGS} | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            verify=_trusted(),
            timeout=httpx2.Timeout(None, connect=min(_CONNECT_S, self.config.timeout_s)),
            limits=httpx2.Limits(max_connections=workers, max_keepalive_connections=workers),
        ) as client:

            async def work() -> None:
                for number, payload in left:
                    while arrived.qsize() >= workers:
                        await anyio.sleep(_LOOK_AGAIN_S)
                    arrived.put((number, await self._request(client, method, payload)))

            try:
                async with anyio.create_task_group() as group:
                    for _ in range(workers):
                        group.start_soon(work)
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _request(self, client: httpx2.AsyncClient, method: str, payload: Payload) -> AnswerT | InputRefusedError:
        retrying = AsyncRetrying(
            sleep=self._sleep,
            stop=stop_after_attempt(self._tries),
            wait=_wait_s,
            retry=retry_if_exception_type(_TransientError),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            return await retrying(self._request_once, client, method, payload)
        except _TransientError as failure:
            times = f" ({self._tries} tries)" if self._tries > 1 else ""
            raise EndpointError(failure.problem + times, remedy=failure.remedy, status=failure.status) from None

    async def _request_once(
        self, client: httpx2.AsyncClient, method: str, payload: Payload
    ) -> AnswerT | InputRefusedError:
        try:
            with anyio.fail_after(self.config.timeout_s):
                response = await self._answered(client, method, payload)
        except (TimeoutError, httpx2.ReadTimeout):
            problem = f"{self.url}: no answer within {self.config.timeout_s:g} s"
            raise _TransientError(problem, remedy="Increase timeout_s, or reduce concurrency") from None
        except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
            raise EndpointError(self._transport_problem(error), remedy="Check base_url and the key") from None
        except httpx2.RequestError as error:
            remedy = "Start the server, or fix base_url"
            raise _TransientError(self._transport_problem(error), remedy=remedy) from None
        except TooLongBodyError as error:
            raise self.refuse(f"the answer {error}", "Check base_url, and what the server is") from None
        except UnusableBodyError as error:  # as after a cut connection
            problem = f"{self.url}: the answer {error}"
            raise _TransientError(problem, remedy="Check base_url, and what the server is") from None
        if not response.is_success:
            status, message = response.status_code, message_of(response)
            return self._refusal(f"answered {status}: {self._short(message)}", status, message, retry_after_s(response))
        if failure := failure_in(response.content):
            return self._refusal(f"answered with an error: {self._short(failure[1])}", *failure)
        try:
            return self._answer.validate_json(response.content)
        except ValidationError as error:
            raise self._unreadable(response, error) from None

    async def _answered(self, client: httpx2.AsyncClient, method: str, payload: Payload) -> httpx2.Response:
        async with client.stream(method, self.url, json=payload) as response:
            headers = [pair for pair in response.headers.multi_items() if pair[0] != "content-encoding"]
            try:
                content = await read_body(response)
            except UnusableBodyError as error:
                if response.is_success or isinstance(error, TooLongBodyError):
                    raise
                content = f"the answer {error}".encode()  # the status says what is to be done
            return httpx2.Response(response.status_code, headers=headers, content=content)

    def _transport_problem(self, error: httpx2.RequestError) -> str:
        return f"{self.url}: {self._short(str(error)) or type(error).__name__}"

    def _refusal(self, what: str, status: int | None, message: str, wait_s: float | None = None) -> InputRefusedError:
        """The error of an input that is too long or filtered; every other refusal is raised."""
        problem = f"{self.url}: {what}"
        told = httpx2.codes.BAD_REQUEST if status is None else status  # what the message says may still be of the input
        if says_too_long(told, message):
            return InputTooLongError(problem, remedy="Serve the model with a longer context length", status=status)
        if says_filtered(told, message):
            return FilteredError(problem, remedy="Use a server without a content filter", status=status)
        if status is None or status in _MAY_PASS:
            remedy = "Check the server's log; reduce concurrency, or increase retries"
            transient = _TransientError(problem, remedy=remedy, status=status)
            transient.wait_s = wait_s
            raise transient
        raise EndpointError(problem, remedy=self._remedy(status), status=status)

    def _remedy(self, status: int) -> str:
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            name = self.config.api_key_env
            return f"Check the key in {name}" if name else "Set api_key_env to the key's environment variable"
        if status in _NO_SUCH_ROUTE or status < 400:
            return "Check base_url, and that this server has this route"
        return "Check the settings of this server's section"

    def _unreadable(self, response: httpx2.Response, error: ValidationError) -> EndpointError:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = f"{self.url}: the answer cannot be read: {place + ': ' if place else ''}{self._short(first['msg'])}"
        cut_off = first["type"] == "json_invalid" and "json" in response.headers.get("content-type", "")
        kind = _TransientError if cut_off else EndpointError
        return kind(problem, remedy="Check base_url, and that the server is of the kind set in the configuration")

    def _short(self, text: str) -> str:
        """First line of a server's message, without the key, should it have been echoed."""
        line = next(iter(text.strip().splitlines()), "")
        return (line.replace(self._key, "***") if self._key else line)[:200]

    async def _tell(self, state: RetryCallState) -> None:
        """Say in the log that something is tried again, but not for each of a hundred requests."""
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S and state.outcome is not None:
            self._told = now
            error = state.outcome.exception()
            assert isinstance(error, _TransientError)
            logging.getLogger(__name__).warning("%s; retrying", error.problem)


@cache
def _trusted() -> SSLContext:
    """Whose certificates are accepted: reading them takes longer than a request to a server nearby."""
    return httpx2.create_ssl_context()


def _key(config: EndpointConfig) -> str | None:
    name = config.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {name}, named by api_key_env, is not set", remedy="Set it")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"the environment variable {name}, named by api_key_env, does not hold a valid key", remedy="Fix its value"
        )
    return key


def _wait_s(state: RetryCallState) -> float:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, _TransientError)
    return max(_BACKOFF(state), error.wait_s or 0.0)  # a server may say 0, or a time that has passed by this clock
