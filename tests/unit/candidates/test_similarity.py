"""Neighbours of prompts and documents for queries, against full sorts, bm25s, and BM25 by hand."""

import gzip
import json
import re
import tracemalloc
from collections import Counter
from functools import partial
from itertools import islice

import bm25s
import numpy as np
import pytest
from candidate_rows import bm25, shared_data
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.candidates import related, similarity
from larpo_lib.candidates.related import SharedWords, by_angle, by_shared_words, neighbours
from larpo_lib.candidates.similarity import by_embedding, by_words, nearest_documents

IDS = ["p0", "p1", "p2", "p3"]
TEXTS = dict(zip(IDS, IDS, strict=True))


def near(ids, texts, embed):
    return neighbours(ids, texts, partial(by_angle, embed=embed))


def embedded(vectors):
    return near(IDS[: len(vectors)], TEXTS, lambda _: np.array(vectors, dtype=np.float32))


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

    find = near(["b", "a"], {"a": "text a", "b": "text b"}, embed)
    assert list(find("a")) == ["b"]
    assert list(find("b")) == ["a"]
    assert seen == [["text b", "text a"]]


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=9), st.integers(1, 30))
def test_chunks_change_no_neighbour(vectors, elements):
    ids = [str(i) for i in range(len(vectors))]
    unit = [np.array(v) / (np.linalg.norm(v) or 1) for v in vectors]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_CHUNK_ELEMENTS", elements)
        find = near(ids, dict(zip(ids, ids, strict=True)), lambda _: np.array(vectors, dtype=np.float32))
        for i in reversed(range(len(ids))):  # the order that chunks are not made for
            others = [j for j in range(len(ids)) if j != i]
            expected = sorted(others, key=lambda j: (-round(float(unit[i] @ unit[j]), 4), j))
            assert list(find(ids[i])) == [ids[j] for j in expected]


def test_all_pairs_are_never_in_memory():
    vectors = np.random.default_rng(0).normal(size=(6000, 16)).astype(np.float32)
    ids = [str(i) for i in range(len(vectors))]
    tracemalloc.start()
    find = near(ids, dict(zip(ids, ids, strict=True)), lambda _: vectors)
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
    texts = [text for text in published_texts(400) if text.isascii()]
    ids = [f"{i:03d}" for i in range(len(texts))]
    find = neighbours(ids, dict(zip(ids, texts, strict=True)), by_shared_words)
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


def published_texts(count):
    with gzip.open(shared_data("ultrafeedback/prompts_5000.jsonl.gz"), "rt", encoding="utf-8") as file:
        return [json.loads(next(file))["context_messages"][0]["content"] for _ in range(count)]


def test_rare_words_choose_texts_that_are_as_near_as_the_nearest(monkeypatch):
    texts = published_texts(400)
    bags = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    whole = SharedWords(texts)
    nearest = [next(whole.ranking(place)) for place in range(400)]
    assert whole.limited == 0
    monkeypatch.setattr(related, "_SCORED", 400)
    monkeypatch.setattr(related, "_COMPARED", 20)
    limited = SharedWords(texts)
    found = [next(limited.ranking(place)) for place in range(400)]
    assert limited.limited > 300
    assert np.mean(np.array(found) == nearest) > 0.9
    for place in (0, 200, 399):  # of those that are compared, all words decide
        scores = bm25(bags[place], bags)
        assert scores[found[place]] >= 0.95 * scores[nearest[place]]
        order = [scores[other] for other in islice(limited.ranking(place), 20)]
        assert order == pytest.approx(sorted(order, reverse=True), rel=1e-5)


def test_texts_that_share_frequent_words_alone_are_related_too(monkeypatch):
    monkeypatch.setattr(related, "_SCORED", 2)
    monkeypatch.setattr(related, "_COMPARED", 3)
    shared = SharedWords([f"what is {number} ?" for number in range(10)])
    assert [[*shared.ranking(place)] for place in (0, 8)] == [[1, 2, 3], [0, 1, 9]]
    assert shared.limited == 10
    everywhere = SharedWords(["who is who"] * 5)
    assert [*everywhere.ranking(3)] == [0, 1, 4]
    assert everywhere.limited == 5


DOCUMENTS = ["the red cat", "a red red hat in the hall", "dogs and cats", "the red cat", "7 + 5"]
BAGS = [Counter(document.replace("+", " ").split()) for document in DOCUMENTS]


@pytest.mark.parametrize("query", ["red cat", "red red hall", "the unknown cat", "7"])
def test_documents_by_words_are_in_the_order_of_the_formula(query):
    scores = bm25(Counter(query.split()), BAGS)
    expected = [i for i in sorted(range(5), key=lambda i: (-round(scores[i], 6), i)) if scores[i] > 0]
    assert nearest_documents([query], DOCUMENTS, 10, by_words) == [expected]
    assert nearest_documents([query], DOCUMENTS, 2, by_words) == [expected[:2]]


def test_equal_scores_go_by_place_and_no_shared_word_finds_nothing():
    assert nearest_documents(["cat", "zebra", ""], DOCUMENTS, 3, by_words) == [[0, 3], [], []]
    assert nearest_documents(["cat"], DOCUMENTS, 1, by_words) == [[0]]


CHINESE = ["如何用Python读取CSV文件", "怎样用 Python 读取 CSV 文件", "法国的首都是哪里", "请问法国的首都在哪座城市"]
CHARACTERS = [Counter(re.findall("python|csv|[^ a-z]", text.lower())) for text in CHINESE]


def test_of_scripts_without_spaces_each_character_is_a_word():
    shared = SharedWords(CHINESE)
    for place, nearest in enumerate([1, 0, 3, 2]):
        scores = bm25(CHARACTERS[place], CHARACTERS)
        assert [i for i in range(4) if scores[i] > 0 and i != place] == [nearest]
        assert list(shared.ranking(place)) == [nearest]
        assert nearest_documents([CHINESE[place]], CHINESE, 4, by_words) == [[place, nearest]]


def test_documents_without_words():
    assert nearest_documents(["cat"], ["", "!"], 3, by_words) == [[]]


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
    whole = nearest_documents(list(queries), list(documents), 5, partial(by_embedding, embed=embed))
    assert whole == expected
    monkeypatch.setattr(similarity, "_CHUNK_ELEMENTS", 60)
    assert nearest_documents(list(queries), list(documents), 5, partial(by_embedding, embed=embed)) == expected
    assert [
        len(row) for row in nearest_documents(list(queries), list(documents), 99, partial(by_embedding, embed=embed))
    ] == [30] * 7
