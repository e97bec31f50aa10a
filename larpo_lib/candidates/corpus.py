"""Documents of a corpus for queries: by the words they share (BM25), or by the cosine of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from larpo_lib.candidates import similarity
from larpo_lib.candidates.related import Embed
from larpo_lib.candidates.similarity import Scores, rows_at_once


def by_words(queries: Sequence[str], documents: Sequence[str], depth: int) -> list[list[int]]:
    """For each query the places of at most `depth` documents, by falling BM25 score, the first of equals first.

    Lucene's BM25 (Kamphuis et al. 2020), every word counted, no stop words. Documents that share no word with the query
    are not found.
    """
    return _best(len(queries), len(documents), depth, similarity.by_words(queries, documents))


def by_embedding(queries: Sequence[str], documents: Sequence[str], depth: int, embed: Embed) -> list[list[int]]:
    """The same by falling cosine of embeddings, to five decimals."""
    asked, found = (np.asarray(embed(texts), dtype=np.float32) for texts in (queries, documents))
    return _best(len(queries), len(documents), depth, similarity.by_angle(asked, found))


def _best(queries: int, documents: int, depth: int, scores: Scores) -> list[list[int]]:
    rows = rows_at_once(documents)
    chunks = (scores(start, min(start + rows, queries)) for start in range(0, queries, rows))
    return [_top(row, min(depth, documents)) for chunk in chunks for row in chunk]


def _top(row: NDArray[np.float32], depth: int) -> list[int]:
    """Places of the `depth` highest values above minus infinity, the first of equals first."""
    least = np.partition(row, len(row) - depth)[len(row) - depth]
    candidates = np.flatnonzero((row >= least) & (row > -np.inf))
    order = np.argsort(-row[candidates], kind="stable")[:depth]
    places: list[int] = candidates[order].tolist()
    return places
