"""Documents for queries, against BM25 by hand and a full sort."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from larpo_lib.candidates import similarity
from larpo_lib.candidates.corpus import by_embedding, by_words

DOCUMENTS = ["the red cat", "a red red hat in the hall", "dogs and cats", "the red cat", "7 + 5"]


def bm25(query: str, documents: list[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's formula, word by word."""
    texts = [document.replace("+", " ").split() for document in documents]
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        counts = Counter(text)
        total = 0.0
        for word in query.split():
            holders = sum(word in other for other in texts)
            idf = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
            total += idf * counts[word] / (counts[word] + k1 * (1 - b + b * len(text) / mean))
        scores.append(total)
    return scores


@pytest.mark.parametrize("query", ["red cat", "red red hall", "the unknown cat", "7"])
def test_documents_by_words_are_in_the_order_of_the_formula(query):
    scores = bm25(query, DOCUMENTS)
    expected = [i for i in sorted(range(5), key=lambda i: (-round(scores[i], 6), i)) if scores[i] > 0]
    assert by_words([query], DOCUMENTS, 10) == [expected]
    assert by_words([query], DOCUMENTS, 2) == [expected[:2]]


def test_equal_scores_go_by_place_and_no_shared_word_finds_nothing():
    assert by_words(["cat", "zebra", ""], DOCUMENTS, 3) == [[0, 3], [], []]
    assert by_words(["cat"], DOCUMENTS, 1) == [[0]]


def test_documents_without_words():
    assert by_words(["cat"], ["", "!"], 3) == [[]]


def test_embeddings_are_the_full_sort_whatever_the_chunk(monkeypatch):
    random = np.random.default_rng(0)
    queries = {str(i): random.normal(size=8) for i in range(7)}
    documents = {f"d{i}": random.normal(size=8) * (1 + i) for i in range(30)}
    vectors = {**queries, **documents}

    def embed(texts):
        return np.array([vectors[text] for text in texts], dtype=np.float32)

    def cosine(a, b):
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    expected = [
        sorted(range(30), key=lambda i: -cosine(query, documents[f"d{i}"]))[:5] for query in queries.values()
    ]  # fmt: skip
    whole = by_embedding(list(queries), list(documents), 5, embed)
    assert whole == expected
    monkeypatch.setattr(similarity, "_CHUNK_ELEMENTS", 60)
    assert by_embedding(list(queries), list(documents), 5, embed) == expected
    assert [len(row) for row in by_embedding(list(queries), list(documents), 99, embed)] == [30] * 7
