"""What larpo asks of DeepSpeed's ZeRO, for trainings and for the estimate of their memory. Imports nothing heavy."""

from collections.abc import Mapping
from typing import Any, Literal

REDUCE_BUCKET = 500_000_000
"""Gradients that are exchanged together: DeepSpeed's default."""


def zero_settings(stage: Literal[0, 1, 2, 3], *, offload: bool, on_gpu: bool) -> dict[str, Any]:
    """DeepSpeed's section `zero_optimization`."""
    settings: dict[str, Any] = {
        "stage": stage,
        "contiguous_gradients": True,
        "overlap_comm": on_gpu,
        "reduce_bucket_size": REDUCE_BUCKET,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    if offload:
        settings["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
    return settings


def gradient_buckets(settings: Mapping[str, Any]) -> int:
    """How many buckets of `reduce_bucket_size` gradients a process has, by what `zero_settings` gives.

    One, and in stages 1 and 2 a second one that is filled while the first is exchanged. In stage 0 there are none while
    activations are in memory.
    """
    if settings["stage"] == 0:
        return 0
    return 2 if settings["stage"] < 3 and settings["overlap_comm"] else 1


def sum_gradients_in(settings: Mapping[str, Any]) -> Literal["bf16", "fp32"]:
    """In what a training in bfloat16 adds up the gradients of its micro-batches, by what `zero_settings` gives.

    float32, since a sum in bfloat16 is rounded with every micro-batch; but bfloat16 where DeepSpeed
    would take 4 bytes a parameter on every GPU for it (stage 1), or 4 that offloading is to save there (stage 2). Stage
    0 is refused in bfloat16.
    """
    if settings["stage"] < 2 or (settings["stage"] == 2 and "offload_optimizer" in settings):
        return "bf16"
    return "fp32"
