"""Related prompts: by the words they share (BM25), or by the cosine of their embeddings.

Scores of all pairs never exist at one time: they are worked out for some prompts at a time, in prompt order. So whoever
asks for the neighbours of one prompt after another, in that order, has every score worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Neighbours = Callable[[str], Iterator[str]]
"""From a prompt_id to other prompt_ids, the preferred ones first."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""From texts to one vector each, (N, D), not necessarily of length 1."""

_Scores = Callable[[int, int], NDArray[np.float32]]
"""Scores of the prompts from one place to another against all prompts, (stop - start, N)."""

WORD = r"(?u)\b\w+\b"  # single characters too, else arithmetic would lose its digits
_CHUNK_ELEMENTS = 4_000_000  # scores that exist at one time: 16 MB
DECIMALS = 5  # of a cosine; further ones are rounding of the model and of the product


def by_words(prompt_ids: Sequence[str], texts: Mapping[str, str]) -> Neighbours:
    """Other prompts by falling BM25 score against the prompt's text; those that share no word with it are left out.

    Lucene's BM25 (Kamphuis et al. 2020). Equal scores go by place in `prompt_ids`.
    """
    import bm25s
    from scipy.sparse import csr_array

    # No stop words: the language is not known, and inverse document frequency makes frequent words count little.
    tokens = bm25s.tokenize(
        [texts[prompt_id] for prompt_id in prompt_ids],
        token_pattern=WORD,
        stopwords=None,
        show_progress=False,
    )
    if not tokens.vocab:  # bm25s divides by the mean length
        return lambda _: iter(())
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    # bm25s scores one query at a time, word by word; a product of sparse matrices gives many queries' sums at once.
    found = index.scores
    words = len(found["indptr"]) - 1
    documents = csr_array((found["data"], found["indices"], found["indptr"]), shape=(words, len(prompt_ids)))
    places = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in tokens.ids])
    ends = np.cumsum([0, *(len(ids) for ids in tokens.ids)])
    queries = csr_array((np.ones(len(places), np.float32), places, ends), shape=(len(prompt_ids), words))

    def scores(start: int, stop: int) -> NDArray[np.float32]:
        product: NDArray[np.float32] = (queries[start:stop] @ documents).toarray()
        return np.where(product > 0, product, -np.inf).astype(np.float32)

    return _neighbours(prompt_ids, scores)


def by_embedding(prompt_ids: Sequence[str], texts: Mapping[str, str], embed: Embed) -> Neighbours:
    """Other prompts by falling cosine of their embeddings, to five decimals; equal ones by place in `prompt_ids`."""
    vectors = np.asarray(embed([texts[prompt_id] for prompt_id in prompt_ids]), dtype=np.float32)
    assert vectors.shape[0] == len(prompt_ids), "one vector a text"
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)

    def scores(start: int, stop: int) -> NDArray[np.float32]:
        return np.round(unit[start:stop] @ unit.T, DECIMALS)

    return _neighbours(prompt_ids, scores)


def _neighbours(prompt_ids: Sequence[str], scores: _Scores) -> Neighbours:
    """Other prompts by falling score, the first of equals first; minus infinity is no neighbour."""
    places = {prompt_id: place for place, prompt_id in enumerate(prompt_ids)}
    rows = max(1, _CHUNK_ELEMENTS // max(1, len(prompt_ids)))
    start, chunk = 0, scores(0, min(rows, len(prompt_ids)))

    def neighbours(prompt_id: str) -> Iterator[str]:
        nonlocal start, chunk
        place = places[prompt_id]
        if not start <= place < start + rows:
            start = place // rows * rows
            chunk = scores(start, min(start + rows, len(prompt_ids)))
        own = chunk[place - start].copy()
        own[place] = -np.inf
        while own[best := int(own.argmax())] > -np.inf:
            yield prompt_ids[best]
            own[best] = -np.inf

    return neighbours
