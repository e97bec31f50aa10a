"""A user's own function as a setting, and how it is called: the same for rewards, judges, objectives and all others."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, Field, JsonValue, model_validator

from larpo_lib.config.base import Section
from larpo_lib.errors import ConfigError
from larpo_lib.targets import Loaded, kept_file, line_of, load_target, package_of, parse_target, source_file


def _checked(target: str) -> str:
    parse_target(target)
    return target


def _without_null(settings: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The settings. A run keeps its settings as TOML, which has no null."""
    if _has_null(settings):
        raise ValueError("a setting of a function cannot be null; leave it out")
    return settings


def _has_null(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(_has_null, parts))


class FunctionTarget(Section):
    """Which function."""

    target: Annotated[str, AfterValidator(_checked)]
    """The function: `my_rewards.py:brevity`, a file from the folder that larpo is started in, an absolute path or an
    `s3://` URI; or `package.module:brevity`, a module that is installed. The file's content is part of the
    fingerprint, and so is the version of an installed package."""
    settings: Annotated[dict[str, JsonValue], AfterValidator(_without_null)] = Field(default_factory=dict)
    """Further keywords that the function is called with."""
    code: str | None = None
    """What the file holds, if it is not there where larpo runs. `larpo submit` sets it."""

    @model_validator(mode="after")
    def _check_code(self) -> FunctionTarget:
        if self.code is not None and not self.place.endswith(".py"):
            raise ValueError("code is what a file holds, but target names a module")
        return self

    @property
    def place(self) -> str:
        """The file or the module."""
        return parse_target(self.target)[0]

    def identity(self) -> dict[str, Any]:
        """The place of a file is no part of it: its content is, which every artifact has among its inputs."""
        place, name = parse_target(self.target)
        known = {key: value for key, value in super().identity().items() if key != "code"}
        return {**known, "target": f"{Path(place).name}:{name}"}

    def source(self) -> Path:
        """The file of the function.

        Raises:
            ConfigError: there is none.
        """
        return source_file(self.place) if self.code is None else kept_file(self.place, self.code)

    def content(self) -> str:
        """What decides the function: the digest of its file; of a module also the installed package, with its version.

        Raises:
            ConfigError: there is none.
        """
        digest = hashlib.sha256(self.source().read_bytes()).hexdigest()
        package = "" if self.place.endswith(".py") else package_of(self.place)
        return f"{digest} of {package}" if package else digest

    def loaded(self) -> Loaded:
        """The function.

        Raises:
            ConfigError: it cannot be loaded.
        """
        return load_target(*parse_target(self.target), self.code)

    def called_with(self, given: Collection[str]) -> tuple[Loaded, Keywords]:
        """The function, and what it takes of `given`, the names of what larpo gives, and of the settings.

        Raises:
            ConfigError: it cannot be loaded, or needs something else.
        """
        loaded = self.loaded()
        keywords = Keywords(loaded, self.settings, given)
        if keywords.needed:
            raise ConfigError(f"{loaded.shown} needs '{min(keywords.needed)}'", remedy="Give it in settings")
        return loaded, keywords


SectionT = TypeVar("SectionT", bound=Section)


def with_functions(section: SectionT, change: Callable[[FunctionTarget], FunctionTarget]) -> SectionT:
    """The settings with another in the place of each function in them, those of an ensemble's members included."""
    changed: Any = _changed(section, change)
    return cast(SectionT, changed)


def functions_of(value: Any, place: str = "") -> dict[str, FunctionTarget]:
    """The functions in some settings, by their places in them, such as `reranker.members.0.reranker`."""
    if isinstance(value, FunctionTarget):
        return {place: value}
    parts: dict[str, Any] = {}
    if isinstance(value, Section):
        parts = {name: getattr(value, name) for name in type(value).model_fields}
    elif isinstance(value, tuple):
        parts = {str(number): part for number, part in enumerate(value)}
    below = (functions_of(part, f"{place}.{name}".lstrip(".")) for name, part in parts.items())
    return {name: function for found in below for name, function in found.items()}


def _changed(value: Any, change: Callable[[FunctionTarget], FunctionTarget]) -> Any:
    if isinstance(value, tuple):
        parts = tuple(_changed(part, change) for part in value)
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
    if not isinstance(value, Section):
        return value
    parts_by_name = {name: getattr(value, name) for name in type(value).model_fields}
    new_parts = {name: _changed(part, change) for name, part in parts_by_name.items()}
    update = {name: part for name, part in new_parts.items() if part is not parts_by_name[name]}
    value = value.model_copy(update=update) if update else value
    return change(value) if isinstance(value, FunctionTarget) else value


