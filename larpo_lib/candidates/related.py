"""Related prompts: by the words they share (BM25), or by the cosine of their embeddings.

Scores of all pairs never exist at one time: they are worked out for some prompts at a time, in prompt order. So whoever
asks for the neighbours of one prompt after another, in that order, has every score worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from larpo_lib.candidates import similarity
from larpo_lib.candidates.similarity import Scores, rows_at_once

Neighbours = Callable[[str], Iterator[str]]
"""From a prompt_id to other prompt_ids, the preferred ones first."""

Relate = Callable[[Sequence[str], Mapping[str, str]], Neighbours]
"""From prompt_ids and the text of each to their neighbours."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""From texts to one vector each, (N, D), not necessarily of length 1."""


def by_words(prompt_ids: Sequence[str], texts: Mapping[str, str]) -> Neighbours:
    """Other prompts by falling BM25 score against the prompt's text; those that share no word with it are left out.

    Lucene's BM25 (Kamphuis et al. 2020). Equal scores go by place in `prompt_ids`.
    """
    own = [texts[prompt_id] for prompt_id in prompt_ids]
    return _neighbours(prompt_ids, similarity.by_words(own, own))


def by_embedding(prompt_ids: Sequence[str], texts: Mapping[str, str], embed: Embed) -> Neighbours:
    """Other prompts by falling cosine of their embeddings, to five decimals; equal ones by place in `prompt_ids`."""
    vectors = np.asarray(embed([texts[prompt_id] for prompt_id in prompt_ids]), dtype=np.float32)
    assert vectors.shape[0] == len(prompt_ids), "one vector a text"
    return _neighbours(prompt_ids, similarity.by_angle(vectors, vectors))


def _neighbours(prompt_ids: Sequence[str], scores: Scores) -> Neighbours:
    """Other prompts by falling score, the first of equals first; minus infinity is no neighbour."""
    places = {prompt_id: place for place, prompt_id in enumerate(prompt_ids)}
    rows = rows_at_once(len(prompt_ids))
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
