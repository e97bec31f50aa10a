"""By the words that texts share."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from larpo_lib.candidates.related import Ranking, SharedWords
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

    def __init__(self) -> None:
        self._related: SharedWords | None = None

    def scores(self, queries: Sequence[str], documents: Sequence[str]) -> Scores:
        """By the words they share."""
        return by_words(queries, documents)

    def related(self, texts: Sequence[str]) -> Ranking:
        """By the words they share."""
        self._related = SharedWords(texts)
        return self._related.ranking

    def cut(self) -> dict[str, int | None]:
        """Texts of which the rarest words alone chose those they were compared with."""
        return {} if self._related is None else {"compared_by_rare_words": self._related.limited}
