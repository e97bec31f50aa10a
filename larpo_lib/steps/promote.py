"""The step `promote`: registers a policy, and makes it the champion if it beats the one before it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import LarpoConfig, PromoteConfig
from larpo_lib.config.gate import HELD_OUT, GateMetric
from larpo_lib.errors import ConfigError, DataError, LarpoError
from larpo_lib.files import write_json
from larpo_lib.models.published import merged_policy
from larpo_lib.pool import use_pool
from larpo_lib.registry import CHALLENGER, CHAMPION, Registry
from larpo_lib.reporting import gate
from larpo_lib.steps.gate import Decision, Opponent, decide, decide_by_all
from larpo_lib.steps.judgements import Judgement, by_name, read_judgement, read_whole_judgement
from larpo_lib.steps.kept_evaluations import kept, opponents
from larpo_lib.steps.version_facts import Known, version_facts, write_card


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
    benchmarks: Sequence[Path] = (),
    baseline_benchmarks: Sequence[Path] = (),
) -> Metrics:
    """Register `policy` and point an alias at it: `champion` if it passes the gate, else `challenger`.

    A champion that does not pass the gate again stays champion.

    The gate: a paired bootstrap over prompts must find the policy better than its opponent by more than `margin` with
    at least the probability `confidence`. The opponent is the registry's champion, else the baseline; with neither
    there is nothing to beat. With `must_improve`, the gate asks for several metrics; see `larpo_lib.steps.demands`.

    Args:
        config: the gate.
        policy: model directory.
        evaluation: artifact of the step `evaluate`, or of a benchmark, for the policy.
        baseline: the same for the policy the run began with, if it was evaluated.
        promotion: artifact to write; holds `promotion.json`, and of several metrics a table and a figure.
        registry: where the policy goes.
        place: where the policy is, if that is an s3:// URI; then it stays there, and `policy` lacks weights.
        run: settings of the run that made the policy, for its model card.
        iteration: of that run, whose policy it is.
        benchmarks: further evaluations of the policy, whose metrics the gate may ask for and the registry keeps.
        baseline_benchmarks: the same for the policy the run began with.

    Raises:
        ConfigError: an evaluation that the gate asks for is missing, or has no such metric.
        DataError: the evaluation holds no value of `config.metric`.
        TrackingError: MLflow refuses.
    """
    inputs = {"policy": policy, "evaluation": evaluation}
    if baseline is not None:
        inputs["baseline"] = baseline
    for name, paths in (("benchmark", benchmarks), ("baseline_benchmark", baseline_benchmarks)):
        inputs |= {f"{name}_{place}": path for place, path in enumerate(paths)}
    baselines = [] if baseline is None else [baseline, *baseline_benchmarks]

    def make(work: WorkDir) -> Metrics:
        judgements = by_name(_judgements(config, evaluation, benchmarks))
        _require_metrics(config, judgements, evaluation)
        first = next(iter(judgements.values()))
        with merged_policy(policy) as whole:
            before, champion = registry.version_of(whole, config.model_name), registry.champion(config.model_name)
            stored = None if before is None else _stored(registry, config.model_name, before)
            opponent, decision = _decide(config, judgements, _opponents(registry, config, before, champion, baselines))
            known = Known(config.model_name, policy, evaluation, baseline, first.reranker, first.judge, run, iteration)
            told = version_facts(known, decision.tests)
            version = registry.register(
                whole, model_name=config.model_name, evaluation=kept(judgements, stored), place=place, facts=told
            )
        write_card(policy, told.card, place)
        alias = _point(registry, config.model_name, version, champion, decision)
        known_as = {"alias": alias, "version": version, "opponent": None if opponent is None else opponent.name}
        _write(work, {**decision.record(config), "model_name": config.model_name, **known_as})
        return {
            **decision.metrics(),
            "prompts": decision.tests[0].items if decision.tests else len(first.values[config.metric]),
        }

    with use_pool(None):  # another run's decision would register nothing
        return produce("promote", config, inputs, promotion, make)


def _judgements(config: PromoteConfig, evaluation: Path, benchmarks: Sequence[Path]) -> list[Judgement]:
    """What evaluations say of a policy, the first one first. The gate of one metric keeps less of them."""
    first = read_whole_judgement(evaluation) if config.asked else read_judgement(evaluation)
    return [first, *map(read_whole_judgement, benchmarks)]


def _require_metrics(config: PromoteConfig, judgements: Mapping[str, Judgement], evaluation: Path) -> None:
    """Refuse a gate whose metrics were not evaluated, before anything is registered."""
    first = next(iter(judgements.values()))
    if not config.asked and config.metric not in first.values:
        raise _without_metric(config.metric, first, evaluation)
    if not config.asked and first.lower_is_better(config.metric):
        raise ConfigError(
            f"promote.metric is {config.metric}, of which a lower value is better, but this gate asks for a higher one",
            remedy=f"Ask for {first.name}.{config.metric} in promote.must_improve, where a gain is a decrease",
        )
    for one in config.asked:
        judgement = judgements.get(one.benchmark)
        if judgement is None:
            by = "larpo evaluate" if one.benchmark == HELD_OUT else f"larpo benchmark {one.benchmark.replace('_', '-')}"
            raise ConfigError(
                f"no evaluation by {one.benchmark} was given, but promote.{one.demand} asks for {one.metric}",
                remedy=f"Pass the artifact of `{by}` with --benchmarks, or remove the metric",
            )
        if one.name not in judgement.values:
            known = ", ".join(f"{one.benchmark}.{name}" for name in sorted(judgement.values))
            raise ConfigError(
                f"the evaluation by {one.benchmark} has no {one.name}, which promote.{one.demand} asks for",
                remedy=f"Ask for one of {known or 'another evaluation'}{_need(one)}",
            )


def _need(one: GateMetric) -> str:
    """What an evaluation must be made with to have a metric that it lacks."""
    if one.is_watched:
        return ", or add it to evaluate.watch and evaluate again"
    return "; accuracies need evaluate.judge" if one.benchmark == HELD_OUT else ""


def _without_metric(metric: str, judgement: Judgement, evaluation: Path) -> DataError:
    if judgement.benchmark is None and metric in ("accuracy", "greedy_accuracy"):
        remedy = "Set evaluate.judge and evaluate again, or set promote.metric to reward"
    else:
        remedy = f"Set promote.metric to one of {', '.join(sorted(judgement.values)) or 'those of another evaluation'}"
    return DataError(f"has no {metric}", path=evaluation, remedy=remedy)


def _stored(registry: Registry, model_name: str, version: int) -> Any:
    """What is kept of a version's evaluations; None if that is lost or damaged, which this registration mends."""
    try:
        return registry.evaluation(model_name, version)
    except LarpoError as error:
        if error.transient:
            raise
        logging.getLogger(__name__).warning("%s Its evaluation is replaced by the new one.", error)
        return None


