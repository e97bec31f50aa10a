"""What both sides are measured with: the same clock, the same memory gauge, rounds that alternate, one JSON line."""

import ctypes
import gc
import json
import multiprocessing
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from larpo_lib.reporting.machine import machine

Result = TypeVar("Result")
MIB = 2**20


@dataclass(frozen=True)
class Run:
    """One epoch of training on one side.

    Attributes:
        train_seconds: from the first to the last optimiser step, set-up and checkpoints left out.
        reference_seconds: the pass that computes the reference log-probabilities.
        cpu_seconds: processor time of both, over all threads; less shaken by what else runs on the machine.
        steps: of the optimiser.
        loss: mean over the steps.
        grad_norms: before clipping, of the steps that were logged.
        reference_logps: of each response, list by list in the order given, in nats.
    """

    train_seconds: float
    reference_seconds: float
    cpu_seconds: float
    steps: int
    loss: float
    grad_norms: list[float]
    reference_logps: list[list[float]]

    def __str__(self) -> str:
        return f"{self.train_seconds:.2f} s, reference {self.reference_seconds:.2f} s"


class Clock:
    """Seconds between `start` and `stop`: of the wall clock, and of the processor over all threads."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    def start(self) -> None:
        """Begin once the GPU, if there is one, is idle."""
        _wait_for_gpu()
        self.seconds, self.cpu_seconds = -time.perf_counter(), -time.process_time()

    def stop(self) -> None:
        """End likewise."""
        _wait_for_gpu()
        self.seconds += time.perf_counter()
        self.cpu_seconds += time.process_time()


class TrainingClock(TrainerCallback):
    """Times the loop of a `transformers.Trainer`, after its set-up."""

    def __init__(self) -> None:
        self.clock = Clock()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Everything is set up."""
        self.clock.start()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The last step is done."""
        self.clock.stop()


class StepMemory(TrainerCallback):
    """Peak memory of a training's second step over what is there before it: weights and the optimiser's state.

    Attributes:
        before: bytes in use before the second step; of the whole process on a CPU, of tensors on a GPU.
        peak: the most there was in it.
    """

    def __init__(self) -> None:
        self.before = 0
        self.peak = 0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Gradients are gone again: note what is in use after the first step, and the peak after the second."""
        if state.global_step == 1:
            self.before = reset_peak(args.device)
        if state.global_step == 2:
            self.peak = peak_memory(args.device)


class Seconds(float):
    """A time that is printed to hundredths of a second."""

    def __str__(self) -> str:
        return f"{self:.2f} s"


def timed(work: Callable[[], Result]) -> tuple[Seconds, Result]:
    """How long something takes, and what it gives."""
    clock = Clock()
    clock.start()
    found = work()
    clock.stop()
    return Seconds(clock.seconds), found


def alternate(sides: Mapping[str, Callable[[int], Result]], rounds: int) -> dict[str, list[Result]]:
    """Run all sides in turn, `rounds` times after a round that warms up and is not counted.

    Each side is given the round's number, to seed its weights with, and what it gives is printed. Who begins changes
    from round to round.
    """
    runs: dict[str, list[Result]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        names = list(sides) if number % 2 else list(reversed(sides))
        for name in names:
            gc.collect()
            run = sides[name](number)
            print(f"round {number}: {name} {run}")
            if number:
                runs[name].append(run)
    return runs


def medians(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, float]]:
    """The median of each clock over a side's rounds, in seconds."""
    clocks: dict[str, Callable[[Run], float]] = {
        "train": lambda run: run.train_seconds,
        "train_and_reference": lambda run: run.train_seconds + run.reference_seconds,
        "cpu": lambda run: run.cpu_seconds,
    }
    return {
        side: {name: round(statistics.median(map(clock, rounds)), 3) for name, clock in clocks.items()}
        for side, rounds in runs.items()
    }


def reset_peak(device: torch.device) -> int:
    """Forget the peak so far; returns the bytes in use now."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free belongs to nobody, and must not hide part of the peak
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _status("VmRSS")


def peak_memory(device: torch.device) -> int:
    """The most bytes in use since `reset_peak`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def in_child(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a fresh process, so that nothing of another measurement is in its memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def report(
    benchmark: str,
    ratios: Mapping[str, float],
    bars: Mapping[str, float],
    *,
    packages: Sequence[str] = ("torch", "transformers", "trl", "accelerate"),
    **details: Any,
) -> None:
    """Print the result as one line of JSON, with what it was measured on."""
    found = {
        "benchmark": benchmark,
        "ratios": dict(ratios),
        "bars": dict(bars),
        **details,
        "machine": machine(),
        "versions": {name: version(name) for name in packages},
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
    }
    print(json.dumps(found))


def _status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: memory can be measured on Linux only")


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
