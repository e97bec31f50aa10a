"""The benchmark `retrieval`: the policy as a retriever of responses, and retrievers of documents on the same axes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, Work, digest, produce, read_manifest
from larpo_lib.candidates import corpus as search
from larpo_lib.config import Bm25Config, EmbeddingConfig
from larpo_lib.embeddings import SentenceEmbedder, check_embedding_model
from larpo_lib.errors import ArtifactError, ConfigError, DataError
from larpo_lib.evaluation.estimates import Bootstrap, Values, mean_score
from larpo_lib.evaluation.retrieval.files import Collection, read_collection
from larpo_lib.evaluation.retrieval.ranking import (
    HITS,
    TITLE,
    Response,
    curves,
    distinct,
    draws,
    found_documents,
    orders,
    retriever_curve,
    scores_of_draws,
    scores_of_orders,
)
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.policies.own_logps import load_logp_scorer
from larpo_lib.recorded import RecordedEvaluation, read_settings
from larpo_lib.reporting.benchmark import write
from larpo_lib.reporting.evaluation import Curve, EvaluationReport, Score, Table
from larpo_lib.shards import PartFn, PartResult, map_in_parts
from larpo_lib.tables import PromptTable, Row, read_table

_COLUMNS = (
    "prompt_id", "candidate_id", "sample_index", "temperature", "response", "reward", "list_relative", "correct",
)  # fmt: skip
_TOGETHER = "Give --policy, --prompts and --evaluated, or --queries, --corpus and --relevance, or all six"


def run(
    config: RetrievalConfig,
    *,
    policy: Path | None,
    prompts: Path | None,
    evaluated: Path | None,
    queries: Path | None,
    corpus: Path | None,
    relevance: Path | None,
    evaluation: Path,
) -> Metrics:
    """Publish how well a policy retrieves good responses, how well retrievers retrieve documents, or both.

    Args:
        config: what the policy ranks by, which retrievers, at which N.
        policy: directory of the policy that `evaluated` was made with.
        prompts: artifact of the prompts that it was made from.
        evaluated: artifact of the step `evaluate`.
        queries, corpus, relevance: files in the form of BEIR and MTEB.
        evaluation: artifact to publish; `logps.parquet` holds the policy's log-probabilities.

    Raises:
        ConfigError: some of the inputs that go together are missing.
        ArtifactError: `evaluated` was made with another policy or from other prompts.
        DataError: a file is malformed, or the evaluation has no sampled response.
    """
    own = {"policy": policy, "prompts": prompts, "evaluated": evaluated}
    others = {"queries": queries, "corpus": corpus, "relevance": relevance}
    inputs = {name: path for name, path in {**own, **others}.items() if path is not None}
    halves = [sum(name in inputs for name in half) for half in (own, others)]
    if sorted(halves) not in ([0, 3], [3, 3]):
        raise ConfigError(f"retrieval cannot go by {', '.join(inputs) or 'nothing'} alone", remedy=_TOGETHER)
    if policy is not None and prompts is not None and evaluated is not None:
        _check_origin(evaluated, {"policy": policy, "prompts": prompts})
    models = [retriever for retriever in config.retrievers if isinstance(retriever, EmbeddingConfig)]
    if queries is not None:
        for number, retriever in enumerate(models):
            check_embedding_model(retriever)
            inputs[f"retriever_{number}"] = Path(retriever.path)

    def make(work: Work) -> Metrics:
        return _evaluate(config, inputs, work)

    return produce("retrieval", config, inputs, evaluation, make)


def _evaluate(config: RetrievalConfig, inputs: Mapping[str, Path], work: Work) -> Metrics:
    bootstrap = Bootstrap(config.confidence, config.resamples, config.seed)
    parts = []
    if "evaluated" in inputs:
        parts.append(_policy(config, inputs, bootstrap, work))
    if "queries" in inputs:
        parts.append(_retrievers(config, inputs, bootstrap))
    whole = EvaluationReport(
        benchmark="retrieval",
        title="The policy as a retriever" if "policy" in inputs else "Retrievers of documents",
        policy=digest(inputs["policy"])[:16] if "policy" in inputs else "none",
        judged_by="; ".join(part.judged_by for part in parts),
        version=f"ranked by {config.rank_by}",
        scores=[score for part in parts for score in part.scores],
        counts={name: count for part in parts for name, count in part.counts.items()},
        values={name: by_item for part in parts for name, by_item in part.values.items()},
        tables=[table for part in parts for table in part.tables],
        curves=[curve for part in parts for curve in part.curves],
        caveats=[caveat for part in parts for caveat in part.caveats],
        confidence=config.confidence,
        distributions=("reward", "kendall_tau"),
        headline=_headline([score.name for part in parts for score in part.scores]),
    )
    return write(whole, work.data)


def _headline(names: Sequence[str]) -> list[str]:
    """One number of each kind: of the largest N where there are several."""
    largest = {re.sub(r"\d+(_reward)?$", "", name): name for name in names}
    wanted = ("pass_at_", "best_of_", "kendall_tau", "ndcg", "bm25_recall_at_", "embedding_recall_at_")
    return [largest[kind] for kind in wanted if kind in largest]


def _policy(config: RetrievalConfig, inputs: Mapping[str, Path], bootstrap: Bootstrap, work: Work) -> EvaluationReport:
    """What the evaluation and the policy's log-probabilities say."""
    rows = [row for row in read_table(inputs["evaluated"], "evaluated", _COLUMNS) if row["temperature"] != 0.0]
    if not rows:
        raise DataError("holds no sampled response", path=inputs["evaluated"], remedy="Evaluate on at least one prompt")
    logps = _logps(config, inputs, work)
    prompts = _responses(rows, logps)
    references = {row["prompt_id"]: row["reference"] for row in read_table(inputs["prompts"], "prompts")}
    drawn, ordered = draws(prompts, references), orders(prompts, per_token=config.rank_by == "logprob_per_token")
    lists = {item: distinct(group) for item, group in prompts.items()}
    recorded = read_settings(inputs["evaluated"], RecordedEvaluation)
    judge = "nobody" if recorded.judge is None else recorded.judge.type
    reranker = read_table(inputs["evaluated"], "evaluated", ["reranker"])[0]["reranker"]
    return EvaluationReport(
        benchmark="",
        title="",
        policy="",
        judged_by=f"rewards by {reranker}, right or wrong by {judge}",
        scores=[*scores_of_draws(drawn, bootstrap), *scores_of_orders(ordered, bootstrap)],
        counts={
            "prompts": len(prompts),
            "responses": len(rows),
            "responses_without_judgement": sum(row["correct"] is None for row in rows),
            "responses_without_logprob_dropped": sum(one.logp is None for group in prompts.values() for one in group),
            "repeated_responses_dropped": sum(
                sum(one.logp is not None for one in group) - len(lists[item]) for item, group in prompts.items()
            ),
            "prompts_without_order": len(prompts) - len(ordered["kendall_tau"]),
            "prompts_without_right_response": len(prompts) - len(ordered.get("recall_at_1", {})),
        },
        values={**drawn, **{name: by_item for name, by_item in ordered.items() if by_item}},
        curves=curves({**drawn, **ordered}, bootstrap),
        caveats=[
            f"Responses were sampled at temperature {recorded.temperature}: Pass@N, rewards and orders at"
            " another temperature, n or length limit are not comparable.",
        ],
    )


