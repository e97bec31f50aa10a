"""Whole loops, by the command line: the quickstart, a larger policy, and DeepSpeed."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.parts import Bench
from benchmarks.measure import timed

_FEW = (
    *("prepare.limit=32", "loop.iterations=1", "sample.k=4", "evaluate.n=2", "evaluate.limit=16"),
    *("sample.prompts_per_iteration=32", "sample.max_new_tokens=8"),
    *("demonstrations.limit=64", "sft.max_steps=4", "sft.batch_size=16"),
)
"""The dry run's."""
_SMOL = (
    *("prepare.limit=64", "loop.iterations=1", "sample.prompts_per_iteration=64", "evaluate.limit=32"),
    *("sft.max_steps=10", "sft.batch_size=32", "sft.learning_rate=1e-4"),
)
_BYTES = (
    *("sample.max_prompt_tokens=512", "sft.max_prompt_tokens=512", "sft.max_tokens=1024"),
    *(
        "train.max_prompt_tokens=512",
        "train.max_tokens=1024",
        "sample.max_new_tokens=64",
        "sample.sampler.batch_size=64",
    ),
)
"""A policy that reads bytes has longer prompts."""


def run(bench: Bench, which: str) -> None:
    """One loop, in a folder that is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        settings = [f"model.device={bench.device}"]
        if which == "loop-135m":
            settings += [f"policy={save_policy(bench, here / 'smol')}", *_BYTES, *(_SMOL if bench.on_gpu else ())]
        if which == "deepspeed":
            launch = ("launcher=deepspeed", "nproc=1", "zero_stage=2")
            settings += [*_FEW, *(f"launch.{setting}" for setting in launch)]
        if not bench.on_gpu:
            settings += [each for each in _FEW if which != "loop-135m" or not each.startswith("sample.max_new")]
        quickstart(bench, here / "run", settings)


def quickstart(bench: Bench, out: Path, settings: Sequence[str]) -> None:
    """Run it, and tell how long it took and what it came to."""
    command = [sys.executable, "-m", "larpo_lib", "quickstart", "--out", str(out)]
    for setting in settings:
        command += ["--set", setting]
    seconds, done = timed(lambda: subprocess.run(command, check=False))  # noqa: S603 - what it says is in the part's log
    if done.returncode:
        raise SystemExit(done.returncode)
    bench.tell("whole loop", float(seconds), "s")
    iterations = json.loads((out / "summary.json").read_text("utf-8"))["iterations"]
    for name in ("mean_reward", "accuracy"):
        bench.tell(name, " to ".join(f"{iterations[i][name]:.3f}" for i in (0, -1)), "from start to end")


def save_policy(bench: Bench, directory: Path) -> Path:
    """Random weights in SmolLM2-135M's shape, and a tokenizer of bytes whose turns end with a token of their own."""
    import torch

    from benchmarks.gpu.shapes import SMOL, TINY_LLAMA, make
    from benchmarks.models import byte_tokenizer

    make(SMOL if bench.on_gpu else TINY_LLAMA, "cpu", dtype=torch.float32).save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)
    return directory
