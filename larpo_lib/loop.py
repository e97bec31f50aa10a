"""Algorithm 1 on one machine: sample, rerank, build lists, train, evaluate, and again.

Every step publishes an artifact under the run's directory and finds it there when it is run again, so a loop killed at
any instant goes on from the step it was in, and ends with the same bytes.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, make_directory, write_json
from larpo_lib.candidates.memory import remembered
from larpo_lib.config import EarlyStopConfig, LarpoConfig, Section
from larpo_lib.objectives import OBJECTIVES
from larpo_lib.preflight import check_config, check_references
from larpo_lib.registry import Registry
from larpo_lib.steps import build_lists, evaluate, prepare, promote, report, rerank, sample, sft, train
from larpo_lib.tracking import Run, Tracker
from larpo_lib.training.trainable import read_history

SUMMARY = "summary.json"
_LIVE_EVERY_S = 30.0
_PREPARATIONS = ("prompts", "demonstrations", "sft")

Step = Callable[..., Metrics]


@dataclass
class _Trail:
    """What the iterations have made so far; `policies` and `evaluations` begin with the policy the loop began with."""

    policies: list[Path]
    evaluations: list[Path] = field(default_factory=list)
    measured: list[Metrics] = field(default_factory=list)
    candidates: list[Path] = field(default_factory=list)
    ranked: list[Path] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)


def run_loop(config: LarpoConfig, out: Path) -> dict[str, Any]:
    """Run the whole algorithm under `out`, or go on with it.

    Returns:
        What `summary.json` holds: the held-out metrics of every iteration (0 = the policy the loop began with), the
        seconds it took, and whether the policy was promoted.
    """
    start = time.monotonic()
    check_config(config)
    make_directory(out)
    tracker = Tracker(config.tracking, out / "mlflow")
    with tracker.run(config.name, _run_key(out), config) as parent:
        record = _Recorder(tracker)
        prompts, heldout = _prepare(config, out, record)
        trail = _Trail(policies=[_starting_policy(config, out, record)])
        _evaluate(config, out / "iteration-0", heldout, trail, record, parent)
        for s in range(1, config.loop.iterations + 1):
            _iterate(config, s, out / f"iteration-{s}", prompts, trail, record)
            _evaluate(config, out / f"iteration-{s}", heldout, trail, record, parent)
            if config.loop.early_stop and _has_stalled(trail.measured, config.loop.early_stop):
                break
        promoted = _promote(config, out, trail, tracker)
        _report(config, out, heldout, trail, record, parent)
        summary = _summarize(config, trail.measured, promoted, time.monotonic() - start)
    write_json(out / SUMMARY, summary)
    return summary


def _iterate(config: LarpoConfig, s: int, here: Path, prompts: Path, trail: _Trail, record: _Recorder) -> None:
    """One pass of Algorithm 1: the current policy samples, is the reference, and is trained."""
    policy, candidates, ranked = trail.policies[-1], here / "candidates", here / "ranked"
    lists, trained = here / "lists", here / "policy"
    record("sample", sample.run, config.sample, s, policy=policy, prompts=prompts, candidates=candidates, iteration=s)
    trail.candidates.append(candidates)
    trail.ranked.append(ranked)
    # What a list-relative reranker says holds within one list only, so it is given the whole of it every time.
    again = config.rerank.reranker.list_relative
    together = remembered(trail.candidates, config.lists.memory) if again else [candidates]
    record("rerank", rerank.run, config.rerank, s, prompts=prompts, candidates=together, ranked=ranked)
    merged = [ranked] if again else trail.ranked
    record("build_lists", build_lists.run, config.lists, s, prompts=prompts, ranked=merged, lists=lists)
    trail.lists.append(lists)
    fixed = config.loop.reference == "initial" and OBJECTIVES[config.train.objective.type].needs_reference
    reference = trail.policies[0] if fixed else None
    record.training(
        "train", train.run, config.train, s, policy=policy, lists=lists, trained=trained, reference=reference
    )
    trail.policies.append(trained)


def _prepare(config: LarpoConfig, out: Path, record: _Recorder) -> tuple[Path, Path]:
    prompts, heldout = out / "prompts", out / "heldout"
    if config.evaluation_prompts is None:
        record("prepare", prepare.run, config.prepare, None, prompts=prompts, heldout=heldout)
    else:
        record("prepare", prepare.run, config.prepare, None, prompts=prompts)
        record("prepare-evaluation", prepare.run, config.evaluation_prompts, None, prompts=heldout)
    check_references(config, prompts, heldout)
    return prompts, heldout


def _starting_policy(config: LarpoConfig, out: Path, record: _Recorder) -> Path:
    policy = Path(config.policy)
    if config.demonstrations is None:
        return policy
    shown, trained = out / "demonstrations", out / "sft"
    record("prepare-demonstrations", prepare.demonstrations, config.demonstrations, None, demonstrations=shown)
    record.training("sft", sft.run, config.sft, None, policy=policy, demonstrations=shown, trained=trained)
    return trained


def _evaluate(config: LarpoConfig, here: Path, heldout: Path, trail: _Trail, record: _Recorder, parent: Run) -> None:
    evaluation = here / "evaluation"
    number = len(trail.evaluations)
    policy = trail.policies[-1]
    metrics = record(
        "evaluate", evaluate.run, config.evaluate, number, policy=policy, prompts=heldout, evaluation=evaluation
    )
    parent.log_metrics(metrics, step=number)  # one curve over the iterations
    trail.evaluations.append(evaluation)
    trail.measured.append(metrics)


def _promote(config: LarpoConfig, out: Path, trail: _Trail, tracker: Tracker) -> Metrics:
    best = _best(trail.measured, config.loop.early_stop)
    with tracker.step("promote", None) as run:
        metrics = promote.run(
            config.promote,
            policy=trail.policies[best],
            evaluation=trail.evaluations[best],
            baseline=trail.evaluations[0] if best else None,
            promotion=out / "promotion",
            registry=Registry(tracker.uri, run.run_id),
        )
        run.log_metrics(metrics)
        run.log_artifact(out / "promotion" / "promotion.json")
    return metrics


def _report(config: LarpoConfig, out: Path, heldout: Path, trail: _Trail, record: _Recorder, parent: Run) -> None:
    record(
        "report",
        report.run,
        config.report,
        None,
        prompts=heldout,
        evaluations=trail.evaluations,
        preparations=[path for name in _PREPARATIONS if (path := out / name).exists()],
        candidates=trail.candidates,
        ranked=trail.ranked,
        lists=trail.lists,
        policies=trail.policies[1:],
        promotion=out / "promotion",
        report=out / "report",
    )
    parent.log_artifacts(out / "report")


def _has_stalled(measured: Sequence[Metrics], rule: EarlyStopConfig) -> bool:
    """Whether none of the last `patience` iterations beat the best one before them by more than `min_delta`."""
    values = [_defined(metrics, rule.metric) for metrics in measured]
    if len(values) <= rule.patience:
        return False
    return max(values[-rule.patience :]) <= max(values[: -rule.patience]) + rule.min_delta


def _best(measured: Sequence[Metrics], rule: EarlyStopConfig | None) -> int:
    """The iteration whose policy is the result: the last one, or with early stop the best one."""
    if rule is None:
        return len(measured) - 1
    return max(range(len(measured)), key=lambda i: _defined(measured[i], rule.metric))


def _defined(metrics: Metrics, name: str) -> float:
    value = metrics[name]
    assert value is not None, f"{name} was checked to be defined before the loop began"
    return value


def _summarize(config: LarpoConfig, measured: Sequence[Metrics], promoted: Metrics, seconds: float) -> dict[str, Any]:
    names = ("mean_reward", "accuracy", f"pass_at_{config.evaluate.n}", "greedy_accuracy", "greedy_reward")
    return {
        "name": config.name,
        "objective": config.train.objective.type,
        "iterations": [
            {"iteration": i, **{name: metrics[name] for name in names}} for i, metrics in enumerate(measured)
        ],
        "greedy_accuracy": measured[-1]["greedy_accuracy"],
        "promoted": bool(promoted["promoted"]),
        "seconds": round(seconds, 1),
    }


def _run_key(out: Path) -> str:
    """The identity under which MLflow finds this run again."""
    path = out / "run.json"
    if not path.exists():
        write_json(path, {"run_key": uuid.uuid4().hex})
    return str(json.loads(path.read_text("utf-8"))["run_key"])


class _Recorder:
    """Runs a step and logs it to MLflow as a nested run."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def __call__(self, name: str, step: Step, config: Section, s: int | None, /, **paths: Any) -> Metrics:
        """Run a step, of iteration `s` if it belongs to one, and log its metrics."""
        with self._tracker.step(name, s) as run:
            metrics = step(config, **paths)
            run.log_metrics(metrics)
        return metrics

    def training(self, name: str, step: Step, config: Section, s: int | None, /, **paths: Any) -> Metrics:
        """Run a step that trains; its curves show while it goes on."""
        with self._tracker.step(name, s) as run:
            live = _LiveCurve(run)
            metrics = step(config, **paths, log=live)
            live.flush()  # speed and memory are in no history
            run.log_curve(read_history(paths["trained"]))
            run.log_metrics(metrics)
        return metrics


class _LiveCurve:
    """Logs rows of a training history every now and then. Logging a row twice leaves one."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows: list[Mapping[str, float]] = []
        self._last = time.monotonic()

    def __call__(self, row: Mapping[str, float], step: int) -> None:
        self._rows.append({**row, "step": step})
        if time.monotonic() - self._last >= _LIVE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Log what has come since the last time."""
        self._run.log_curve(self._rows)
        self._rows, self._last = [], time.monotonic()
