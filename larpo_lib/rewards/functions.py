"""A user's own function that scores or judges responses: what it is given, and what it may give back."""

from __future__ import annotations

import asyncio
import inspect
import json
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, Field, JsonValue, PositiveFloat, PositiveInt

from larpo_lib.config.base import Section
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.targets import Loaded, line_of, load_target, parse_target, source_file

GIVEN = ("prompts", "responses", "completions", "references")
"""The keywords that every function can take."""

ValueT = TypeVar("ValueT")


def _checked(target: str) -> str:
    parse_target(target)
    return target


class FunctionSettings(Section):
    """Which function, and how it is called."""

    execution: ClassVar[frozenset[str]] = frozenset({"timeout_s", "batch_responses"})

    target: Annotated[str, AfterValidator(_checked)]
    """The function: `my_rewards.py:brevity`, a file from the folder that larpo is started in or an absolute path, or
    `package.module:brevity`, a module that is installed. The file's content is part of the fingerprint."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keywords that the function is called with."""
    timeout_s: PositiveFloat = 600.0
    """Seconds that one call may take."""
    batch_responses: PositiveInt = 64
    """Responses that one call is given at most. A list-relative function is given a prompt's whole list."""

    def identity(self) -> dict[str, Any]:
        """The place of a file is no part of it: its content is."""
        place, name = parse_target(self.target)
        return {**super().identity(), "target": f"{Path(place).name}:{name}"}

    def source(self) -> Path:
        """The file of the function.

        Raises:
            ConfigError: there is none.
        """
        return source_file(parse_target(self.target)[0])

    def load(self) -> RewardFunction:
        """The function, ready to be called.

        Raises:
            ConfigError: it cannot be loaded, or cannot be called with its settings.
        """
        return RewardFunction(self, load_target(*parse_target(self.target)))


