import gzip
import json
import tracemalloc

import bm25s
import numpy as np
import pytest
from candidate_rows import shared_data
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.candidates import similarity
from larpo_lib.candidates.related import by_embedding, by_words

IDS = ["p0", "p1", "p2", "p3"]
TEXTS = dict(zip(IDS, IDS, strict=True))


def embedded(vectors):
    return by_embedding(IDS[: len(vectors)], TEXTS, lambda _: np.array(vectors, dtype=np.float32))


def test_embeddings_are_compared_by_angle_not_length():
    find = embedded([[1, 0], [9, 9], [0.1, 0], [-5, 0]])
    assert list(find("p0")) == ["p2", "p1", "p3"]  # cosines 1, 0.71, -1
    assert list(find("p1")) == ["p0", "p2", "p3"]  # 0.71 twice: the first of equals first


def test_a_text_without_direction_is_nobodys_favourite():
    find = embedded([[1, 0], [0, 0], [1, 1], [-1, 0]])
    assert list(find("p0")) == ["p2", "p1", "p3"]
    assert list(find("p1")) == ["p0", "p2", "p3"]


def test_cosines_that_differ_by_rounding_are_equal():
    find = embedded([[1, 0], [1, 2e-7], [1, 1e-7], [1, 0]])
    for prompt_id in IDS:
        assert list(find(prompt_id)) == [other for other in IDS if other != prompt_id]


def test_the_texts_are_embedded_once_and_in_order():
    seen = []

    def embed(texts):
        seen.append(list(texts))
        return np.eye(len(texts), dtype=np.float32)

    find = by_embedding(["b", "a"], {"a": "text a", "b": "text b"}, embed)
    assert list(find("a")) == ["b"]
    assert list(find("b")) == ["a"]
    assert seen == [["text b", "text a"]]


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=9), st.integers(1, 30))
def test_chunks_change_no_neighbour(vectors, elements):
    ids = [str(i) for i in range(len(vectors))]
    unit = [np.array(v) / (np.linalg.norm(v) or 1) for v in vectors]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_CHUNK_ELEMENTS", elements)
        find = by_embedding(ids, dict(zip(ids, ids, strict=True)), lambda _: np.array(vectors, dtype=np.float32))
        for i in reversed(range(len(ids))):  # the order that chunks are not made for
            others = [j for j in range(len(ids)) if j != i]
            expected = sorted(others, key=lambda j: (-round(float(unit[i] @ unit[j]), 4), j))
            assert list(find(ids[i])) == [ids[j] for j in expected]


def test_all_pairs_are_never_in_memory():
    vectors = np.random.default_rng(0).normal(size=(6000, 16)).astype(np.float32)
    ids = [str(i) for i in range(len(vectors))]
    tracemalloc.start()
    find = by_embedding(ids, dict(zip(ids, ids, strict=True)), lambda _: vectors)
    nearest = [next(find(prompt_id)) for prompt_id in ids]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6  # all cosines take 144 MB
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit[:50] @ unit.T
    cosines[np.arange(50), np.arange(50)] = -2
    found = cosines[np.arange(50), [int(other) for other in nearest[:50]]]
    assert found == pytest.approx(cosines.max(axis=1), abs=1e-5)


def test_words_give_what_bm25s_finds_query_by_query():
    with gzip.open(shared_data("ultrafeedback/prompts_5000.jsonl.gz"), "rt", encoding="utf-8") as file:
        texts = [json.loads(next(file))["context_messages"][0]["content"] for _ in range(400)]
    ids = [f"{i:03d}" for i in range(len(texts))]
    find = by_words(ids, dict(zip(ids, texts, strict=True)))
    tokens = bm25s.tokenize(texts, token_pattern=r"(?u)\b\w+\b", stopwords=None, show_progress=False)
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    for place, prompt_id in enumerate(ids):
        scores = index.get_scores_from_ids(tokens.ids[place])
        scores[place] = 0
        found = [int(other) for other in find(prompt_id)]
        assert set(found) == set(np.flatnonzero(scores > 0))
        ranked = scores[found]
        assert np.all(np.diff(ranked) <= 1e-5 * ranked[:-1])  # sums in another order differ in the last digit
