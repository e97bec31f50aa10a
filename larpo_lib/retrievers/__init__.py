"""Retrievers find related prompts, and documents. A module here is a retriever, and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from larpo_lib.candidates.related import Neighbours
from larpo_lib.config.kinds import RetrieverConfig


class Retriever(Protocol):
    """Orders texts by how related they are to another one."""

    def neighbours(self, prompt_ids: Sequence[str], texts: Mapping[str, str]) -> Neighbours:
        """How to find other prompts by their texts, the most related first."""
        ...

    def documents(self, queries: Sequence[str], documents: Sequence[str], depth: int) -> list[list[int]]:
        """For each query the places of at most `depth` documents, the most related first."""
        ...

    def cut(self) -> dict[str, int | None]:
        """Counts, by the end of their name in the metrics, of what texts so far were read in part only.

        None: that is not known. Nothing: a text is always read whole.
        """
        ...


def make_retriever(config: RetrieverConfig) -> Retriever:
    """The retriever of some settings."""
    retriever: Retriever = config.make()
    return retriever
