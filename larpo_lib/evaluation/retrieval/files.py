"""Queries, a corpus and relevance judgements in the form of BEIR (Thakur et al. 2021, arXiv 2104.08663) and MTEB."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.errors import DataError
from larpo_lib.sources.reading import RawRow, read_file

_TEXTS = "A row has _id and text; a document can also have a title"
_RELEVANCE = "A row has query-id, corpus-id and score, separated by tabs, or as JSON Lines"


@dataclass(frozen=True)
class Collection:
    """What retrievers are measured on.

    Attributes:
        queries: those with a relevant document in the corpus, by id.
        documents: title and text, by id.
        relevant: of each query, ids of the documents that are relevant to it.
        counts: `queries_without_relevant_dropped`, `relevant_not_in_corpus_dropped`, `judged_irrelevant`.
    """

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    relevant: Mapping[str, frozenset[str]]
    counts: Mapping[str, int]


def read_collection(queries: Path, corpus: Path, relevance: Path) -> Collection:
    """Read queries.jsonl, corpus.jsonl and a relevance file (.tsv, or .jsonl), compressed or not.

    Raises:
        DataError: a file is malformed, an id stands twice, or no query has a relevant document.
    """
    asked, documents = _texts(queries), _texts(corpus)
    relevant: dict[str, set[str]] = {}
    lost = irrelevant = 0
    for row in _judgements(relevance):
        query, document, score = _judgement(row, relevance)
        if query not in asked:
            raise DataError(
                f"names the query '{query}', which is not in {queries}",
                path=relevance,
                row=row.number,
                remedy="Pass the queries of the relevance file",
            )
        if score <= 0:
            irrelevant += 1
        elif document not in documents:
            lost += 1
        else:
            relevant.setdefault(query, set()).add(document)
    if not relevant:
        raise DataError("no query has a relevant document in the corpus", path=relevance, remedy=_RELEVANCE)
    return Collection(
        {query: text for query, text in asked.items() if query in relevant},
        documents,
        {query: frozenset(found) for query, found in relevant.items()},
        {
            "queries_without_relevant_dropped": len(asked) - len(relevant),
            "relevant_not_in_corpus_dropped": lost,
            "judged_irrelevant": irrelevant,
        },
    )


def _texts(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in read_file(path, str(path)).rows:
        name, text, title = row.values.get("_id"), row.values.get("text"), row.values.get("title")
        if not isinstance(name, str | int) or not isinstance(text, str):
            raise DataError("has no _id or no text", path=path, row=row.number, remedy=_TEXTS)
        if str(name) in found:
            raise DataError(f"repeats the id '{name}'", path=path, row=row.number, field="_id", remedy=_TEXTS)
        found[str(name)] = f"{title} {text}" if isinstance(title, str) and title else text
    return found


def _judgements(path: Path) -> list[RawRow]:
    if path.suffix != ".tsv":
        return [*read_file(path, str(path)).rows]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = [(number, line) for number, line in enumerate(csv.reader(file, delimiter="\t"), start=1) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read: {error}", path=path, remedy=_RELEVANCE) from error
    names = ("query-id", "corpus-id", "score")
    return [RawRow(number, dict(zip(names, line, strict=False))) for number, line in lines if line[0] != names[0]]


def _judgement(row: RawRow, path: Path) -> tuple[str, str, float]:
    values: list[Any] = [row.values.get(name) for name in ("query-id", "corpus-id", "score")]
    try:
        query, document, score = values
        if query is None or document is None:
            raise ValueError("an id is missing")
        return str(query), str(document), float(score)
    except (TypeError, ValueError):
        raise DataError(f"is not a judgement: {values}", path=path, row=row.number, remedy=_RELEVANCE) from None
