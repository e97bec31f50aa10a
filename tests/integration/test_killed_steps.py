"""Sampling and reranking, by one process and two, killed at random moments: the same bytes, and no part made twice."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Forked, forked_larpo
from tiny_world import write_jsonl

from larpo_lib.artifacts import digest
from larpo_lib.playground.problems import make_problems

PROMPTS, PART = 120, 4


@pytest.fixture(scope="module")
def folder(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts, and what nobody killed makes of them."""
    root = tmp_path_factory.mktemp("killed-steps")
    problems = make_problems(PROMPTS, random.Random(0))
    rows: list[dict[str, object]] = [{"question": p.question, "answer": p.solution} for p in problems]
    source = write_jsonl(root / "prompts.jsonl", rows)
    config = ["--config", str(tiny_world / "larpo.toml")]
    prepare = ["prepare", *config, "--set", f"prepare.source={source}", "--prompts", str(root / "prompts")]
    for command in (prepare, _sample(tiny_world, root, "candidates", 1), _rerank(tiny_world, root, "ranked", 1)):
        assert _start(command, root).wait() == 0
    return root


def _sample(world: Path, root: Path, name: str, processes: int) -> list[str]:
    size = ["sample.k=2", "sample.max_new_tokens=8"]
    settings = [f"sample.part_prompts={PART}", f"sample.processes={processes}", *size]
    paths = ["--policy", str(world / "policy"), "--prompts", str(root / "prompts"), "--candidates", str(root / name)]
    return ["sample", "--config", str(world / "larpo.toml"), *paths, *(f"--set={setting}" for setting in settings)]


def _rerank(world: Path, root: Path, name: str, processes: int) -> list[str]:
    settings = [f"rerank.part_prompts={PART}", f"rerank.processes={processes}"]
    paths = ["--prompts", str(root / "prompts"), "--candidates", str(root / "candidates"), "--ranked", str(root / name)]
    return ["rerank", "--config", str(world / "larpo.toml"), *paths, *(f"--set={setting}" for setting in settings)]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("command", "whole"), [(_sample, "candidates"), (_rerank, "ranked")])
def test_a_killed_step_makes_no_part_twice_and_the_same_bytes(
    command: Callable[[Path, Path, str, int], list[str]],
    whole: str,
    processes: int,
    tiny_world: Path,
    folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    out = folder / f"{whole}-{processes}"
    rng = random.Random(processes)
    parts: dict[str, int] = {}
    for wanted in sorted(rng.sample(range(1, PROMPTS // PART - 2), 3 - processes)):
        process = _start(command(tiny_world, folder, out.name, processes), folder)
        while process.poll() is None and len(_parts(out)) < wanted:
            time.sleep(0.01)
        process.kill()  # the starter alone: its workers must end with it
        assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
        _wait_for_end_of(out)
        found = _parts(out)
        assert {name: found[name] for name in parts} == parts, "a part was made twice"
        parts = found
    record_property("parts at the last kill", len(parts))
    process = _start(command(tiny_world, folder, out.name, processes), folder)
    seen = dict(parts)
    while process.poll() is None:
        seen.update(_parts(out))
        time.sleep(0.005)
    assert process.poll() == 0
    assert {name: seen[name] for name in parts} == parts, "a part was made twice"
    assert digest(out) == digest(folder / whole)


def _parts(out: Path) -> dict[str, int]:
    """The whole parts of a step at work, with the inode that writing one again would change."""
    found = {}
    for part in out.parent.glob(f".{out.name}.partial/*/scratch/part-*.parquet"):
        try:
            found[part.name] = part.stat().st_ino
        except FileNotFoundError:  # the step was published in between
            return {}
    return found


def _wait_for_end_of(out: Path) -> None:
    """Until no process works on the step; a worker that outlived its starter would work on."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        before = _parts(out)
        time.sleep(0.5)
        if _parts(out) == before:
            return
    raise AssertionError("a worker outlived the process that started it")


def _start(arguments: list[str], folder: Path) -> Forked:
    return forked_larpo(*arguments, output=folder / "output")
