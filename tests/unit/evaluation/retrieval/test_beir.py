import gzip
import json
from pathlib import Path

import pytest
from tiny_world import write_jsonl

from larpo_lib.errors import DataError
from larpo_lib.evaluation.retrieval.documents import of_documents
from larpo_lib.evaluation.retrieval.files import Collection, read_collection
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.statistics.estimates import Bootstrap

QUERIES: list[dict[str, object]] = [
    {"_id": "q1", "text": "cat?"},
    {"_id": "q2", "text": "dog?"},
    {"_id": "q3", "text": "-"},
]
CORPUS: list[dict[str, object]] = [
    {"_id": "d1", "title": "Cats", "text": "purr"},
    {"_id": "d2", "title": "", "text": "bark"},
]
HEAD = "query-id\tcorpus-id\tscore\n"


def read(folder: Path, judgements: str, name: str = "test.tsv") -> Collection:
    queries, corpus = write_jsonl(folder / "queries.jsonl", QUERIES), write_jsonl(folder / "corpus.jsonl", CORPUS)
    (folder / name).write_text(judgements)
    return read_collection(queries, corpus, folder / name)


@pytest.mark.parametrize("head", [HEAD, ""])
def test_a_collection_is_read_and_what_is_left_out_is_counted(tmp_path: Path, head: str) -> None:
    found = read(tmp_path, head + "q1\td1\t1\nq1\td2\t0\nq2\td9\t2\nq2\td2\t1\n")
    assert found.queries == {"q1": "cat?", "q2": "dog?"}
    assert found.documents == {"d1": "Cats purr", "d2": "bark"}
    assert found.relevant == {"q1": {"d1"}, "q2": {"d2"}}
    assert found.counts == {
        "queries_without_relevant_dropped": 1,
        "relevant_not_in_corpus_dropped": 1,
        "judged_irrelevant": 1,
    }


def test_judgements_may_be_json_lines(tmp_path: Path) -> None:
    rows = [{"query-id": "q2", "corpus-id": "d1", "score": 1.0}]
    found = read(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "test.jsonl")
    assert found.relevant == {"q2": {"d1"}}


def test_files_may_be_compressed(tmp_path: Path) -> None:
    for name, rows in (("queries", QUERIES), ("corpus", CORPUS)):
        plain = write_jsonl(tmp_path / f"{name}.jsonl", rows)
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "r.tsv").write_text(HEAD + "q1\td1\t1\n")
    found = read_collection(tmp_path / "queries.jsonl.gz", tmp_path / "corpus.jsonl.gz", tmp_path / "r.tsv")
    assert found.relevant == {"q1": {"d1"}}


@pytest.mark.parametrize(
    ("judgements", "problem"),
    [
        ("q9\td1\t1\n", "row 1: names the query 'q9', which is not in"),
        ("q1\td1\tmuch\n", "row 1: is not a judgement"),
        ("q1\td1\n", "row 1: is not a judgement"),
        ("q1\td1\t0\n", "no query has a relevant document"),
    ],
)
def test_bad_judgements_are_told(tmp_path: Path, judgements: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read(tmp_path, judgements)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"text": "x"}], "row 1: has no _id or no text"),
        ([{"_id": "q1", "text": "x"}, {"_id": "q1", "text": "y"}], "row 2, field '_id': repeats the id 'q1'"),
    ],
)
def test_bad_texts_are_told(tmp_path: Path, rows: list[dict[str, object]], problem: str) -> None:
    queries, corpus = write_jsonl(tmp_path / "queries.jsonl", rows), write_jsonl(tmp_path / "corpus.jsonl", CORPUS)
    (tmp_path / "r.tsv").write_text(HEAD + "q1\td1\t1\n")
    with pytest.raises(DataError, match=problem):
        read_collection(queries, corpus, tmp_path / "r.tsv")


def test_a_query_does_not_find_itself_as_in_beir(tmp_path: Path) -> None:
    """By their words q1 is nearest, then d1, then d2. For the query q1, `ignore_identical_ids` leaves d1 and d2."""
    corpus = [
        {"_id": "q1", "title": "", "text": "cats are good pets for small flats"},
        {"_id": "d1", "title": "", "text": "cats are bad pets for flats"},
        {"_id": "d2", "title": "", "text": "cats"},
        {"_id": "d3", "title": "", "text": "trains run late"},
    ]
    queries = [{"_id": "q1", "text": corpus[0]["text"]}, {"_id": "q2", "text": "cats are good pets for small flats"}]
    files = {"queries": write_jsonl(tmp_path / "queries.jsonl", queries)}
    files |= {"corpus": write_jsonl(tmp_path / "corpus.jsonl", corpus), "relevance": tmp_path / "relevance.tsv"}
    files["relevance"].write_text(HEAD + "q1\td1\t1\nq1\td2\t1\nq2\td1\t1\nq2\tq1\t1\n")
    config = RetrievalConfig(depths=(1, 2, 4), resamples=20)
    found = of_documents(config, files, Bootstrap.of(config))
    assert found.counts["queries_in_corpus"] == 1
    recalls = [found.values[f"bm25_recall_at_{n}"] for n in config.depths]
    assert recalls == [{"q1": 0.5, "q2": 0.5}, {"q1": 1.0, "q2": 1.0}, {"q1": 1.0, "q2": 1.0}]