def _responses(rows: Sequence[Row], logps: Mapping[tuple[str, int], Row]) -> dict[str, list[Response]]:
    found: dict[str, list[Response]] = {}
    for row in sorted(rows, key=lambda row: (row["prompt_id"], row["sample_index"])):
        scored = logps.get((row["prompt_id"], row["sample_index"]))
        logp, tokens = (None, 0) if scored is None else (scored["logp"], scored["num_tokens"])
        found.setdefault(row["prompt_id"], []).append(
            Response(row["candidate_id"], row["response"], row["reward"], row["correct"], logp, tokens)
        )
    return found


def _logps(config: RetrievalConfig, inputs: Mapping[str, Path], work: Work) -> dict[tuple[str, int], Row]:
    """The log-probabilities of the sampled responses, by prompt and `sample_index`."""
    evaluated = inputs["evaluated"]
    output = work.data / "logps.parquet"
    scratch = work.scratch / "logps"
    scratch.mkdir(exist_ok=True)
    map_in_parts(
        "retrieval, scoring",
        [*PromptTable(evaluated, "evaluated")],
        config.part_prompts,
        partial(_scoring, config, inputs["policy"], inputs["prompts"], evaluated),
        schema="logps",
        scratch=scratch,
        output=output,
        processes=config.processes,
    )
    return {(row["prompt_id"], row["sample_index"]): row for row in read_table(output, "logps")}


