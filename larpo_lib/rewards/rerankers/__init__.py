"""The reward model's side of the loop: rerankers score responses. A module here is a reranker, and its settings."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from larpo_lib.config.kinds import RerankerConfig, Thinking
from larpo_lib.errors import ConfigError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.thinking import scored_part, without_thoughts


class Reranker(Protocol):
    """Scores responses; higher is better.

    Attributes:
        name: recorded in the `reranker` column.
        list_relative: a score holds only within the list it was given in, so merged lists are scored again as one.
    """

    name: str
    list_relative: bool = False

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item, in their order. None: it cannot be scored (too long); the caller drops and counts it.

        Items of one prompt_id are a list. All of a list must be given at once to a list-relative reranker.
        """
        ...

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """Counts, by their name in the metrics, of what of these items it sees a part of only; none if it never cuts.

        Distinct prompts and responses are counted once, so the counts of several calls that share no prompt add up.
        """
        return {}


class ReplyReranker(Reranker):
    """Another reranker, given the replies without the thoughts before them, or with the whole block of them.

    Kept thoughts are part of the name: such rewards are others.
    """

    def __init__(self, reranker: Reranker, thinking: Thinking) -> None:
        self._reranker, self._thinking = reranker, thinking
        self.name = reranker.name if thinking == "strip" else f"{reranker.name} with thoughts"
        self.list_relative = reranker.list_relative

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score what is read of each item."""
        return self._reranker.score(self._seen(items))

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """What the reranker below cuts."""
        return self._reranker.cut(self._seen(items))

    def _seen(self, items: Sequence[Scorable]) -> list[Scorable]:
        return _read_of(items, self._thinking)


def make_reranker(config: RerankerConfig) -> Reranker:
    """The reranker of some settings; it reads of a response's thoughts what they say."""
    reranker: Reranker = config.make()
    return reranker if config.thoughts is None else ReplyReranker(reranker, config.thoughts)


def scored_text(config: RerankerConfig) -> Callable[[str], str]:
    """From a response to what its reward is of: the reply, or all of it where one reranker is given thoughts, too."""
    return str if any(part.thoughts == "keep" for part in config.parts()) else without_thoughts


def foresee(config: RerankerConfig, label: str, lists: Iterable[Sequence[Scorable]]) -> None:
    """Tell what scoring will cost, before anything is scored.

    Args:
        config: the reranker.
        label: of the work, such as "rerank".
        lists: the responses to each prompt that will be scored, which can be gone through several times. Only a
            reranker whose scores cost something reads them.

    Raises:
        ConfigError: that would take more calls than the settings allow.
    """
    for part in config.parts():
        part.foresee(label, _Seen(lists, part.thoughts))


class _Seen:
    """Lists as a reranker is given them."""

    def __init__(self, lists: Iterable[Sequence[Scorable]], thinking: Thinking | None) -> None:
        self._lists, self._thinking = lists, thinking

    def __iter__(self) -> Iterator[Sequence[Scorable]]:
        for items in self._lists:
            yield items if self._thinking is None else _read_of(items, self._thinking)


def _read_of(items: Sequence[Scorable], thinking: Thinking) -> list[Scorable]:
    """The items with what is read of their responses."""
    read = scored_part(thinking)
    return [replace(item, response=read(item.response)) for item in items]


def require_pointwise(config: RerankerConfig, setting: str) -> None:
    """Refuse a list-relative reranker where rewards of different lists are compared.

    Args:
        config: the reranker.
        setting: where it is set, such as `evaluate.reranker`.

    Raises:
        ConfigError: its scores hold only within a list.
    """
    if config.list_relative:
        raise ConfigError(
            f"{setting}: the scores of '{config.type}' are only comparable within one list, so they cannot "
            "compare two policies",
            remedy=f"Set {setting} to a verifier, a classifier, http, or an ensemble of these with mean and std",
        )


__all__ = ["Reranker", "Scorable", "foresee", "make_reranker", "require_pointwise"]
