"""Takes a step in a pod: fetches what it reads, logs it under the run's MLflow run, publishes what it makes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from larpo_lib import logs
from larpo_lib.artifacts import Metrics, read_manifest, read_metrics
from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import files
from larpo_lib.pipeline.again import again
from larpo_lib.pipeline.scratch import settle_cache
from larpo_lib.pipeline.ticket import Ticket
from larpo_lib.plan import Call, Input
from larpo_lib.recording import take
from larpo_lib.registry import Registry
from larpo_lib.shards import UNSHARDED
from larpo_lib.steps.edge import at_edge
from larpo_lib.storage import cache_dir, fetch, localize
from larpo_lib.tracking import Run
from larpo_lib.training.history import HISTORY, read_history

DEADLINE_S = "LARPO_DEADLINE_S"
"""Variable of the environment with the seconds that a task may take; the cluster ends TrainJobs after them, too."""


@dataclass(frozen=True)
class Done:
    """A step that was taken.

    Attributes:
        uri: what it published.
        metrics: of the step.
        metadata: for KFP: what it is, how many rows it has, and where MLflow shows it.
        shown: as in the ticket.
        texts: what is shown of it, by kind: `markdown`, `html`.
        next: what is to be done next, where a step decides that.
    """

    uri: str
    metrics: Metrics
    metadata: Mapping[str, Any]
    shown: str | None
    texts: Mapping[str, str] = field(default_factory=dict)
    next: str = ""


def open_ticket(run: str) -> Ticket:
    """The ticket of the run that a task belongs to: the first thing that a task does.

    Args:
        run: where the ticket is.

    Raises:
        StorageError: it cannot be read.
    """
    logs.set_up()
    settle_cache()
    return again(lambda: Ticket.at(run))


def execute(ticket: Ticket, call: Call) -> Done:
    """Take a step, again and again where it fails of what may pass.

    A share of a step is not logged: what the step did is known when the shares are put together.
    """
    with ticket.journal.step(_name(call)):
        return again(lambda: _once(ticket, call))


def _once(ticket: Ticket, call: Call) -> Done:
    with at_edge(call.config, _flat(call.inputs), call.outputs) as local:
        paths = _nested(call, local)
        if call.arguments.get("shard", UNSHARDED) != UNSHARDED:
            metrics, address = take(call, paths, None), ""
        else:
            tracker = ticket.tracker()
            with tracker.step(call.name, call.iteration) as run:
                metrics = take(call, paths, run, **_registry(call, tracker.uri, run))
                address = tracker.address(run.run_id)
        published = local[next(iter(call.outputs))]
        return Done(call.output, metrics, _metadata(call, published, address), ticket.shown, _texts(call, published))


def describe(ticket: Ticket, call: Call) -> Done:
    """What a step made that was taken before."""
    tracker = ticket.tracker()
    with localize({"made": call.output}, {}) as local, tracker.step(call.name, call.iteration) as run:
        metadata = _metadata(call, local["made"], tracker.address(run.run_id))
        return Done(call.output, read_metrics(local["made"]), metadata, ticket.shown)


def train_on_nodes(ticket: Ticket, call: Call) -> Done:
    """Take a step that trains on several machines: a TrainJob trains and publishes, and is followed from here."""
    image = os.environ.get("LARPO_IMAGE")
    if image is None:
        raise ConfigError("LARPO_IMAGE names no image for the nodes", remedy="Set it to the trainer's image")
    with ticket.journal.step(_name(call)):
        return again(lambda: _once_on_nodes(ticket, call, image))


def _once_on_nodes(ticket: Ticket, call: Call, image: str) -> Done:
    from larpo_lib.kubernetes import Uris, job_name, train_job, train_on_nodes

    name, deadline = ticket.name, os.environ.get(DEADLINE_S)
    uris: dict[str, Any] = {key: call.inputs[key] for key in ("policy", "lists", "reference")}
    tracker = ticket.tracker()
    with tracker.step(call.name, call.iteration) as run:
        config: Any = call.config
        job = train_job(
            config, Uris(**uris, trained=call.output), name=job_name(name, f"train-{call.iteration}"), run=name,
            image=image, resources=ticket.resources or None, deadline_s=None if deadline is None else int(deadline),
            queue=os.environ.get("LARPO_QUEUE"), priority_class=os.environ.get("LARPO_PRIORITY_CLASS"),
        )  # fmt: skip
        train_on_nodes(job)
        metrics: Metrics = files.read(call.output, "metrics.json")
        run.log_curve(read_history(fetch(f"{call.output}/{HISTORY}", cache_dir()).parent))
        run.log_metrics(metrics)
        manifest = files.read(call.output, "artifact.json")
        metadata = _described(call, manifest, tracker.address(run.run_id))
        return Done(call.output, metrics, metadata, ticket.shown)


def _registry(call: Call, uri: str, run: Run) -> dict[str, Any]:
    return {"registry": Registry(uri, run.run_id)} if call.step == "promote.run" else {}


def _name(call: Call) -> str:
    shard = call.arguments.get("shard", UNSHARDED)
    parts = [call.name if call.step != "merge_shards.run" else f"merge-{call.name}"]
    parts += [] if call.iteration is None else [str(call.iteration)]
    parts += [] if shard == UNSHARDED else [f"share-{shard.index}-of-{shard.count}"]
    return "-".join(parts)


def _flat(inputs: Mapping[str, Input]) -> dict[str, str]:
    flat = {}
    for name, given in inputs.items():
        if isinstance(given, str):
            flat[name] = given
        elif given is not None:
            flat.update({f"{name}.{i}": uri for i, uri in enumerate(given)})
    return flat


def _nested(call: Call, local: Mapping[str, Path]) -> dict[str, Path | list[Path] | None]:
    paths: dict[str, Path | list[Path] | None] = {name: local[name] for name in call.outputs}
    for name, given in call.inputs.items():
        if given is None:
            paths[name] = None
        else:
            paths[name] = local[name] if isinstance(given, str) else [local[f"{name}.{i}"] for i in range(len(given))]
    return paths


def _metadata(call: Call, published: Path, address: str) -> dict[str, Any]:
    import pyarrow.parquet as pq

    rows = [pq.read_metadata(path).num_rows for path in sorted(published.glob("*.parquet"))]
    described = _described(call, read_manifest(published), address)
    return {**described, "rows": rows[0]} if rows else described


def _described(call: Call, manifest: Mapping[str, Any], address: str) -> dict[str, Any]:
    """KFP's metadata are texts and numbers."""
    described = {
        "uri": call.output,
        "step": manifest["step"],
        "fingerprint": manifest["fingerprint"],
        "larpo": manifest["code"],
        "bytes": sum(recorded["bytes"] for recorded in manifest["files"].values()),
        "mlflow": address,
    }
    return described if call.iteration is None else {**described, "iteration": call.iteration}


def _texts(call: Call, published: Path) -> dict[str, str]:
    if call.step == "report.run":
        return {"html": (published / "report.html").read_text("utf-8")}
    if call.step == "promote.run":
        decision = json.loads((published / "promotion.json").read_text("utf-8"))
        return {"markdown": promotion_text(decision)}
    return {}


def promotion_text(decision: Mapping[str, Any]) -> str:
    """The gate's decision in Markdown."""
    outcome = f"**{decision['model_name']}** version {decision['version']} is now **{decision['alias']}**"
    means = decision["means"]
    rows = [("metric", decision["metric"]), ("policy", means["policy"]), ("opponent", means["opponent"])]
    rows += [(name, decision[name]) for name in ("difference", "probability", "margin", "confidence")]
    table = "\n".join(f"| {name} | {'' if value is None else value} |" for name, value in rows)
    return f"{outcome}: {decision['reason']}.\n\n| | |\n|---|---|\n{table}\n"
