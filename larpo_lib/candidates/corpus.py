"""Documents of a corpus for queries: by the words they share (BM25), or by the cosine of their embeddings.

Scores of all pairs never exist at one time: they are worked out for some queries at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from larpo_lib.candidates.related import DECIMALS, WORD, Embed

_CHUNK_ELEMENTS = 4_000_000  # scores that exist at one time: 16 MB

_Scores = Callable[[int, int], NDArray[np.float32]]
"""Scores of the queries from one place to another against all documents, (stop - start, D)."""


def by_words(queries: Sequence[str], documents: Sequence[str], depth: int) -> list[list[int]]:
    """For each query the places of at most `depth` documents, by falling BM25 score, the first of equals first.

    Lucene's BM25 (Kamphuis et al. 2020), every word counted, no stop words. Documents that share no word with the query
    are not found.
    """
    import bm25s
    from scipy.sparse import csr_array

    tokens = bm25s.tokenize(list(documents), token_pattern=WORD, stopwords=None, show_progress=False)
    if not tokens.vocab:  # bm25s divides by the mean length
        return [[] for _ in queries]
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    found = index.scores
    words = len(found["indptr"]) - 1
    weights = csr_array((found["data"], found["indices"], found["indptr"]), shape=(words, len(documents)))
    asked = bm25s.tokenize(list(queries), token_pattern=WORD, stopwords=None, show_progress=False)
    known = {number: tokens.vocab[word] for word, number in asked.vocab.items() if word in tokens.vocab}
    ids = [[known[number] for number in query if number in known] for query in asked.ids]
    ends = np.cumsum([0, *map(len, ids)])
    places = np.array([number for query in ids for number in query], dtype=np.int64)
    counted = csr_array((np.ones(len(places), np.float32), places, ends), shape=(len(queries), words))

    def scores(start: int, stop: int) -> NDArray[np.float32]:
        product: NDArray[np.float32] = (counted[start:stop] @ weights).toarray()
        return np.where(product > 0, product, -np.inf).astype(np.float32)

    return _best(len(queries), len(documents), depth, scores)


def by_embedding(queries: Sequence[str], documents: Sequence[str], depth: int, embed: Embed) -> list[list[int]]:
    """The same by falling cosine of embeddings, to five decimals."""
    asked, found = (_unit(np.asarray(embed(texts), dtype=np.float32)) for texts in (queries, documents))

    def scores(start: int, stop: int) -> NDArray[np.float32]:
        return np.round(asked[start:stop] @ found.T, DECIMALS)

    return _best(len(queries), len(documents), depth, scores)


def _best(queries: int, documents: int, depth: int, scores: _Scores) -> list[list[int]]:
    rows = max(1, _CHUNK_ELEMENTS // max(1, documents))
    chunks = (scores(start, min(start + rows, queries)) for start in range(0, queries, rows))
    return [_top(row, min(depth, documents)) for chunk in chunks for row in chunk]


def _top(row: NDArray[np.float32], depth: int) -> list[int]:
    """Places of the `depth` highest values above minus infinity, the first of equals first."""
    least = np.partition(row, len(row) - depth)[len(row) - depth]
    candidates = np.flatnonzero((row >= least) & (row > -np.inf))
    order = np.argsort(-row[candidates], kind="stable")[:depth]
    places: list[int] = candidates[order].tolist()
    return places


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
