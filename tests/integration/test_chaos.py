"""A run killed again and again ends with the same bytes as one that never was; rewards, lists and loss are a user's."""

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Forked, forked_larpo
from tiny_world import files, make_tiny_world

from larpo_lib.artifacts import MANIFEST, verify
from larpo_lib.config.toml import inline

KILLS = 3
SETTINGS = (
    "loop.iterations=2",
    "sft.save_steps=2",
    "sft.max_steps=6",
    "train.save_steps=1",
    "train.max_steps=3",
    "sample.part_prompts=3",
    "rerank.part_prompts=3",
)
PARTS = """
import torch
from larpo_lib.objectives.masked import differences, log_ratios, ordered_pairs
from larpo_lib.objectives.terms import reduce_terms

async def near(responses, references, goal):
    return [-abs(len(text) - goal) + (reference[-1] in text) for text, reference in zip(responses, references)]

def odd(candidates):
    return candidates[::2] + candidates[-1:] if len(candidates) % 2 == 0 else candidates[::2]

def hinge(batch, margin: float):
    return reduce_terms(torch.relu(margin - differences(0.1 * log_ratios(batch))), ordered_pairs(batch), "sum")
"""
MINE = {
    "rerank.reranker": ("near", {"goal": 20}),
    "lists.selection": ("odd", {}),
    "train.objective": ("hinge", {"margin": 2.0}),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    make_tiny_world(root)
    (root / "mine.py").write_text(PARTS, "utf-8")
    return root


@pytest.fixture(scope="module")
def unbroken(world: Path) -> tuple[Path, float]:
    """A run that nobody killed, and how long it took."""
    start = time.monotonic()
    assert _start(world, world / "unbroken").wait() == 0
    return world / "unbroken", time.monotonic() - start


def test_a_killed_run_ends_like_an_unbroken_one(
    world: Path, unbroken: tuple[Path, float], record_property: Callable[[str, object], None]
) -> None:
    """Only kills of unfinished runs count; a run that got to its end is compared, and another one is begun."""
    expected, seconds = unbroken
    rng = random.Random(KILLS)
    kills: list[tuple[float, int]] = []
    runs = 0
    while len(kills) < KILLS:
        out = world / f"killed-{runs}"
        runs += 1
        while len(kills) < KILLS and (kill := _killed(world, out, rng.uniform(0.0, seconds))):
            kills.append(kill)
        assert _start(world, out).wait() == 0, f"killed at {kills}"
        _assert_same(out, expected)
    record_property("kills", kills)
    record_property("runs", runs)


def _killed(world: Path, out: Path, moment: float) -> tuple[float, int] | None:
    """Start a run and kill it; when, and how many artifacts stood then. None if it had come to its end by then."""
    process = _start(world, out)
    try:
        process.wait(timeout=moment)
    except subprocess.TimeoutExpired:
        process.kill_session()
    process.wait()
    return None if (out / "summary.json").exists() else (round(moment, 1), _published(out))


def _assert_same(out: Path, expected: Path) -> None:
    assert _artifact_bytes(out) == _artifact_bytes(expected)
    for manifest in out.rglob(MANIFEST):
        verify(manifest.parent)
    assert not list(out.rglob("*.partial"))
    assert _tracked_steps(out) == _tracked_steps(expected)


def _start(world: Path, out: Path, *settings: str) -> Forked:
    command = ["run", "--config", world / "larpo.toml", "--out", out]
    mine = [
        f"{place}={inline({'type': 'function', 'target': f'{world}/mine.py:{name}', 'settings': given})}"
        for place, (name, given) in MINE.items()
    ]
    chosen = [f"--set={setting}" for setting in (*SETTINGS, *mine, *settings)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return forked_larpo(*command, *chosen, output=world / f"{out.name}.log", environment=environment)


def _artifact_bytes(out: Path) -> dict[str, dict[str, bytes]]:
    """Every artifact of a run, byte for byte. The promotion names its registry's store, so it is compared too."""
    return {str(path.parent.relative_to(out)): files(path.parent) for path in sorted(out.rglob(MANIFEST)) if _own(path)}


def _own(manifest: Path) -> bool:
    """Whether an artifact is the run's own, and not a copy of it in MLflow's store."""
    return "mlflow" not in manifest.parts


def _published(out: Path) -> int:
    return sum(_own(path) for path in out.rglob(MANIFEST))


def _tracked_steps(out: Path) -> Counter[tuple[str, str, str]]:
    """Name, iteration and status of every nested run, and how often there is one."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{out / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("larpo")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    tags = [(run.data.tags.get("larpo.step", "run"), run.data.tags.get("larpo.iteration", "")) for run in runs]
    return Counter((*tag, run.info.status) for tag, run in zip(tags, runs, strict=True))
