"""The step `promote`: registers a policy, and makes it the champion if it beats the one before it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import LarpoConfig, PromoteConfig
from larpo_lib.errors import ArtifactError, DataError
from larpo_lib.files import write_json
from larpo_lib.models.published import merged_policy
from larpo_lib.pool import use_pool
from larpo_lib.provenance import judge_name
from larpo_lib.registry import CHALLENGER, CHAMPION, Registry
from larpo_lib.reporting.benchmark import REPORT, VALUES, read_values
from larpo_lib.reporting.held_out import QUALITY_COLUMNS, Groups, greedy_and_sampled, means
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.steps.version_facts import Known, version_facts, write_card
from larpo_lib.tables import Row, iterate_table

VERIFIER = "verifier"
"""The judge of answers that are numbers."""
EVALUATE_METRICS = ("reward", "accuracy", "greedy_accuracy")
"""What an artifact of the step `evaluate` can be compared by."""


@dataclass(frozen=True)
class Judgement:
    """How a policy did on each held-out prompt, or on each item of a benchmark.

    Attributes:
        reranker: what gave the rewards; of a benchmark, what judged.
        values: metric, then prompt_id or item, to the value. A metric that the evaluation does not hold is absent.
        benchmark: which benchmark, and which edition of it; None of an artifact of the step `evaluate`.
        judge: who said right or wrong in the step `evaluate`; in the registry, nothing stands for the judge of numbers.
    """

    reranker: str
    values: Mapping[str, Mapping[str, float]]
    benchmark: str | None = None
    judge: str = VERIFIER


@dataclass(frozen=True)
class Opponent:
    """What a policy has to beat; `judgement` is None if it is not known how the opponent did."""

    name: str
    judgement: Judgement | None


@dataclass(frozen=True)
class Decision:
    """Whether a policy passes the gate, and why. Numbers that need a comparison are None where there was none."""

    promoted: bool
    reason: str
    policy_mean: float
    opponent_mean: float | None = None
    difference: float | None = None
    probability: float | None = None


def run(
    config: PromoteConfig,
    *,
    policy: Path,
    evaluation: Path,
    baseline: Path | None,
    promotion: Path,
    registry: Registry,
    place: str | None = None,
    run: LarpoConfig | None = None,
    iteration: int | None = None,
) -> Metrics:
    """Register `policy` and point an alias at it: `champion` if it passes the gate, else `challenger`.

    The gate: a paired bootstrap over prompts must find the policy better than its opponent by more than `margin` with
    at least the probability `confidence`. The opponent is the registry's champion, else the baseline; with neither
    there is nothing to beat.

    Args:
        config: the gate.
        policy: model directory.
        evaluation: artifact of the step `evaluate`, or of a benchmark, for the policy.
        baseline: the same for the policy the run began with, if it was evaluated.
        promotion: artifact to write; holds `promotion.json`.
        registry: where the policy goes.
        place: where the policy is, if that is an s3:// URI; then it stays there, and `policy` lacks weights.
        run: settings of the run that made the policy, for its model card.
        iteration: of that run, whose policy it is.

    Raises:
        DataError: the evaluation holds no value of `config.metric`.
        TrackingError: MLflow refuses.
    """
    inputs = {"policy": policy, "evaluation": evaluation}
    if baseline is not None:
        inputs["baseline"] = baseline

    def make(work: WorkDir) -> Metrics:
        judgement = read_judgement(evaluation)
        if config.metric not in judgement.values:
            raise _without_metric(config.metric, judgement, evaluation)
        known = Known(
            config.model_name, policy, evaluation, baseline, judgement.reranker, judgement.judge, run, iteration
        )
        told = version_facts(known)
        with merged_policy(policy) as whole:
            kept = asdict(judgement)
            version = registry.register(whole, model_name=config.model_name, evaluation=kept, place=place, facts=told)
        write_card(policy, told.card, place)
        opponent = _opponent(registry, config.model_name, version, baseline)
        decision = decide(config, judgement, opponent)
        if decision.promoted:
            registry.promote(config.model_name, version)
        else:
            registry.set_alias(config.model_name, CHALLENGER, version)
        registry.tag(config.model_name, version, {"larpo.gate": decision.reason})
        write_json(work.data / "promotion.json", _record(config, version, opponent, decision))
        return {
            "promoted": int(decision.promoted),
            "probability": decision.probability,
            "difference": decision.difference,
            "prompts": len(judgement.values[config.metric]),
        }

    with use_pool(None):  # another run's decision would register nothing
        return produce("promote", config, inputs, promotion, make)


def read_judgement(evaluation: Path) -> Judgement:
    """What an artifact of the step `evaluate` says about each prompt, or one of a benchmark about each item.

    Raises:
        ArtifactError: `evaluation` is no such artifact.
        DataError: it has no sampled response, or rewards that hold only within a list.
    """
    if (evaluation / VALUES).is_file():
        return _of_benchmark(evaluation)
    rerankers: set[str] = set()
    greedy, sampled = greedy_and_sampled(_comparable_rows(evaluation, rerankers))
    if not sampled.rewards:
        raise DataError("contains no sampled response", path=evaluation, remedy="Evaluate on at least one prompt")
    groups: tuple[Groups, ...] = (
        sampled.rewards,
        {} if sampled.undecided else sampled.right,
        {} if greedy.undecided else greedy.right,
    )
    values = {name: dict(sorted(means(found).items())) for name, found in zip(EVALUATE_METRICS, groups, strict=True)}
    return Judgement(
        reranker=" + ".join(sorted(rerankers)),
        values={metric: means for metric, means in values.items() if means},
        judge=judge_name(evaluation) or VERIFIER,
    )


def decide(config: PromoteConfig, policy: Judgement, opponent: Opponent | None) -> Decision:
    """Whether the policy passes the gate.

    Args:
        config: the gate; `policy` holds values of its metric.
        policy: how the policy did.
        opponent: what it has to beat; None passes.
    """
    new = policy.values[config.metric]
    mean = fmean(new.values())
    if opponent is None:
        return Decision(True, "no champion and no baseline to compare with", mean)
    obstacle = _incomparable(config.metric, policy, opponent.judgement)
    if obstacle is not None or opponent.judgement is None:
        return Decision(False, f"cannot be compared with {opponent.name}: {obstacle}", mean)
    old = opponent.judgement.values[config.metric]
    prompts = sorted(new)
    pairs = [new[prompt] for prompt in prompts], [old[prompt] for prompt in prompts]
    probability = Bootstrap.of(config).probability_above(config.margin, *pairs)
    promoted = probability >= config.confidence
    return Decision(
        promoted=promoted,
        reason=(
            f"{'beats' if promoted else 'does not beat'} {opponent.name} by more than {config.margin:g}: "
            f"probability {probability:.4f} (required: {config.confidence:g})"
        ),
        policy_mean=mean,
        opponent_mean=fmean(old.values()),
        difference=fmean(a - b for a, b in zip(*pairs, strict=True)),
        probability=probability,
    )


def _of_benchmark(evaluation: Path) -> Judgement:
    try:
        report = json.loads((evaluation / REPORT).read_text("utf-8"))
        judged_by, benchmark = str(report["judged_by"]), f"{report['benchmark']} {report['version']}".strip()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"{evaluation / REPORT}: cannot be read: {error}", remedy="Delete the artifact and make it again"
        ) from None
    return Judgement(judged_by, read_values(evaluation), benchmark)


def _without_metric(metric: str, judgement: Judgement, evaluation: Path) -> DataError:
    if judgement.benchmark is None and metric in ("accuracy", "greedy_accuracy"):
        remedy = "Set evaluate.judge and evaluate again, or set promote.metric to reward"
    else:
        remedy = f"Set promote.metric to one of {', '.join(sorted(judgement.values)) or 'those of another evaluation'}"
    return DataError(f"has no {metric}", path=evaluation, remedy=remedy)


def _comparable_rows(evaluation: Path, rerankers: set[str]) -> Iterator[Row]:
    """What the rows say of quality. Adds who gave the rewards to `rerankers`."""
    columns = (*QUALITY_COLUMNS, "list_relative", "reranker")
    for number, row in enumerate(iterate_table(evaluation, "evaluated", columns)):
        if row["list_relative"]:
            raise DataError(
                f"rewards of '{row['reranker']}' are only comparable within one list, so they cannot compare "
                "two policies",
                path=evaluation,
                row=number,
                field="list_relative",
                remedy="Evaluate with a reranker that scores each response on its own",
            )
        rerankers.add(row["reranker"])
        yield row


def _incomparable(metric: str, policy: Judgement, opponent: Judgement | None) -> str | None:
    """Why the two cannot be compared; None if they can."""
    if opponent is None:
        return "its evaluation is not in the registry"
    if metric not in opponent.values:
        return f"its evaluation has no {metric}"
    difference = _judged_otherwise(metric, policy, opponent)
    if difference is not None:
        return difference
    new, old = set(policy.values[metric]), set(opponent.values[metric])
    if new != old:
        items = "prompts" if policy.benchmark is None else "items"
        return f"it was evaluated on different {items} ({len(new & old)} of {len(new)} in common)"
    return None


def _judged_otherwise(metric: str, policy: Judgement, opponent: Judgement) -> str | None:
    """What is different in how the two were judged; None where it is the same."""
    if policy.benchmark != opponent.benchmark:
        return f"it was evaluated by {_name(opponent.benchmark)}, not by {_name(policy.benchmark)}"
    rewards = policy.benchmark is None and metric == "reward"
    if policy.benchmark is None and not rewards:
        new, old = policy.judge, opponent.judge
    else:
        new, old = policy.reranker, opponent.reranker
    if new == old:
        return None
    if rewards:
        return f"its rewards come from {old}, not from {new}"
    why = "judges are strict in different ways, so a difference could come from them and not from the policies"
    return f"it was judged by {old}, not by {new}; {why}"


def _name(benchmark: str | None) -> str:
    return benchmark or "the step evaluate"


def _opponent(registry: Registry, model_name: str, version: int, baseline: Path | None) -> Opponent | None:
    champion = registry.champion(model_name)
    if champion == version:  # promoted already, by a run that was cut short: it had to beat the champion before it
        champion = registry.replaced(model_name, version)
    if champion is not None:
        stored = registry.evaluation(model_name, champion)
        return Opponent(f"version {champion}", None if stored is None else _kept(stored))
    return None if baseline is None else Opponent("baseline", read_judgement(baseline))


def _kept(stored: Mapping[str, Any]) -> Judgement:
    """What the registry keeps of an evaluation, perhaps of another version; what else stands there is passed over."""
    return Judgement(stored["reranker"], stored["values"], stored.get("benchmark"))


def _record(config: PromoteConfig, version: int, opponent: Opponent | None, decision: Decision) -> dict[str, Any]:
    return {
        "promoted": decision.promoted,
        "alias": CHAMPION if decision.promoted else CHALLENGER,
        "model_name": config.model_name,
        "version": version,
        "metric": config.metric,
        "opponent": None if opponent is None else opponent.name,
        "means": {"policy": decision.policy_mean, "opponent": decision.opponent_mean},
        "difference": decision.difference,
        "probability": decision.probability,
        "margin": config.margin,
        "confidence": config.confidence,
        "reason": decision.reason,
    }
