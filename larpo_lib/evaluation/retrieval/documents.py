"""Retrievers of documents, on the axes on which a policy is drawn as a retriever of responses."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from larpo_lib.candidates.similarity import nearest_documents
from larpo_lib.config import RetrieverConfig
from larpo_lib.evaluation.retrieval import BENCHMARK
from larpo_lib.evaluation.retrieval.files import Collection, read_collection
from larpo_lib.evaluation.retrieval.ranking import TITLE, X_LABEL
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.reporting.evaluation import Curve, EvaluationReport, Score, Table, mean_curve
from larpo_lib.retrievers import make_retriever
from larpo_lib.statistics.estimates import Bootstrap, mean

HITS = "At least one of N"


def of_documents(config: RetrievalConfig, inputs: Mapping[str, Path], bootstrap: Bootstrap) -> EvaluationReport:
    """What retrievers of documents find for the queries."""
    collection = read_collection(inputs["queries"], inputs["corpus"], inputs["relevance"])
    sizes = {"queries": len(collection.queries), "documents": len(collection.documents)}
    counts = {**sizes, **collection.counts, "queries_in_corpus": _in_corpus(collection)}
    scores: list[Score] = []
    drawn: list[Curve] = []
    values: dict[str, Mapping[str, float]] = {}
    table: list[list[str | float | int | None]] = []
    several = any(len(found) > 1 for found in collection.relevant.values())
    for key, name, retriever in _named(config):
        ranked, cut = _search(retriever, collection, max(config.depths))
        recall, hits = found_documents(ranked, collection.relevant, sorted(config.depths))
        if cut is not None:
            counts[f"{key}_texts_cut"] = cut
        values |= {f"{key}_recall_at_{n}": by_query for n, by_query in recall.items()}
        words = {"key": key, "retriever": name}
        scores += [BENCHMARK.mean("{key}_recall_at_{n}", values, bootstrap, n=n, **words) for n in recall]
        drawn.append(mean_curve(TITLE, X_LABEL, f"{name}, Recall@N", recall, bootstrap))
        if several:
            drawn.append(mean_curve(HITS, X_LABEL, name, hits, bootstrap))
        table += [[name, n, *(mean([*found[n].values()]) for found in (recall, hits))] for n in sorted(config.depths)]
    return EvaluationReport(
        benchmark="",
        title="",
        policy="",
        judged_by="documents by the relevance file",
        scores=scores,
        counts=counts,
        values=values,
        curves=drawn,
        tables=[Table("Retrievers of documents", ["retriever", "N", "Recall@N", "at least one of N"], table)],
        caveats=[
            "Recall@N of documents and Pass@N of responses share the same axes only to compare their shape: "
            "queries and judges differ, so which curve is higher means nothing.",
        ],
    )


def found_documents(
    ranked: Mapping[str, Sequence[str]], relevant: Mapping[str, frozenset[str]], depths: Sequence[int]
) -> tuple[dict[int, dict[str, float]], dict[int, dict[str, float]]]:
    """Recall@N and hits at N of a retriever, by N and query.

    Args:
        ranked: document ids of each query, the best first.
        relevant: of each query, at least one.
        depths: the Ns.

    Returns:
        Share of the relevant documents among the first N; and 1 where at least one is, else 0, which is what Pass@N is
        of responses.
    """
    recall: dict[int, dict[str, float]] = {n: {} for n in depths}
    hits: dict[int, dict[str, float]] = {n: {} for n in depths}
    for query, documents in ranked.items():
        for n in depths:
            among = len(relevant[query].intersection(documents[:n]))
            recall[n][query] = among / len(relevant[query])
            hits[n][query] = float(among > 0)
    return recall, hits


def keys(config: RetrievalConfig) -> list[str]:
    """What stands before the metrics of each retriever."""
    return [key for key, _, _ in _named(config)]


def _named(config: RetrievalConfig) -> Iterator[tuple[str, str, RetrieverConfig]]:
    """Each retriever with a key for metrics and a name for people; of several of a kind the later ones are numbered."""
    seen: dict[str, int] = {}
    for retriever in config.retrievers:
        seen[retriever.type] = seen.get(retriever.type, 0) + 1
        number = seen[retriever.type]
        key = retriever.type if number == 1 else f"{retriever.type}_{number}"
        yield key, retriever.title, retriever


def _search(retriever: RetrieverConfig, collection: Collection, depth: int) -> tuple[dict[str, list[str]], int | None]:
    """Document ids by query, the best first; and how many texts were cut, where that is known.

    A document with the id of the query is the query itself, and is left out, as BEIR does by default.
    """
    queries, documents = list(collection.queries.values()), list(collection.documents.values())
    finder = make_retriever(retriever)
    places = nearest_documents(queries, documents, depth + bool(_in_corpus(collection)), finder.scores)
    cut = next(iter(finder.cut().values()), None)
    ids = list(collection.documents)
    found = zip(collection.queries, places, strict=True)
    named = {query: [ids[place] for place in ranked if ids[place] != query] for query, ranked in found}
    return {query: ranked[:depth] for query, ranked in named.items()}, cut


def _in_corpus(collection: Collection) -> int:
    """Queries whose id is that of a document, too."""
    return len(collection.queries.keys() & collection.documents.keys())