def _opponents(
    registry: Registry, config: PromoteConfig, version: int | None, champion: int | None, baseline: Sequence[Path]
) -> list[Opponent]:
    """Whom the policy has to beat, by each evaluation that is kept; `version` is its own, if it is registered."""
    if champion is not None and champion == version:  # promoted already, such as by a run that was cut short
        champion = registry.replaced(config.model_name, champion)  # it had to beat the champion before it
        if champion is not None and champion not in registry.versions(config.model_name):
            return [Opponent(f"version {champion}, which was deleted in MLflow", None)]
    if champion is not None:
        return opponents(f"version {champion}", registry.evaluation(config.model_name, champion))
    if not baseline:
        return []
    first, *others = _judgements(config, baseline[0], baseline[1:])
    return [Opponent("baseline", first, tuple(others))]


def _decide(
    config: PromoteConfig, policy: Mapping[str, Judgement], known: Sequence[Opponent]
) -> tuple[Opponent | None, Decision]:
    """The gate's decision, by the newest evaluation of the opponent that the policy can be compared with."""
    first = next(iter(policy.values()))
    decisions: list[tuple[Opponent | None, Decision]] = []
    for opponent in known or (None,):
        decision = decide_by_all(config, policy, opponent) if config.asked else decide(config, first, opponent)
        if decision.compared:
            return opponent, decision
        decisions.append((opponent, decision))
    return decisions[0]


def _point(registry: Registry, model_name: str, version: int, champion: int | None, decision: Decision) -> str:
    """Point an alias at a version, with the reason beside it; gives the alias.

    `challenger` never points at the champion: what it had to beat is not in use any more.
    """
    if not decision.promoted and version == champion:
        return CHAMPION
    if decision.promoted:
        registry.promote(model_name, version)
    else:
        registry.set_alias(model_name, CHALLENGER, version)
    registry.tag(model_name, version, {"larpo.gate": decision.reason})
    return CHAMPION if decision.promoted else CHALLENGER


def _write(work: WorkDir, record: Mapping[str, Any]) -> None:
    write_json(work.data / "promotion.json", record)
    if "tests" in record:
        from larpo_lib.reporting import drawing  # loads matplotlib

        (work.data / gate.TABLE).write_text(gate.table(record), "utf-8")
        (work.data / gate.FIGURE).write_bytes(drawing.png(gate.panel(record)))
