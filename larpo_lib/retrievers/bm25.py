"""By the words that texts share."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from larpo_lib.candidates.similarity import Scores, by_words
from larpo_lib.config.kinds import RetrieverConfig
from larpo_lib.retrievers import Retriever


class Bm25Config(RetrieverConfig):
    """Prompts are related by the words they share (BM25)."""

    packages: ClassVar[tuple[str, ...]] = ("bm25s", "scipy")

    type: Literal["bm25"] = "bm25"

    @property
    def title(self) -> str:
        """As it is written."""
        return "BM25"

    def make(self) -> Retriever:
        """Nothing is loaded."""
        return Bm25Retriever()


class Bm25Retriever(Retriever):
    """Lucene's BM25; texts that share no word are not related."""

    def scores(self, queries: Sequence[str], documents: Sequence[str]) -> Scores:
        """By the words they share."""
        return by_words(queries, documents)
