"""The benchmark `retrieval`: the policy as a retriever of responses, and retrievers of documents on the same axes."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.benchmark import Effort, not_from_1_to
from larpo_lib.evaluation.evaluated import check_origin
from larpo_lib.evaluation.retrieval import BENCHMARK
from larpo_lib.evaluation.retrieval.documents import keys, of_documents
from larpo_lib.evaluation.retrieval.responses import of_responses
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.reporting.benchmark import write
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.statistics.estimates import Bootstrap

_TOGETHER = "Pass --policy, --prompts and --evaluated, or --queries, --corpus and --relevance, or all six"


def run(
    config: RetrievalConfig,
    *,
    evaluation: Path,
    policy: Path | None = None,
    prompts: Path | None = None,
    evaluated: Path | None = None,
    queries: Path | None = None,
    corpus: Path | None = None,
    relevance: Path | None = None,
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
        raise ConfigError(f"retrieval needs more inputs than {', '.join(inputs) or 'none'}", remedy=_TOGETHER)
    if policy is not None and prompts is not None and evaluated is not None:
        check_origin(evaluated, {"policy": policy, "prompts": prompts})
    if queries is not None:
        for retriever in config.retrievers:
            retriever.check()
        models = [path for retriever in config.retrievers for path in retriever.models().values()]
        inputs |= {f"retriever_{number}": path for number, path in enumerate(models)}

    def make(work: WorkDir) -> Metrics:
        return _evaluate(config, inputs, work)

    return produce("retrieval", config, inputs, evaluation, make)


def effort(_config: RetrievalConfig, _files: Mapping[str, Path], _heldout: int | None) -> Effort:
    """The responses are those of the evaluation, and nobody is asked about them."""
    return Effort(0, 0)


def impossible(config: RetrievalConfig, metric: str, files: Mapping[str, str], evaluate: EvaluateConfig) -> str:
    """Why the evaluations of a run, or the files, cannot give a metric; else nothing."""
    if metric in (found := [f"{key}_recall_at_{n}" for key in keys(config) for n in config.depths]):
        return "" if "queries" in files else "it needs queries, a corpus and a relevance file in loop.benchmark_files"
    family = re.fullmatch(r"(?:pass|recall)_at_(.+)|best_of_(.+)_reward", metric)
    if "_recall_at_" in metric and family is None:
        return f"retrieval.retrievers and retrieval.depths give {', '.join(found)}"
    if evaluate.judge is None and metric.startswith(("pass_at_", "recall_at_", "majority_accuracy")):
        return "nothing says which responses are right, as evaluate.judge is not set"
    return "" if family is None else not_from_1_to(evaluate.n, family[1] or family[2], "evaluate.n")


def _evaluate(config: RetrievalConfig, inputs: Mapping[str, Path], work: WorkDir) -> Metrics:
    bootstrap = Bootstrap.of(config)
    parts = []
    if "evaluated" in inputs:
        parts.append(of_responses(config, inputs, bootstrap, work))
    if "queries" in inputs:
        parts.append(of_documents(config, inputs, bootstrap))
    whole = EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title if "policy" in inputs else "Retrievers of documents",
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
        made_by={name: made for part in parts for name, made in part.made_by.items()},
        headline=_headline([score.name for part in parts for score in part.scores]),
    )
    return write(whole, work.data)


def _headline(names: Sequence[str]) -> list[str]:
    """One number of each kind: of the largest N where there are several."""
    largest = {re.sub(r"\d+(_reward)?$", "", name): name for name in names}
    wanted = ("pass_at_", "best_of_", "kendall_tau", "ndcg", "bm25_recall_at_", "embedding_recall_at_")
    return [largest[kind] for kind in wanted if kind in largest]
