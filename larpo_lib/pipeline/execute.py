"""Takes a step in a pod: fetches what it reads, logs it under the run's MLflow run, publishes what it makes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from larpo_lib import logs
from larpo_lib.artifacts import AGAIN, Metrics, hash_json, identity_of, read_manifest, read_metrics
from larpo_lib.errors import ConfigError
from larpo_lib.execution import execute_step, log_history
from larpo_lib.files import read_json
from larpo_lib.models.hub import HubModel
from larpo_lib.pipeline import files, variables
from larpo_lib.pipeline.pod_cache import use_writable_cache
from larpo_lib.pipeline.retries import with_retries
from larpo_lib.pipeline.run_context import RunContext
from larpo_lib.plan import StepCall
from larpo_lib.progress import tell
from larpo_lib.reporting import gate
from larpo_lib.shards import UNSHARDED
from larpo_lib.steps.declarations import STEPS
from larpo_lib.steps.edge import at_edge
from larpo_lib.storage import cache_dir, fetch, localize
from larpo_lib.tracking import Run, Tracker
from larpo_lib.training.history import HISTORY

Logged = tuple[Tracker, Run]
"""The run of a step that is logged, and what delivers it."""


@dataclass(frozen=True)
class StepResult:
    """A step that was taken.

    Attributes:
        uri: what it published.
        metrics: of the step.
        metadata: for KFP: what it is, how many rows it has, and where MLflow shows it.
        shown: as in the context.
        texts: what is shown of it, by kind: `markdown`, `html`.
        next: what is to be done next, where a step decides that.
    """

    uri: str
    metrics: Metrics
    metadata: Mapping[str, Any]
    shown: str | None
    texts: Mapping[str, str] = field(default_factory=dict)
    next: str = ""


def open_context(run: str) -> RunContext:
    """The context of the run that a task belongs to: the first thing that a task does.

    Args:
        run: where the context is.

    Raises:
        StorageError: it cannot be read.
    """
    logs.set_up()
    use_writable_cache()
    return with_retries(lambda: RunContext.at(run))


def execute(context: RunContext, call: StepCall) -> StepResult:
    """Take a step, again and again where it fails of what may pass.

    A shard of a step is not logged: what the step did is known when its shards are merged.
    """
    with context.journal.step(_name(call)):
        return _delivered(*with_retries(lambda: _once(context, call)))


def _once(context: RunContext, call: StepCall) -> tuple[StepResult, Logged | None]:
    with at_edge(call.config, call.inputs, call.outputs, call.without_weights) as paths:
        logged = None
        if call.arguments.get("shard", UNSHARDED) != UNSHARDED:
            metrics = execute_step(call, paths, None)
        else:
            tracker = context.tracker()
            with tracker.step(call.name, call.iteration, call.settings) as run:
                metrics = execute_step(call, paths, run)
            logged = tracker, run
        published = paths[next(iter(call.outputs))]
        metadata, texts = _metadata(call, published, ""), _texts(call, published)
    return StepResult(call.output, metrics, metadata, context.shown, texts), logged


def _delivered(result: StepResult, logged: Logged | None) -> StepResult:
    """The result of a step, with where MLflow shows it. What waits for MLflow waits beside the run, not in this pod."""
    if logged is None:
        return result
    tracker, run = logged
    if not with_retries(tracker.settle):
        return result
    return replace(result, metadata={**result.metadata, "mlflow": tracker.run_url(run.run_id)})


def describe(context: RunContext, call: StepCall) -> StepResult:
    """What a step made that was taken before."""
    tracker = context.tracker()
    with localize({"made": call.output}, {}) as local, tracker.step(call.name, call.iteration) as run:
        metadata = _metadata(call, local["made"], "")
        found = StepResult(call.output, read_metrics(local["made"]), metadata, context.shown)
    return _delivered(found, (tracker, run))


def train_on_nodes(context: RunContext, call: StepCall) -> StepResult:
    """Take a step that trains on several machines: a TrainJob trains and publishes, and is followed from here."""
    image = os.environ.get(variables.IMAGE)
    if image is None:
        raise ConfigError(
            f"{variables.IMAGE} is not set, but the nodes need an image", remedy="Set it to the trainer's image"
        )
    with context.journal.step(_name(call)):
        return _delivered(*with_retries(lambda: _once_on_nodes(context, call, image)))


def _once_on_nodes(context: RunContext, call: StepCall, image: str) -> tuple[StepResult, Logged]:
    from larpo_lib.kubernetes import Uris, job_name, train_job, train_on_nodes

    deadline = os.environ.get(variables.DEADLINE_S)
    uris: dict[str, Any] = {key: call.inputs[key] for key in ("policy", "lists", "reference")}
    tracker = context.tracker()
    with tracker.step(call.name, call.iteration, call.settings) as run:
        config: Any = call.config
        job = train_job(
            config, Uris(**uris, trained=call.output), name=job_name(context.root, f"train-{call.iteration}"),
            run=context.name, image=image, resources=context.resources or None,
            deadline_s=None if deadline is None else int(deadline), queue=os.environ.get(variables.QUEUE),
            priority_class=os.environ.get(variables.PRIORITY_CLASS),
        )  # fmt: skip
        if _is_trained(call):
            tell(f"{call.output}: is there already, no TrainJob is started")
        else:
            train_on_nodes(job)
        metrics: Metrics = files.read(call.output, "metrics.json")
        log_history(fetch(f"{call.output}/{HISTORY}", cache_dir()).parent, call.config, run)
        run.log_metrics(metrics)
    metadata = _described(call, files.read(call.output, "artifact.json"), "")
    return StepResult(call.output, metrics, metadata, context.shown), (tracker, run)


def _is_trained(call: StepCall) -> bool:
    """Whether what the nodes would train is published, made from the same: told without the weights that are read.

    A model that somebody put into a store has no manifest. Its recorded digest counts as today's: the round's sampling
    has read the bytes of the policies, and refuses others.
    """
    there = files.manifest(call.output)
    if there is None or call.config is None:
        return False
    recorded = there.get("inputs", {})
    digests = {name: _digest(uri) or recorded.get(name) for name, uri in call.inputs.items() if isinstance(uri, str)}
    return hash_json(identity_of("train", call.config, digests, call.arguments)) == there.get("fingerprint")


def _digest(uri: str) -> str | None:
    """As manifests record it; None where only its bytes would tell."""
    if HubModel.parse(uri) is not None:
        return uri
    there = files.manifest(uri)
    return None if there is None else hash_json(there["files"])


def _name(call: StepCall) -> str:
    shard = call.arguments.get("shard", UNSHARDED)
    parts = [f"merge-{call.name}" if call.step.function == STEPS["merge_shards"].function else call.name]
    parts += [] if call.iteration is None else [str(call.iteration)]
    parts += [] if shard == UNSHARDED else [f"share-{shard.index}-of-{shard.count}"]
    return "-".join(parts)


def _metadata(call: StepCall, published: Path, address: str) -> dict[str, Any]:
    import pyarrow.parquet as pq

    rows = [pq.read_metadata(path).num_rows for path in sorted(published.glob("*.parquet"))]
    described = _described(call, read_manifest(published), address)
    return {**described, "rows": rows[0]} if rows else described


def _described(call: StepCall, manifest: Mapping[str, Any], address: str) -> dict[str, Any]:
    """KFP's metadata are texts and numbers."""
    described = {
        "uri": call.output,
        "step": manifest["step"],
        "fingerprint": manifest["fingerprint"],
        "larpo": manifest["libraries"].get("larpo", manifest["code"]),
        "bytes": sum(recorded["bytes"] for recorded in manifest["files"].values()),
        "mlflow": address,
    }
    return described if call.iteration is None else {**described, "iteration": call.iteration}


def _texts(call: StepCall, published: Path) -> dict[str, str]:
    if call.step == STEPS["report"]:
        return {"html": (published / "report.html").read_text("utf-8")}
    if call.step == STEPS["promote"]:
        decision = read_json(published / "promotion.json", remedy=AGAIN)
        return {"markdown": promotion_text(decision)}
    return {}


def promotion_text(decision: Mapping[str, Any]) -> str:
    """The gate's decision in Markdown."""
    if "tests" in decision:
        return gate.table(decision)
    became = gate.became(decision)
    outcome = f"**{decision['model_name']}** version {decision['version']} {became} **{decision['alias']}**"
    means = decision["means"]
    rows = [("metric", decision["metric"]), ("policy", means["policy"]), ("opponent", means["opponent"])]
    rows += [(name, decision[name]) for name in ("difference", "probability", "margin", "confidence")]
    table = "\n".join(f"| {name} | {'' if value is None else value} |" for name, value in rows)
    return f"{outcome}: {decision['reason']}.\n\n| | |\n|---|---|\n{table}\n"
