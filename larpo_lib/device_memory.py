"""Memory of a GPU or of the machine. If it runs out, that is told in one line, with the settings that take less."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from larpo_lib.errors import LarpoError

if TYPE_CHECKING:  # models are checked by this module where there are torch and transformers alone
    from pydantic import BaseModel

_SIGNS = re.compile(
    r"CUDA (error: )?out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|NCCL.*out of memory"
    r"|DefaultCPUAllocator: (can't allocate memory|not enough memory)",
    re.IGNORECASE | re.DOTALL,
)
"""How PyTorch says it where the error has no class of its own."""
_SENTENCES = 3
_SAVING = ("micro_batch_tokens", "batch_tokens", "batch_size", "logprob_chunk_tokens", "gpu_memory")
"""Settings of which less takes less memory, where they change nothing in what comes out."""


class RanOutError(RuntimeError):
    """Memory ran out in another process; it says there how."""


@contextmanager
def memory_errors(step: str, config: BaseModel) -> Iterator[None]:
    """Tell memory that runs out in a step as a LarpoError, which names what may be set lower.

    Args:
        step: its name.
        config: its settings.

    Raises:
        LarpoError: memory ran out within the block.
    """
    try:
        yield
    except Exception as error:
        told = ran_out(error)
        if told is None:
            raise
        lower = [f"{name} (now {value})" for name, value in _lower(config)]
        first = f"Lower {' or '.join(lower)}" if lower else "Use a machine with more memory"
        again = "set gradient_checkpointing = true" if getattr(config, "gradient_checkpointing", None) is False else ""
        remedy = (
            f"{', or '.join(part for part in (first, again) if part)}, and run the same command again; it continues"
        )
        raise LarpoError(
            f"{step}: memory ran out: {told}", remedy=f"{remedy} where it stopped. `larpo plan` says what fits"
        ) from error


def ran_out(error: Exception) -> str | None:
    """What was asked of a memory that did not have it; None if `error` is of something else."""
    if isinstance(error, LarpoError):
        return None
    said = " ".join(str(error).split())
    own_class = isinstance(error, MemoryError | RanOutError) or type(error).__name__ == "OutOfMemoryError"
    if not own_class and not _SIGNS.search(said):
        return None
    sentences = re.split(r"(?<=\w)\. ", said[max(0, said.find("DefaultCPUAllocator")) :])  # before it is a place in C++
    return ". ".join(sentences[:_SENTENCES]).rstrip(".") or "there is none left"


def give_back_memory() -> None:
    """Return the GPU memory of models that are gone, which PyTorch keeps for this process, so that others can use it.

    vLLM's engine, which is a process of its own, does not start if too little memory is free. Where PyTorch is not in
    use, or has not used a GPU, nothing is done.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()  # trainers refer to themselves
        torch.cuda.empty_cache()


def _lower(config: BaseModel, place: str = "") -> Iterator[tuple[str, object]]:
    """The settings that save memory, by their places in a step's, with their values."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if hasattr(type(value), "model_fields"):
            yield from _lower(value, f"{place}{name}.")
        elif name in _SAVING and name in getattr(config, "execution", ()) and value is not None:
            yield f"{place}{name}", value
