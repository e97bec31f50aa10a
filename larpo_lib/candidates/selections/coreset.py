"""Diverse worse responses: the worst of each cluster of similar ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt

from larpo_lib.config.kinds import RetrieverConfig, SelectionConfig

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from larpo_lib.schemas import RankedRow


class CoresetConfig(SelectionConfig):
    """The best response, and the worst one of each of `negatives` clusters of the worse responses.

    Clusters are those of the farthest-first traversal: the first centre is the worst response; each further one is that
    which is least similar to the centres so far; every response belongs to the centre it is most similar to.

    Sources: AMPO (arXiv 2502.18293), with k-means in place of the traversal; Gonzalez 1985.
    """

    does: ClassVar[str] = "best, and the worst response of each cluster of similar ones"
    when: ClassVar[str] = "many responses are alike"

    type: Literal["coreset"] = "coreset"
    negatives: PositiveInt = 3
    """How many clusters, and so worse responses."""
    retriever: RetrieverConfig = Field(default_factory=RetrieverConfig.default)
    """What tells how similar responses are: the words they share, or embeddings of them."""

    @property
    def in_words(self) -> str:
        """With the number."""
        return f"best and {self.negatives} diverse"

    def models(self) -> dict[str, Path]:
        """The embedding model."""
        return {f"selection_{name}": path for name, path in self.retriever.models().items()}

    def check(self) -> None:
        """The retriever's."""
        self.retriever.check()

    def make(self) -> Callable[[Sequence[RankedRow]], list[RankedRow]]:
        """What selects; it loads the embedding model once."""
        return Coreset(self.negatives, self.retriever.make())

    def select(self, ordered: Sequence[RankedRow]) -> list[RankedRow]:
        """As `make`, which loads the model once for many prompts."""
        return self.make()(ordered)

    def most(self, k: int) -> int:
        """The best and one of each cluster."""
        return min(k, 1 + self.negatives)


class Coreset:
    """Selects by clusters of similar responses.

    Args:
        negatives: number of clusters.
        retriever: a `larpo_lib.retrievers.Retriever`.
    """

    def __init__(self, negatives: int, retriever: Any) -> None:
        self._negatives = negatives
        self._retriever = retriever

    def __call__(self, ordered: Sequence[RankedRow]) -> list[RankedRow]:
        """The best response and the chosen worse ones, best first."""
        worse = [row for row in ordered if row["reward"] < ordered[0]["reward"]]
        if len(worse) > self._negatives:
            texts = [row["response"] for row in worse]
            worse = [worse[place] for place in worst_of_clusters(self._similarities(texts), self._negatives)]
        return [ordered[0], *worse]

    def cut(self) -> dict[str, int | None]:
        """Responses that were read in part only, as `Retriever.cut`."""
        found: dict[str, int | None] = self._retriever.cut()
        return found

    def _similarities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        scores = np.asarray(self._retriever.scores(texts, texts)(0, len(texts)), dtype=np.float64)
        scores = np.where(np.isfinite(scores), scores, 0.0)  # texts that share no word
        own = np.sqrt(scores.diagonal().clip(min=1e-9))  # with words, the longer a text the higher all its scores
        return (scores + scores.T) / np.outer(own, own)


def worst_of_clusters(similarities: NDArray[np.float64], count: int) -> list[int]:
    """The last place of each cluster, rising.

    Args:
        similarities: (N, N) symmetric, of responses from the best to the worst.
        count: of clusters, at most N.
    """
    places = np.arange(len(similarities))
    centres = [len(places) - 1]
    while len(centres) < count:
        nearest = similarities[:, centres].max(axis=1)
        nearest[centres] = np.inf
        centres.append(int(places[nearest == nearest.min()].max()))
    own = similarities[:, centres]
    own[centres, range(count)] = np.inf
    cluster = own.argmax(axis=1)
    return sorted(int(places[cluster == number].max()) for number in range(count))
