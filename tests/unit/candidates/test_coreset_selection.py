import numpy as np
import pytest
from candidate_rows import candidates
from hypothesis import given, settings
from hypothesis import strategies as st

from larpo_lib.candidates.ranking import best_first
from larpo_lib.candidates.selections.coreset import Coreset, CoresetConfig, worst_of_clusters
from larpo_lib.candidates.similarity import by_embedding

VECTORS = {"best": (1, 0, 0), "a": (1, 0.1, 0), "b": (1, 0.2, 0), "c": (0, 1, 0.1), "d": (0, 1, 0.2), "e": (0.1, 0, 1)}


class _Vectors:
    """A retriever of known embeddings."""

    def scores(self, queries, documents):
        return by_embedding(queries, documents, lambda texts: np.array([VECTORS[text] for text in texts], np.float32))

    def cut(self):
        return {"cut_for_embedding": 2}


def _ordered(names):
    return best_first(candidates("p0", {name: float(-place) for place, name in enumerate(names)}))


@pytest.mark.parametrize(
    ("names", "count", "expected"),
    [
        (["best", "a", "b", "c", "d", "e"], 3, "b d e"),  # one of each direction: the worst
        (["best", "e", "d", "c", "b", "a"], 3, "e c a"),
        (
            ["best", "a", "b", "c", "d", "e"],
            2,
            "c e",
        ),  # centres e and b (.098); d: .192 to b, .195 to e
        (["best", "a", "b"], 3, "a b"),
        (["best"], 3, ""),
    ],
)
def test_of_each_cluster_the_worst_is_taken(names, count, expected):
    chosen = Coreset(count, _Vectors())(_ordered(names))
    assert " ".join(row["response"] for row in chosen) == f"best {expected}".rstrip()


def test_words_tell_clusters_apart_without_a_model():
    texts = ["x", "the answer is four", "I think the answer is four", "no idea at all", "no idea, sorry"]
    chosen = CoresetConfig(negatives=2).select(_ordered(texts))
    assert [row["response"] for row in chosen] == ["x", texts[2], texts[4]]


def test_what_ties_with_the_best_is_no_negative():
    ordered = best_first(candidates("p0", {"best": 1.0, "a": 1.0, "c": 0.0}))
    assert [row["reward"] for row in Coreset(3, _Vectors())(ordered)] == [1.0, 0.0]


@settings(max_examples=30)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 99))
def test_there_are_as_many_clusters_as_asked_for_and_the_worst_is_always_one(size, count, seed):
    vectors = np.random.default_rng(seed).normal(size=(size, 2))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = worst_of_clusters(vectors @ vectors.T, min(size, count))
    assert len(set(places)) == min(size, count)
    assert places == sorted(places)
    assert places[-1] == size - 1


def test_equal_responses_still_make_clusters():
    assert worst_of_clusters(np.ones((3, 3)), 2) == [1, 2]
