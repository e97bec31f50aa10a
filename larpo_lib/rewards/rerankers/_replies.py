"""What a reward model gets to see of a response that begins with thoughts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from larpo_lib.config.kinds import Thinking
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers._base import Reranker
from larpo_lib.thinking import with_whole_thoughts, without_thoughts


class ReplyReranker(Reranker):
    """Another reranker, given the replies without the thoughts before them, or with the whole block of them.

    Kept thoughts are part of the name: such rewards are others.
    """

    def __init__(self, reranker: Reranker, thinking: Thinking) -> None:
        self._reranker = reranker
        self._read = without_thoughts if thinking == "strip" else with_whole_thoughts
        self.name = reranker.name if thinking == "strip" else f"{reranker.name} with thoughts"
        self.list_relative = reranker.list_relative

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score what is read of each item."""
        return self._reranker.score(self._seen(items))

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """What the reranker below cuts."""
        return self._reranker.cut(self._seen(items))

    def _seen(self, items: Sequence[Scorable]) -> list[Scorable]:
        return [replace(item, response=self._read(item.response)) for item in items]
