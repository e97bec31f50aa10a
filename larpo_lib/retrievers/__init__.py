"""Retrievers find related prompts, and documents. A module here is a retriever, and its settings."""

from collections.abc import Sequence
from typing import Protocol

from larpo_lib.candidates.related import Ranking
from larpo_lib.candidates.similarity import Scores
from larpo_lib.config.kinds import RetrieverConfig


class Retriever(Protocol):
    """Says how related texts are."""

    def scores(self, queries: Sequence[str], documents: Sequence[str]) -> Scores:
        """Of each query against all documents."""
        ...

    def related(self, texts: Sequence[str]) -> Ranking:
        """How the texts are related."""
        ...

    def cut(self) -> dict[str, int | None]:
        """Counts, by the end of their name in the metrics, of what texts so far were read in part only.

        None: that is not known. Nothing: a text was always read whole.
        """
        return {}


def make_retriever(config: RetrieverConfig) -> Retriever:
    """The retriever of some settings."""
    retriever: Retriever = config.make()
    return retriever