class RewardFunction:
    """Calls a user's function batch by batch, and checks what it gives.

    Attributes:
        name: the function with all that decides what it gives: settings, and the beginning of the source's digest.
        list_relative: it is called with a prompt's whole list.
        columns: further ones of the prompts' rows that it cannot do without.
    """

    def __init__(self, config: FunctionSettings, loaded: Loaded) -> None:
        self._config, self._loaded = config, loaded
        settings = json.dumps(config.settings, sort_keys=True, ensure_ascii=False) if config.settings else ""
        self.name = " ".join(part for part in (loaded.shown, settings, loaded.digest[:8]) if part)
        self.list_relative = bool(getattr(loaded.function, "list_relative", False))
        parameters = inspect.signature(loaded.function).parameters.values()
        self._takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
        self._takes = {each.name: each for each in parameters if each.kind in (each.KEYWORD_ONLY, _EITHER)}
        self.columns = frozenset(
            name
            for name, each in self._takes.items()
            if each.default is each.empty and name not in config.settings and name not in GIVEN
        )
        self._check(parameters)

    def values(self, items: Sequence[Scorable], read: Callable[[Any], ValueT]) -> list[ValueT]:
        """What the function gives for each item, in their order.

        Args:
            items: responses with what they answer; those of a prompt are a list.
            read: checks a value; raises ValueError with what is wrong with it.

        Raises:
            LarpoError: the function raises, takes too long, or gives something else than one value a response.
        """
        found: dict[int, ValueT] = {}
        for batch in self._batches(items):
            found.update(zip(batch, self._read([items[i] for i in batch], read), strict=True))
        return [found[i] for i in range(len(items))]

    def _batches(self, items: Sequence[Scorable]) -> list[list[int]]:
        if not self.list_relative:
            size = self._config.batch_responses
            places = list(range(len(items)))
            return [places[start : start + size] for start in range(0, len(items), size)]
        lists: dict[str, list[int]] = {}
        for i, item in enumerate(items):
            lists.setdefault(item.prompt_id, []).append(i)
        return list(lists.values())

    def _read(self, items: Sequence[Scorable], read: Callable[[Any], ValueT]) -> list[ValueT]:
        given = self._called(items)
        given = given.tolist() if hasattr(given, "tolist") else given  # of numpy, torch and pandas
        if not isinstance(given, list | tuple):
            raise self._wrong(items, f"gave {type(given).__name__}, not a list with one value a response")
        if len(given) != len(items):
            raise self._wrong(items, f"gave {len(given)} values for {len(items)} responses")
        values = []
        for item, value in zip(items, given, strict=True):
            try:
                values.append(read(value))
            except ValueError as error:
                raise self._wrong([item], f"gave {value!r:.60} for {item.response[:60]!r}; {error}") from None
        return values

    def _called(self, items: Sequence[Scorable]) -> Any:
        """What the function returns; where it raises, parts of the batch are tried for the response it stumbles on."""
        keywords, start = self._keywords(items), time.monotonic()
        try:
            with _time_limit(self._config.timeout_s):
                given = self._loaded.function(**keywords)
                given = asyncio.run(_awaited(given)) if inspect.isawaitable(given) else given
        except (Exception, SystemExit, asyncio.CancelledError, _OutOfTimeError) as error:
            self._check_time(items, start, isinstance(error, _OutOfTimeError))
            if len(items) > 1 and not self.list_relative:
                for half in (items[: len(items) // 2], items[len(items) // 2 :]):
                    self._called(half)
            line = line_of(error, self._loaded.file)
            place = f"{self._loaded.file}, line {line}" if line else f"called as {self._loaded.file} has it"
            raise self._wrong(items, f"raised {type(error).__name__}: {error} ({place})") from error
        self._check_time(items, start, expired=False)
        return given

    def _check_time(self, items: Sequence[Scorable], start: float, expired: bool) -> None:
        """Refuse a call that took too long, even one that has caught what was to end it."""
        limit = self._config.timeout_s
        if expired or time.monotonic() - start > limit:
            raise self._wrong(
                items,
                f"took longer than {limit:g} s for {len(items)} responses",
                remedy="Raise timeout_s, or lower batch_responses",
            )

    def _keywords(self, items: Sequence[Scorable]) -> dict[str, Any]:
        kept = items[0].columns
        missing = sorted(self.columns - kept.keys())
        if missing:
            raise LarpoError(
                f"{self._loaded.shown} needs '{missing[0]}', which is no column that the prompts keep",
                remedy=f"It can take {', '.join([*GIVEN, *kept])}, and what settings holds",
            )
        given = {
            **{name: [item.columns.get(name) for item in items] for name in kept},
            "prompts": [[dict(message) for message in item.messages] for item in items],
            "responses": [item.response for item in items],
            "completions": [[{"role": "assistant", "content": item.response}] for item in items],
            "references": [item.reference for item in items],
        }
        taken = given if self._takes_any else {name: values for name, values in given.items() if name in self._takes}
        return {**taken, **self._config.settings}

    def _check(self, parameters: Iterable[inspect.Parameter]) -> None:
        settings, shown = self._config.settings, self._loaded.shown
        positional = [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY]
        if positional:
            raise ConfigError(
                f"{shown} takes '{positional[0]}' by place alone", remedy="Take away the / in its signature"
            )
        unknown = [name for name in settings if name not in self._takes and not self._takes_any]
        if unknown:
            raise ConfigError(f"{shown} does not take the setting '{unknown[0]}'", remedy="Change settings")
        twice = [name for name in settings if name in GIVEN]
        if twice:
            raise ConfigError(f"{shown}: settings.{twice[0]} would hide the {twice[0]}", remedy="Name it otherwise")

    def _wrong(self, items: Sequence[Scorable], what: str, remedy: str = "Fix the function") -> LarpoError:
        prompts = list(dict.fromkeys(item.prompt_id for item in items))
        of = f"prompt {prompts[0]}" if len(prompts) == 1 else f"{len(prompts)} prompts, the first {prompts[0]}"
        return LarpoError(f"{self._loaded.shown} {what}; {of}", remedy=remedy)


_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


class _OutOfTimeError(BaseException):
    """Ends a call that takes too long; no `except Exception` of the function catches it."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End the block after so many seconds, also within a regular expression or a wait.

    By an alarm, which only the main thread gets: elsewhere a call is not ended, but refused when it comes back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again, should something swallow the first
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given
