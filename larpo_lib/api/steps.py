"""The steps, as functions from settings and places to what they made.

Each calls the function that the command line, the loop and Kubeflow call. Places are paths or s3:// URIs. A step whose
output is there already, made with the same settings from the same inputs, returns at once.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from larpo_lib.api.artifacts import Artifact, Place
from larpo_lib.artifacts import digest
from larpo_lib.config import (
    EvaluateConfig,
    LarpoConfig,
    ListsConfig,
    PrepareConfig,
    PromoteConfig,
    ReportConfig,
    RerankConfig,
    RewardModelConfig,
    SampleConfig,
    SearchTemperatureConfig,
    Section,
    SftConfig,
    TrackingConfig,
    TrainConfig,
)
from larpo_lib.files import disk_errors
from larpo_lib.manifest import hash_json
from larpo_lib.registry import Registry
from larpo_lib.reporting import gate
from larpo_lib.shards import UNSHARDED, Shard
from larpo_lib.steps.declarations import STEPS
from larpo_lib.steps.edge import Location, at_edge, pinned
from larpo_lib.storage import is_remote
from larpo_lib.tracking import Tracker

Given = Place | Sequence[Place] | None


def prepare(config: PrepareConfig, *, prompts: Place, heldout: Place | None = None) -> Artifact:
    """Read prompts from the source of `config` into `prompts`, and keep `config.heldout` of them apart in `heldout`."""
    return _take("prepare", config, {}, {"prompts": prompts, "heldout": heldout})


def prepare_demonstrations(config: PrepareConfig, *, demonstrations: Place) -> Artifact:
    """Read demonstrations for `sft`."""
    return _take("prepare-demonstrations", config, {}, {"demonstrations": demonstrations})


def prepare_ranked(config: PrepareConfig, *, prompts: Place, ranked: Place) -> Artifact:
    """Read responses that have rewards already, or chosen and rejected ones; the result is `ranked`."""
    _take("prepare-ranked", config, {}, {"prompts": prompts, "ranked": ranked})
    return Artifact.open(ranked)


def sft(config: SftConfig, *, policy: Place, demonstrations: Place, trained: Place) -> Artifact:
    """Fine-tune a policy on demonstrations."""
    return _take("sft", config, {"policy": policy, "demonstrations": demonstrations}, {"trained": trained})


def sample(
    config: SampleConfig,
    *,
    policy: Place,
    prompts: Place,
    candidates: Place,
    iteration: int = 1,
    shard: Shard | str = UNSHARDED,
) -> Artifact:
    """Sample responses from a policy. The iteration's number, from 1 on, decides prompts, temperature and seeds."""
    inputs = {"policy": policy, "prompts": prompts}
    return _take("sample", config, inputs, {"candidates": candidates}, iteration=iteration, shard=_shard(shard))


def search_temperature(config: SearchTemperatureConfig, *, policy: Place, prompts: Place, search: Place) -> Artifact:
    """Find a sampling temperature on held-out prompts; the metric `temperature` is the choice."""
    return _take("search_temperature", config, {"policy": policy, "prompts": prompts}, {"search": search})


def rerank(
    config: RerankConfig,
    *,
    prompts: Place,
    candidates: Place | Sequence[Place],
    ranked: Place,
    shard: Shard | str = UNSHARDED,
) -> Artifact:
    """Score and rank candidates; those of several iterations are ranked as one list."""
    inputs = {"prompts": prompts, "candidates": _several(candidates)}
    return _take("rerank", config, inputs, {"ranked": ranked}, shard=_shard(shard))


def merge_shards(*, shards: Sequence[Place], merged: Place) -> Artifact:
    """Put the shards of `sample` or `rerank` together, in any order."""
    return _take("merge_shards", None, {"shards": shards}, {"merged": merged})


def build_lists(config: ListsConfig, *, prompts: Place, ranked: Place | Sequence[Place], lists: Place) -> Artifact:
    """Build training lists from the ranked candidates of one or more iterations, the current one last."""
    return _take("build_lists", config, {"prompts": prompts, "ranked": _several(ranked)}, {"lists": lists})


def train(
    config: TrainConfig,
    *,
    policy: Place,
    lists: Place,
    trained: Place,
    reference: Place | None = None,
    reference_logps: Place | None = None,
) -> Artifact:
    """Train a policy on lists. The reference is the policy itself unless another one is given."""
    inputs = {"policy": policy, "lists": lists, "reference": reference, "reference_logps": reference_logps}
    return _take("train", config, inputs, {"trained": trained})


def train_reward_model(config: RewardModelConfig, *, policy: Place, lists: Place, trained: Place) -> Artifact:
    """Train a reward model on lists, from a policy or from another reward model."""
    return _take("reward_model", config, {"policy": policy, "lists": lists}, {"trained": trained})


