"""The benchmark `divergence`: how far a policy has moved from another one, by responses that it sampled."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import ArtifactError, LarpoError
from larpo_lib.evaluation.benchmark import Effort
from larpo_lib.evaluation.divergence import BENCHMARK
from larpo_lib.evaluation.divergence.settings import DivergenceConfig
from larpo_lib.evaluation.evaluated import UNSCORED, check_origin, sampling_of, unscored, unscored_told
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.response_logps import load_logp_scorer
from larpo_lib.provenance import Recorded, read_settings
from larpo_lib.reporting.benchmark import write
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.reporting.held_out import is_greedy, means
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.tables import PromptTable, read_table


class _RecordedSampling(Recorded):
    temperature: float
    top_p: float


def run(
    config: DivergenceConfig, *, policy: Path, baseline: Path, prompts: Path, evaluated: Path, evaluation: Path
) -> Metrics:
    """Publish the mean log-ratio of a policy's own responses, which is an unbiased estimate of KL(policy || baseline).

    Args:
        config: how both policies are loaded.
        policy: directory of the policy that `evaluated` was made with.
        baseline: directory of the other one, with the same tokenizer.
        prompts: artifact of the prompts that `evaluated` was made from.
        evaluated: artifact of the step `evaluate`, at temperature 1 and with every token allowed: of other responses
            the mean is no divergence.
        evaluation: artifact to publish, with the log-ratio of every prompt.

    Raises:
        ArtifactError: `evaluated` was made with another policy, from other prompts or at another temperature.
        LarpoError: no sampled response has a token.
    """
    check_origin(evaluated, {"policy": policy, "prompts": prompts})
    sampling = read_settings(evaluated, _RecordedSampling)
    if (sampling.temperature, sampling.top_p) != (1.0, 1.0):
        raise ArtifactError(
            f"{evaluated}: its responses were sampled at temperature {sampling.temperature:g} and top_p "
            f"{sampling.top_p:g}, not from the policy as it is",
            remedy="Evaluate with evaluate.temperature = 1 and evaluate.top_p = 1",
        )
    inputs = {"policy": policy, "baseline": baseline, "prompts": prompts, "evaluated": evaluated}
    return produce(BENCHMARK.name, config, inputs, evaluation, partial(_evaluate, config, inputs))


def effort(_config: DivergenceConfig, _files: Mapping[str, Path], _heldout: int | None) -> Effort:
    """The responses are those of the evaluation, and nobody is asked about them."""
    return Effort(0, 0)


def impossible(_config: DivergenceConfig, _metric: str, _files: Mapping[str, str], evaluate: EvaluateConfig) -> str:
    """Why the evaluations of a run have no divergence; else nothing."""
    if (evaluate.temperature, evaluate.top_p) == (1.0, 1.0):
        return ""
    return (
        f"it needs evaluate.temperature = 1 and evaluate.top_p = 1, not {evaluate.temperature:g} and {evaluate.top_p:g}"
    )


def _evaluate(config: DivergenceConfig, inputs: dict[str, Path], work: WorkDir) -> Metrics:
    asked = PromptTable(inputs["prompts"], "prompts")
    rows = [row for row in read_table(inputs["evaluated"], "evaluated") if not is_greedy(row)]
    pairs: list[Any] = [(asked[row["prompt_id"]][0], row) for row in rows]
    own, other = (
        load_logp_scorer(ModelDir(inputs[name], config.model), config.batch_tokens)(pairs)
        for name in ("policy", "baseline")
    )
    moved: dict[str, dict[str, list[float]]] = {name: {} for name in ("kl", "kl_per_token", "tokens")}
    scored = [(row, new, old) for row, new, old in zip(rows, own, other, strict=True) if new and old]
    for row, (logp, tokens), (baseline, _) in scored:
        told = {"kl": logp - baseline, "kl_per_token": (logp - baseline) / tokens, "tokens": float(tokens)}
        for name, value in told.items():
            moved[name].setdefault(row["prompt_id"], []).append(value)
    if not scored:
        raise LarpoError(f"{inputs['evaluated']}: no sampled response has a token", remedy="Evaluate on more prompts")
    lacking = unscored(inputs["evaluated"])
    values = {name: means(by_prompt) for name, by_prompt in moved.items()}
    bootstrap = Bootstrap.of(config)
    report = EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title,
        policy=digest(inputs["policy"])[:16],
        judged_by=BENCHMARK.judged_by,
        version=f"from {digest(inputs['baseline'])[:16]}",
        scores=[BENCHMARK.mean(name, values, bootstrap) for name in values],
        counts={
            "prompts": len(values["kl"]),
            "responses": len(scored),
            "responses_without_token_dropped": len(rows) - len(scored),
            UNSCORED: lacking,
        },
        values=values,
        caveats=unscored_told(
            lacking, "the divergence is of the scored responses alone, and long ones have the largest."
        ),
        confidence=bootstrap.confidence,
        distributions=("kl",),
        made_by={"sampling": sampling_of(inputs["evaluated"])},
    )
    return write(report, work.data)
