"""A user's own function that scores or judges responses: what it is given, and what it may give back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import PositiveFloat, PositiveInt

from larpo_lib.errors import LarpoError
from larpo_lib.functions import CallError, FunctionTarget, Keywords, OutOfTimeError, call
from larpo_lib.rewards.answers import Scorable
from larpo_lib.targets import Loaded

GIVEN = ("prompts", "responses", "completions", "references")
"""The keywords that every function can take."""

ValueT = TypeVar("ValueT")


class FunctionSettings(FunctionTarget):
    """Which function, and how it is called."""

    execution: ClassVar[frozenset[str]] = frozenset({"timeout_s", "batch_responses"})

    timeout_s: PositiveFloat = 600.0
    """Seconds that one call may take."""
    batch_responses: PositiveInt = 64
    """Responses that one call is given at most. A list-relative function is given a prompt's whole list."""

    def load(self) -> RewardFunction:
        """The function, ready to be called.

        Raises:
            ConfigError: it cannot be loaded, or cannot be called with its settings.
        """
        return RewardFunction(self, self.loaded())


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
        self._keywords = Keywords(loaded, config.settings, GIVEN)
        self.columns = self._keywords.needed

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
        keywords, start = self._given(items), time.monotonic()
        try:
            given = call(self._loaded, keywords, self._config.timeout_s)
        except OutOfTimeError:
            self._check_time(items, start, expired=True)
        except CallError as error:
            self._check_time(items, start, expired=False)
            if len(items) > 1 and not self.list_relative:
                for half in (items[: len(items) // 2], items[len(items) // 2 :]):
                    self._called(half)
            raise self._wrong(items, str(error)) from error.__cause__
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

    def _given(self, items: Sequence[Scorable]) -> dict[str, Any]:
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
        return self._keywords.of(given)

    def _wrong(self, items: Sequence[Scorable], what: str, remedy: str = "Fix the function") -> LarpoError:
        prompts = list(dict.fromkeys(item.prompt_id for item in items))
        of = f"prompt {prompts[0]}" if len(prompts) == 1 else f"{len(prompts)} prompts, the first {prompts[0]}"
        return LarpoError(f"{self._loaded.shown} {what}; {of}", remedy=remedy)