def evaluate(config: EvaluateConfig, *, policy: Place, prompts: Place, evaluation: Place) -> Artifact:
    """Measure a policy on held-out prompts."""
    return _take("evaluate", config, {"policy": policy, "prompts": prompts}, {"evaluation": evaluation})


def report(
    config: ReportConfig,
    *,
    prompts: Place,
    evaluations: Sequence[Place],
    ranked: Sequence[Place],
    lists: Sequence[Place],
    policies: Sequence[Place],
    report: Place,
    promotion: Place | None = None,
    preparations: Sequence[Place] = (),
    candidates: Sequence[Place] = (),
    benchmarks: Sequence[Place] = (),
) -> Artifact:
    """Write the HTML report of a run: `report.html` in `report`."""
    inputs = {
        "prompts": prompts,
        "evaluations": evaluations,
        "ranked": ranked,
        "lists": lists,
        "policies": policies,
        "promotion": promotion,
        "preparations": preparations,
        "candidates": candidates,
        "benchmarks": benchmarks,
    }
    return _take("report", config, inputs, {"report": report})


def promote(
    config: PromoteConfig,
    *,
    policy: Place,
    evaluation: Place,
    promotion: Place,
    baseline: Place | None = None,
    tracking: TrackingConfig | None = None,
    store: str | Path = "mlflow",
    run: LarpoConfig | None = None,
    benchmarks: Sequence[Place] = (),
    baseline_benchmarks: Sequence[Place] = (),
) -> Artifact:
    """Register a policy in MLflow, and make it the champion if it beats the current one.

    Args:
        config: the gate.
        policy: directory of the policy, or its name on the hub.
        evaluation: of the policy.
        promotion: artifact to write; `promotion.json` in it is the decision.
        baseline: evaluation to beat if there is no champion yet.
        tracking: where MLflow is; by default as the section `tracking` has it.
        store: folder of a local MLflow store, used if no server is set.
        run: settings of the run that made the policy, for its model card.
        benchmarks: evaluations of the policy by benchmarks, if the gate asks for metrics of several evaluations.
        baseline_benchmarks: the same of the policy to beat if there is no champion yet.
    """
    inputs: dict[str, Given] = {
        "policy": policy,
        "evaluation": evaluation,
        "baseline": baseline,
        "benchmarks": benchmarks,
        "baseline_benchmarks": baseline_benchmarks,
    }
    step, wanted = STEPS["promote"], {"promotion": str(promotion)}
    _, given = pinned(step, config, {name: _location(place) for name, place in inputs.items()})
    there = str(policy) if is_remote(str(policy)) else None
    with at_edge(config, given, wanted, ("policy",)) as paths:
        identity = hash_json({"inputs": _digests(paths, inputs), "config": config.identity()})
        tracker = Tracker(tracking or TrackingConfig(), Path(store))  # which makes a store: not if an input is missing
        anew = not paths["promotion"].exists()  # by the same inputs another champion may have been beaten before
        with tracker.run("promote", identity, config), tracker.step("promote", None, anew=anew) as logged:
            metrics = step.run(config, **paths, registry=Registry(tracker.uri, logged.run_id), place=there, run=run)
            logged.log_metrics(metrics)
            for file in (paths["promotion"] / name for name in (gate.TABLE, gate.FIGURE) if config.asked):
                logged.log_artifact(file)
    return Artifact(wanted["promotion"], metrics)


def _digests(paths: Mapping[str, Any], names: Collection[str]) -> dict[str, list[str]]:
    """Of the inputs; of one that is not given none."""
    given = {name: paths[name] if isinstance(paths[name], list) else [paths[name]] for name in names}
    return {name: [digest(path) for path in found if path is not None] for name, found in given.items()}


def _take(
    name: str,
    config: Section | None,
    inputs: Mapping[str, Given],
    outputs: Mapping[str, Place | None],
    **arguments: Any,
) -> Artifact:
    """Take a step as its command does; the result is its first output."""
    config, given = pinned(STEPS[name], config, {name: _location(place) for name, place in inputs.items()})
    wanted = {name: str(place) for name, place in outputs.items() if place is not None}
    with ExitStack() as stack:
        for place in wanted.values():
            if not is_remote(place):
                stack.enter_context(disk_errors(Path(place)))
        paths = stack.enter_context(at_edge(config, given, wanted))
        metrics = STEPS[name].run(config, **paths, **arguments)
    return Artifact(next(iter(wanted.values())), metrics)


def _location(place: Given) -> Location:
    if place is None or isinstance(place, str | Path):
        return None if place is None else str(place)
    return [str(one) for one in place]


def _shard(given: Shard | str) -> Shard:
    return Shard.parse(given) if isinstance(given, str) else given


def _several(places: Place | Sequence[Place]) -> Sequence[Place]:
    return [places] if isinstance(places, str | Path) else places
