"""How alike texts are, by the words they share (BM25) or the cosine of their embeddings; and documents by that.

Scores of all pairs never exist at one time: they are worked out for some queries at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from larpo_lib.scripts import WORD

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Scores = Callable[[int, int], NDArray[np.float32]]
"""Scores of the queries from one place to another against all D documents, (stop - start, D); -inf: not found."""

Score = Callable[[Sequence[str], Sequence[str]], Scores]
"""From queries and documents to their scores; of texts with one another it is given one list twice."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""From texts to one vector each, (N, D), not necessarily of length 1."""

_DECIMALS = 5  # of a cosine; further ones are rounding of the model and of the product
_CHUNK_ELEMENTS = 4_000_000  # scores that exist at one time: 16 MB


def by_words(queries: Sequence[str], documents: Sequence[str]) -> Scores:
    """Lucene's BM25 (Kamphuis et al. 2020) of each query; documents that share no word with it are not found.

    Every word counts, for the language is not known: inverse document frequency makes frequent words count little.
    Words of one character too, else arithmetic would lose its digits.
    """
    import bm25s
    from scipy.sparse import csr_array

    tokens, weights = bm25_index(documents)
    if weights is None:
        return lambda start, stop: np.full((stop - start, len(documents)), -np.inf, dtype=np.float32)
    asked = bm25s.tokenize(list(queries), token_pattern=WORD, stopwords=None, show_progress=False)
    known = {number: tokens.vocab[word] for word, number in asked.vocab.items() if word in tokens.vocab}
    ids = [[known[number] for number in query if number in known] for query in asked.ids]
    ends = np.cumsum([0, *map(len, ids)])
    places = np.array([number for query in ids for number in query], dtype=np.int64)
    counted = csr_array((np.ones(len(places), np.float32), places, ends), shape=(len(queries), weights.shape[0]))

    def scores(start: int, stop: int) -> NDArray[np.float32]:
        product: NDArray[np.float32] = (counted[start:stop] @ weights).toarray()
        return np.where(product > 0, product, -np.inf).astype(np.float32)

    return scores


def bm25_index(documents: Sequence[str]) -> tuple[Any, csr_array | None]:
    """The tokens of documents, and what each word adds to their scores, (words, D); None where there are no words.

    bm25s scores one query at a time, word by word; a product of sparse matrices gives many queries' sums at once.
    """
    import bm25s
    from scipy.sparse import csr_array

    tokens = bm25s.tokenize(list(documents), token_pattern=WORD, stopwords=None, show_progress=False)
    if not tokens.vocab:  # bm25s divides by the mean length
        return tokens, None
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    found = index.scores
    shape = (len(found["indptr"]) - 1, len(documents))
    return tokens, csr_array((found["data"], found["indices"], found["indptr"]), shape=shape)


def by_embedding(queries: Sequence[str], documents: Sequence[str], embed: Embed) -> Scores:
    """Cosines of embeddings to five decimals."""
    found = _unit(embed(documents))
    asked = found if queries is documents else _unit(embed(queries))
    return lambda start, stop: np.round(asked[start:stop] @ found.T, _DECIMALS)


def nearest_documents(queries: Sequence[str], documents: Sequence[str], depth: int, score: Score) -> list[list[int]]:
    """For each query the places of at most `depth` documents, by falling score, the first of equals first."""
    scores, rows = score(queries, documents), rows_at_once(len(documents))
    chunks = (scores(start, min(start + rows, len(queries))) for start in range(0, len(queries), rows))
    return [_top(row, min(depth, len(documents))) for chunk in chunks for row in chunk]


def _top(row: NDArray[np.float32], depth: int) -> list[int]:
    """Places of the `depth` highest values above minus infinity, the first of equals first."""
    least = np.partition(row, len(row) - depth)[len(row) - depth]
    candidates = np.flatnonzero((row >= least) & (row > -np.inf))
    order = np.argsort(-row[candidates], kind="stable")[:depth]
    places: list[int] = candidates[order].tolist()
    return places


def rows_at_once(documents: int) -> int:
    """Of how many queries the scores may exist at one time."""
    return max(1, _CHUNK_ELEMENTS // max(1, documents))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
