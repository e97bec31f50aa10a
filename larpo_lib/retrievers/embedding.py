"""By the cosine of sentence embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import PositiveInt

from larpo_lib.candidates.related import Ranking, by_angle
from larpo_lib.candidates.similarity import Scores, by_embedding
from larpo_lib.config.base import ModelPlace
from larpo_lib.config.kinds import RetrieverConfig
from larpo_lib.retrievers import Retriever


class EmbeddingConfig(RetrieverConfig):
    """Prompts are related by the cosine of their sentence embeddings."""

    packages: ClassVar[tuple[str, ...]] = ("sentence-transformers",)
    execution: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    type: Literal["embedding"] = "embedding"
    path: ModelPlace
    """A sentence-transformers model: a directory, an s3:// URI, or its name on the Hugging Face hub."""
    device: str = "auto"
    """`auto`: the first GPU if there is one, else the CPU."""
    batch_size: PositiveInt = 64
    """Number of prompts embedded at the same time."""

    @property
    def title(self) -> str:
        """The model's name."""
        from larpo_lib.models.hub import label

        return label(self.path)

    def models(self) -> dict[str, Path]:
        """The embedding model."""
        from larpo_lib.models.hub import local_model

        return {"retriever": local_model(self.path)}

    def make(self) -> Retriever:
        """Load the model."""
        return EmbeddingRetriever(self)

    def check(self) -> None:
        """All but the weights' values."""
        from larpo_lib.retrievers.engines.sentences import check_embedding_model

        check_embedding_model(self)


class EmbeddingRetriever(Retriever):
    """Cosines to five decimals."""

    def __init__(self, config: EmbeddingConfig) -> None:
        from larpo_lib.retrievers.engines.sentences import SentenceEmbedder

        self._embed = SentenceEmbedder(config)

    def scores(self, queries: Sequence[str], documents: Sequence[str]) -> Scores:
        """Cosines."""
        return by_embedding(queries, documents, self._embed)

    def related(self, texts: Sequence[str]) -> Ranking:
        """By their cosines."""
        return by_angle(texts, self._embed)

    def cut(self) -> dict[str, int | None]:
        """Texts that were longer than the model reads."""
        return {"cut_for_embedding": self._embed.cut}
