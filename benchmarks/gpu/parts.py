"""The parts of the benchmark, those that prove most first. Imports nothing but the standard library."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_START = time.monotonic()
"""Of this process, but for the interpreter."""

Row = dict[str, Any]
"""What was measured: `what`, `value`, `unit`, and `ok` where there is a right value."""

_CONFIG = ("pydantic",)
_MODELS = (*_CONFIG, "pyarrow")
_STEPS = (*_MODELS, "jinja2", "typer", "rich", "httpx2", "tenacity", "mlflow", "boto3", "math_verify", "matplotlib")
"""What the commands import, beside torch, transformers and accelerate."""


@dataclass(frozen=True)
class Part:
    """A part of the benchmark; `benchmarks.gpu.<module>` has a function `run` for it.

    Attributes:
        name: of the part.
        shows: what it shows.
        module: has `run(bench, *arguments)`.
        arguments: of `run`.
        needs: packages beside torch, transformers and accelerate.
        seconds: it takes at most so long on a GPU, then it is stopped.
    """

    name: str
    shows: str
    module: str
    seconds: int
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


PARTS = (
    Part("machine", "the GPU, and its rate on a plain matrix product", "machine", 40),
    Part("attention", "FlexAttention over shared prompts equals separate rows", "attention", 120),
    Part("loss", "log-probabilities at a vocabulary of 262,144: values, memory, time", "loss", 60),
    Part("training-1.5b", "a training step of 1.2 to 1.5 billion parameters", "training", 150, ("1.5b",)),
    Part("training-8b", "a training step of 8 billion parameters", "training", 150, ("8b",)),
    Part("trl", "DPO against TRL's trainer", "peers", 150, ("trl",), ("trl", "datasets", *_MODELS)),
    Part("sampling", "tokens/s of the sampler `hf`", "generation", 60, ("sampling",), _MODELS),
    Part(
        "reranking", "a classifier batched, against one response at a time", "generation", 60, ("reranking",), _MODELS
    ),
    Part("vllm", "tokens/s of the sampler `vllm` against `hf`", "generation", 150, ("vllm",), ("vllm", *_MODELS)),
    Part(
        "deepspeed",
        "the loop with DeepSpeed stage 2 in one process",
        "loops",
        120,
        ("deepspeed",),
        ("deepspeed", *_STEPS),
    ),
    Part("loop-135m", "one iteration of the loop with 135 million parameters", "loops", 150, ("loop-135m",), _STEPS),
    Part("quickstart", "the whole quickstart", "loops", 240, ("quickstart",), _STEPS),
)


@dataclass(frozen=True)
class Bench:
    """What a part is told, and tells.

    Attributes:
        device: `cuda`, or `cpu` for the dry run, which takes stand-in sizes.
        rows: a file that each row is appended to as soon as it is measured.
    """

    device: str
    rows: Path
    _group: list[str] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        """Whether this is no dry run."""
        return self.device == "cuda"

    def log(self, what: str) -> None:
        """Say in the part's log what is done, and when: where its time goes."""
        print(f"{time.monotonic() - _START:.1f} s: {what}", flush=True)

    def tell(
        self, what: str, value: float | str | None, unit: str = "", ok: bool | None = None, **more: float | str
    ) -> None:
        """Keep what was measured, whatever happens to this process later.

        Args:
            what: was measured.
            value: of it; None: unknown.
            unit: of `value`.
            ok: whether it is as it must be; None: there is no right value.
            more: figures of the same measurement, by name and unit, such as `peak_gib`.
        """
        row: Row = {"what": ": ".join([*self._group, what]), "value": value, "unit": unit, **more}
        self.log(row["what"])
        with self.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row if ok is None else {**row, "ok": ok}) + "\n")

    @contextmanager
    def about(self, what: str) -> Iterator[None]:
        """Rows that belong together. Where their measurement fails, that is their row, and the part goes on.

        An error of the GPU itself is no such failure: what comes after it in this process would fail likewise.
        """
        self._group.append(what)
        failed = False
        try:
            yield
        except Exception as error:
            if _ends_the_process(error):
                raise
            failed = True
            self.tell("failed", first_line(error), ok=False)
        finally:
            self._group.pop()
        if failed:  # the error, whose frames hold tensors, is gone by now
            free_memory(self.device)


def first_line(error: BaseException) -> str:
    """The kind of an error, and what it says first."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__


def read_rows(path: Path) -> list[Row]:
    """The rows of a part; a last line that was cut off is left out."""
    lines: Sequence[str] = path.read_text("utf-8").splitlines() if path.is_file() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _ends_the_process(error: Exception) -> bool:
    said = str(error)
    return "CUDA error" in said or "device-side assert" in said


def free_memory(device: str) -> None:
    """Give back what is no longer in use."""
    import gc

    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
