"""How fast a training step is, how much of the device it uses, and how much memory it takes.

These figures differ from run to run: they are for live logging, and must never enter a published history or artifact.
"""

import re
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import Embedding, Parameter
from transformers import PretrainedConfig, PreTrainedModel

from larpo_lib.models.packing import PackedList

_DENSE_PEAKS = {
    "A10": 125e12,
    "A100 80GB PCIe": 312e12,
    "A100-PCIE-40GB": 312e12,
    "A100-SXM4-40GB": 312e12,
    "A100-SXM4-80GB": 312e12,
    "B200": 2250e12,
    "GeForce RTX 4090": 165e12,
    "H100 80GB HBM3": 989e12,  # the SXM module
    "H100 PCIe": 756e12,
    "H200": 989e12,
    "L4": 121e12,
    "L40S": 362e12,
}
"""FLOP/s of bfloat16 and float16 matrix products with float32 sums, without sparsity, from NVIDIA's data sheets."""


_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers, as config.json names them."""


class TokenFlops(NamedTuple):
    """FLOPs of the forward and backward pass of one token.

    Attributes:
        body: of any token, in the layers.
        output: of a response token besides, in the projection to the vocabulary.
    """

    body: float
    output: float


def flops_per_token(model: PreTrainedModel, context: float) -> TokenFlops | None:
    """Model FLOPs of a token: what the mathematics of a training step needs (PaLM, arXiv 2204.02311, appendix B).

    - A parameter takes 2 FLOPs forward, 2 for the gradient of its input and, where it is trained, 2 for its own: 6 in
      all (Kaplan et al. 2020, arXiv 2001.08361), 4 where it is frozen, as LoRA leaves most. Embeddings are looked up
      and take none; the output layer counts by itself, even where it shares its weights with them.
    - Attention takes 12 * layers * heads * head_dim * context. PaLM takes the length of the row for the context, as if
      tokens saw those behind them; here it is what they do see. Sliding windows are not taken off.

    Hardware FLOPs may be more: what gradient checkpointing and chunked log-probabilities compute again, padding, copies
    of a prompt, further forward passes (KTO) and the optimiser do not count.

    Args:
        model: the policy; sharded by ZeRO-3, adapted by LoRA or plain.
        context: positions that a token sees, itself included, on average; see `mean_context`.

    Returns:
        None for a mixture of experts, whose tokens pass only some of the parameters, and where not all layers have the
        same attention over the whole context, as of Gemma 4, Mamba and hybrids.
    """
    config = model.config.get_text_config()
    width = _attention_width(config)
    if width is None or getattr(config, "num_experts_per_tok", None) is not None:
        return None
    output = {id(parameter) for parameter in model.get_output_embeddings().parameters()}
    looked_up = {id(p) for module in model.modules() if isinstance(module, Embedding) for p in module.parameters()}
    parameters = list(model.parameters())
    attention = 12 * config.num_hidden_layers * width * context
    return TokenFlops(
        body=attention + sum(_flops(p) for p in parameters if id(p) not in output | looked_up),
        output=sum(_flops(p) for p in parameters if id(p) in output),
    )


def _attention_width(config: PretrainedConfig) -> int | None:
    """Heads by their size, the same in all layers; None where they differ or are no attention."""
    heads = getattr(config, "num_attention_heads", None)
    if heads is None or getattr(config, "is_heterogeneous", False):
        return None
    if not _ATTENTION.issuperset(getattr(config, "layer_types", None) or ()):
        return None
    size: int = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(heads) * size


def mean_context(lists: Sequence[PackedList]) -> float:
    """Positions that a token sees, itself included, on average over the unique tokens of at least one list.

    Prompts are seen by themselves and by their responses; a response's tokens see those before them.
    """
    seen = tokens = 0
    for prompt, responses in lists:
        seen += len(prompt) * (len(prompt) + 1) // 2
        seen += sum(len(r) * len(prompt) + len(r) * (len(r) + 1) // 2 for r in responses)
        tokens += len(prompt) + sum(map(len, responses))
    return seen / tokens


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Dense peak of a GPU in FLOP/s, as its maker publishes it.

    Args:
        device: as the model is placed.
        dtype: of the matrix products (under autocast, its own); other than bfloat16 and float16 there is none here.

    Returns:
        None where it is not known: a CPU, a part of a GPU (MIG), a GPU that is not listed. Names are compared whole:
        an A10 is no A100, and the two kinds of H100 differ.
    """
    if device.type != "cuda" or dtype not in {torch.bfloat16, torch.float16}:
        return None
    return _DENSE_PEAKS.get(torch.cuda.get_device_name(device).removeprefix("NVIDIA "))


def peak_memory(device: torch.device) -> int | None:
    """Most bytes taken so far: by tensors on a GPU, elsewhere by the process. None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux ru_maxrss would be no less than what the parent process had taken when it started this one.
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text("utf-8"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def step_performance(
    tokens: int, response_tokens: int, seconds: float, flops: TokenFlops | None, peak: float | None
) -> dict[str, float]:
    """Speed of an optimiser step.

    Args:
        tokens: unique ones of the global batch: each list's prompt once, and its responses.
        response_tokens: those that are projected to the vocabulary.
        seconds: how long the step took.
        flops: of a token, if they are known.
        peak: FLOP/s of all ranks together, if it is known.

    Returns:
        `seconds`, `tokens_per_s` and, where `flops` and `peak` are known, `mfu`: model FLOPs utilisation in [0, 1].
    """
    assert seconds > 0, "a step takes time"
    assert 0 <= response_tokens <= tokens, "response tokens are tokens"
    figures = {"seconds": seconds, "tokens_per_s": tokens / seconds}
    if flops is not None and peak is not None:
        figures["mfu"] = (tokens * flops.body + response_tokens * flops.output) / (seconds * peak)
    return figures


class Throughput:
    """Measures optimiser steps, one after the other: `start`, the step, `stop`.

    Args:
        flops: of a token, if they are known.
        device: this rank's.
        dtype: of the matrix products.
        world_size: processes that split the global batch, each on a device like this one.
    """

    def __init__(self, flops: TokenFlops | None, device: torch.device, dtype: torch.dtype, world_size: int) -> None:
        self._flops = flops
        self._device = device
        peak = peak_flops(device, dtype)
        self._peak = None if peak is None else peak * world_size
        self._started: float | None = None

    def start(self) -> None:
        """Begin a step."""
        self._started = self._now()

    def stop(self, tokens: int, response_tokens: int) -> dict[str, float]:
        """End the step: what `step_performance` gives for the global batch, and this rank's `memory_gib` so far."""
        assert self._started is not None, "start() comes first"
        figures = step_performance(tokens, response_tokens, self._now() - self._started, self._flops, self._peak)
        self._started = None
        memory = peak_memory(self._device)
        return figures if memory is None else {**figures, "memory_gib": memory / 2**30}

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # a launched kernel is not yet a done one
        return time.perf_counter()


def _flops(parameter: Parameter) -> int:
    size = getattr(parameter, "ds_numel", parameter.numel())  # ZeRO-3 leaves an empty one in its place
    return size * (6 if parameter.requires_grad else 4)
