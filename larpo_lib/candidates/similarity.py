"""How alike texts are, by the words they share (BM25) or the cosine of their embeddings; prompts and documents by that.

Scores of all pairs never exist at one time: they are worked out for some queries at a time. So whoever asks for the
neighbours of one prompt after another, in their order, has every score worked out once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = Callable[[int, int], NDArray[np.float32]]
"""Scores of the queries from one place to another against all D documents, (stop - start, D); -inf: not found."""

Score = Callable[[Sequence[str], Sequence[str]], Scores]
"""From queries and documents to their scores; of texts with one another it is given one list twice."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""From texts to one vector each, (N, D), not necessarily of length 1."""

Neighbours = Callable[[str], Iterator[str]]
"""From a prompt_id to other prompt_ids, the preferred ones first."""

WORD = r"(?u)\b\w+\b"  # single characters too, else arithmetic would lose its digits
_DECIMALS = 5  # of a cosine; further ones are rounding of the model and of the product
_CHUNK_ELEMENTS = 4_000_000  # scores that exist at one time: 16 MB


def by_words(queries: Sequence[str], documents: Sequence[str]) -> Scores:
    """Lucene's BM25 (Kamphuis et al. 2020) of each query; documents that share no word with it are not found.

    Every word counts, for the language is not known: inverse document frequency makes frequent words count little.
    """
    import bm25s
    from scipy.sparse import csr_array

    tokens = bm25s.tokenize(list(documents), token_pattern=WORD, stopwords=None, show_progress=False)
    if not tokens.vocab:  # bm25s divides by the mean length
        return lambda start, stop: np.full((stop - start, len(documents)), -np.inf, dtype=np.float32)
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    # bm25s scores one query at a time, word by word; a product of sparse matrices gives many queries' sums at once.
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

    return scores


def by_embedding(queries: Sequence[str], documents: Sequence[str], embed: Embed) -> Scores:
    """Cosines of embeddings to five decimals."""
    found = _unit(embed(documents))
    asked = found if queries is documents else _unit(embed(queries))
    return lambda start, stop: np.round(asked[start:stop] @ found.T, _DECIMALS)


def neighbours(prompt_ids: Sequence[str], texts: Mapping[str, str], score: Score) -> Neighbours:
    """Other prompts by falling score of their texts; equal ones by place in `prompt_ids`. Those not found are left out.

    Args:
        prompt_ids: the prompts.
        texts: the text of each.
        score: how alike texts are.
    """
    own = [texts[prompt_id] for prompt_id in prompt_ids]
    scores = score(own, own)
    places = {prompt_id: place for place, prompt_id in enumerate(prompt_ids)}
    rows = _rows_at_once(len(prompt_ids))
    start, chunk = 0, scores(0, min(rows, len(prompt_ids)))

    def find(prompt_id: str) -> Iterator[str]:
        nonlocal start, chunk
        place = places[prompt_id]
        if not start <= place < start + rows:
            start = place // rows * rows
            chunk = scores(start, min(start + rows, len(prompt_ids)))
        row = chunk[place - start].copy()
        row[place] = -np.inf
        while row[best := int(row.argmax())] > -np.inf:
            yield prompt_ids[best]
            row[best] = -np.inf

    return find


def nearest_documents(queries: Sequence[str], documents: Sequence[str], depth: int, score: Score) -> list[list[int]]:
    """For each query the places of at most `depth` documents, by falling score, the first of equals first."""
    scores, rows = score(queries, documents), _rows_at_once(len(documents))
    chunks = (scores(start, min(start + rows, len(queries))) for start in range(0, len(queries), rows))
    return [_top(row, min(depth, len(documents))) for chunk in chunks for row in chunk]


def _top(row: NDArray[np.float32], depth: int) -> list[int]:
    """Places of the `depth` highest values above minus infinity, the first of equals first."""
    least = np.partition(row, len(row) - depth)[len(row) - depth]
    candidates = np.flatnonzero((row >= least) & (row > -np.inf))
    order = np.argsort(-row[candidates], kind="stable")[:depth]
    places: list[int] = candidates[order].tolist()
    return places


def _rows_at_once(documents: int) -> int:
    """Of how many queries the scores may exist at one time."""
    return max(1, _CHUNK_ELEMENTS // max(1, documents))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