class CallError(Exception):
    """A function raised, as its cause; the text says what, and at which line."""


class OutOfTimeError(Exception):
    """A call took too long."""


def call(loaded: Loaded, keywords: Mapping[str, Any], timeout_s: float | None = None) -> Any:
    """What a function gives; that of an async one is awaited, also where a loop is running, as in a notebook.

    Args:
        loaded: the function.
        keywords: that it is called with.
        timeout_s: seconds that it may take; only the main thread can end a call that takes longer.

    Raises:
        CallError: it raises.
        OutOfTimeError: it was ended.
    """
    try:
        with _time_limit(timeout_s):
            given = loaded.function(**keywords)
            return _awaited(given, timeout_s) if inspect.isawaitable(given) else given
    except _AlarmError as error:
        raise OutOfTimeError from error
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        line = line_of(error, loaded.file)
        place = f"{loaded.file}, line {line}" if line else f"called as {loaded.file} has it"
        raise CallError(f"raised {type(error).__name__}: {error} ({place})") from error


class Keywords:
    """The keywords that a function takes.

    Args:
        loaded: the function.
        settings: what it is called with besides what larpo gives.
        given: names of what larpo gives.

    Attributes:
        needed: those without a default that neither `settings` nor larpo gives.

    Raises:
        ConfigError: it cannot be called with the settings, or takes something by place alone.
    """

    def __init__(self, loaded: Loaded, settings: Mapping[str, Any], given: Collection[str]) -> None:
        shown, parameters = loaded.shown, inspect.signature(loaded.function).parameters.values()
        self._settings = settings
        self._any = any(each.kind is each.VAR_KEYWORD for each in parameters)
        self._names = {each.name for each in parameters if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)}
        open_ = {each.name for each in parameters if each.name in self._names and each.default is each.empty}
        self.needed = frozenset(open_.difference(settings, given))
        for each in parameters:
            if each.kind is each.POSITIONAL_ONLY:
                problem = f"{shown} takes '{each.name}' by place alone"
                raise ConfigError(problem, remedy="Take away the / in its signature")
        for name in settings:
            if name in given:
                raise ConfigError(f"{shown}: settings.{name} would hide the {name}", remedy="Name it otherwise")
            if name not in self._names and not self._any:
                raise ConfigError(f"{shown} does not take the setting '{name}'", remedy="Change settings")

    def of(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the function is called with, of what it could be given; settings win."""
        return {**{name: value for name, value in given.items() if self._any or name in self._names}, **self._settings}


class _AlarmError(BaseException):
    """Ends a call that takes too long; no `except Exception` of the function catches it."""


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """End the block after so many seconds, also within a regular expression or a wait.

    By an alarm, which only the main thread gets: elsewhere a call is not ended.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise _AlarmError

    before = signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again, should something swallow the first
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


def _awaited(given: Awaitable[Any], timeout_s: float | None) -> Any:
    async def wait() -> Any:
        return await given

    async def wait_a_while() -> Any:  # a little longer than the alarm, which ends this call, but not what is awaited
        return await asyncio.wait_for(given, None if timeout_s is None else timeout_s + 0.1)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(_loop_of(os.getpid(), threading.get_ident()), wait())
    return asyncio.run_coroutine_threadsafe(wait_a_while(), _loop_beside(os.getpid(), threading.get_ident())).result()


@cache
def _loop_of(_process: int, _thread: int) -> asyncio.Runner:
    """The loop of all calls from a thread: what limits requests, such as a semaphore, or sends them belongs to one."""
    return asyncio.Runner()


@cache
def _loop_beside(_process: int, _thread: int) -> asyncio.AbstractEventLoop:
    """The same in a thread of its own, which can run one while that of the calling thread is running."""
    loop = asyncio.new_event_loop()

    def run() -> None:
        while True:
            with suppress(SystemExit, KeyboardInterrupt):  # told to whoever waits
                loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    return loop


def _run(runner: asyncio.Runner, awaited: Coroutine[Any, Any, Any]) -> Any:
    try:
        return runner.run(awaited)
    except BaseException:  # what it has begun would go on in the next call
        left = asyncio.all_tasks(runner.get_loop())
        for task in left:
            task.cancel()
        if left:
            runner.get_loop().run_until_complete(asyncio.gather(*left, return_exceptions=True))
        raise