@contextmanager
def _scoring(config: RetrievalConfig, policy: Path, prompts: Path, evaluated: Path) -> Iterator[PartFn]:
    asked, answers = PromptTable(prompts, "prompts"), PromptTable(evaluated, "evaluated")
    score = load_logp_scorer(policy, config.model, config.batch_tokens)

    def make(prompt_ids: Sequence[str]) -> PartResult:
        pairs: list[Any] = [
            (asked[prompt_id][0], row)
            for prompt_id in prompt_ids
            for row in answers[prompt_id]
            if row["temperature"] != 0.0
        ]
        rows = [
            {
                "prompt_id": row["prompt_id"],
                "candidate_id": row["candidate_id"],
                "sample_index": row["sample_index"],
                "logp": found[0],
                "num_tokens": found[1],
            }
            for (_, row), found in zip(pairs, score(pairs), strict=True)
            if found is not None
        ]
        return rows, {}

    yield make


def _retrievers(config: RetrievalConfig, inputs: Mapping[str, Path], bootstrap: Bootstrap) -> EvaluationReport:
    """What retrievers of documents find for the queries."""
    collection = read_collection(inputs["queries"], inputs["corpus"], inputs["relevance"])
    counts = {"queries": len(collection.queries), "documents": len(collection.documents), **collection.counts}
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
        scores += [_recall(key, name, n, by_query, bootstrap) for n, by_query in recall.items()]
        drawn.append(retriever_curve(TITLE, f"{name}, Recall@N", recall, bootstrap))
        if several:
            drawn.append(retriever_curve(HITS, name, hits, bootstrap))
        table += [[name, n, _mean(recall[n]), _mean(hits[n])] for n in sorted(config.depths)]
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
            "Recall@N of documents and Pass@N of responses are drawn on the same axes to compare their shape: they are"
            " about other queries and other judges, so which one is higher says nothing.",
        ],
    )


def _named(config: RetrievalConfig) -> Iterator[tuple[str, str, Bm25Config | EmbeddingConfig]]:
    """Each retriever with a key for metrics and a name for people; of several of a kind the later ones are numbered."""
    seen: dict[str, int] = {}
    for retriever in config.retrievers:
        seen[retriever.type] = seen.get(retriever.type, 0) + 1
        number = seen[retriever.type]
        key = retriever.type if number == 1 else f"{retriever.type}_{number}"
        yield key, "BM25" if isinstance(retriever, Bm25Config) else Path(retriever.path).name, retriever


def _search(
    retriever: Bm25Config | EmbeddingConfig, collection: Collection, depth: int
) -> tuple[dict[str, list[str]], int | None]:
    """Document ids by query, the best first; and how many texts were cut, where that is known."""
    queries, documents = list(collection.queries.values()), list(collection.documents.values())
    cut = None
    if isinstance(retriever, Bm25Config):
        places = search.by_words(queries, documents, depth)
    else:
        embedder = SentenceEmbedder(retriever)
        places = search.by_embedding(queries, documents, depth, embedder)
        cut = embedder.cut
    ids = list(collection.documents)
    found = zip(collection.queries, places, strict=True)
    return {query: [ids[place] for place in ranked] for query, ranked in found}, cut


def _recall(key: str, name: str, n: int, values: Values, bootstrap: Bootstrap) -> Score:
    meaning = (
        f"Share of a query's relevant documents among the first N that {name} finds. Not comparable across corpora,"
        " nor with the policy's Recall@N or Pass@N but in shape."
    )
    return mean_score(f"{key}_recall_at_{n}", f"{name}, Recall@{n}", values, "", meaning, bootstrap)


def _mean(values: Values) -> float:
    return sum(values.values()) / len(values)


def _check_origin(evaluated: Path, given: Mapping[str, Path]) -> None:
    """The log-probabilities are to be those of the policy that sampled, behind the prompts it was asked."""
    recorded = read_manifest(evaluated)["inputs"]
    for name, path in given.items():
        if recorded.get(name) != digest(path):
            raise ArtifactError(
                f"{evaluated}: was not made with the {name} in {path}",
                remedy=f"Give the {name} of that evaluation, or evaluate again",
            )
