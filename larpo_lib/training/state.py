"""The whole state of a model in training, tensor by tensor, however it is spread over processes.

Each tensor goes by `kind/parameter`: its float32 `weights` and AdamW's moments `exp_avg` and `exp_avg_sq`. That knows
neither of ranks nor of ZeRO's partitions, so what one number of processes wrote any other can read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from larpo_lib.training.ranks import Ranks

WEIGHTS, MOMENTS = "weights", ("exp_avg", "exp_avg_sq")

ReadTensor = Callable[[str], Tensor]
"""From a tensor's name to the tensor; called on the leading process only."""


def training_state(model: torch.nn.Module, optimizer: Any) -> ReplicatedState | ZeroState:
    """The state of `model` under the optimiser that trains it, DeepSpeed's or PyTorch's own.

    All processes must call its methods together.
    """
    while hasattr(optimizer, "optimizer"):
        if hasattr(optimizer, "fp32_partitioned_groups_flat") or hasattr(optimizer, "single_partition_of_fp32_groups"):
            return ZeroState(model, optimizer)
        optimizer = optimizer.optimizer  # a wrapper around the one that counts
    return ReplicatedState(model, optimizer)


class ReplicatedState:
    """Every process holds all of it."""

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._parameters = _trained(model)
        self._optimizer = optimizer
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        assert all(id(parameter) in held for _, parameter in self._parameters), "it trains copies of the weights"

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every trained parameter's tensors, whole and on the CPU, one at a time."""
        for name, parameter in self._parameters:
            yield f"{WEIGHTS}/{name}", parameter.detach().cpu()
            for kind in MOMENTS:
                yield f"{kind}/{name}", self._optimizer.state[parameter][kind].cpu()

    @torch.no_grad()
    def load(self, read: ReadTensor, ranks: Ranks, updates: int) -> None:
        """Go on from such tensors, after `updates` optimiser steps."""
        for name, parameter in self._parameters:
            parameter.copy_(_received(read, ranks, f"{WEIGHTS}/{name}", parameter))
            moments = {kind: _received(read, ranks, f"{kind}/{name}", parameter) for kind in MOMENTS}
            self._optimizer.state[parameter] = {"step": _count(updates, parameter), **moments}


class ZeroState:
    """DeepSpeed's ZeRO: each process holds a part of the optimiser's state, and in stage 3 of the weights."""

    def __init__(self, model: torch.nn.Module, optimizer: Any) -> None:
        self._parameters = _trained(model)
        self._zero = optimizer
        self._sharded = hasattr(optimizer, "fp32_partitioned_groups_flat")
        self._partitions: list[Tensor] = (
            optimizer.fp32_partitioned_groups_flat if self._sharded else optimizer.single_partition_of_fp32_groups
        )

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every trained parameter's tensors, put together from all processes."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        self._link()
        for name, parameter in self._parameters:
            yield f"{WEIGHTS}/{name}", safe_get_full_fp32_param(parameter).cpu()
            for kind in MOMENTS:
                yield f"{kind}/{name}", safe_get_full_optimizer_state(parameter, kind).cpu()

    @torch.no_grad()
    def load(self, read: ReadTensor, ranks: Ranks, updates: int) -> None:
        """Go on from such tensors: each process keeps its part of them."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for partition in self._partitions:
            moments = {kind: torch.zeros_like(partition) for kind in MOMENTS}
            self._zero.optimizer.state[partition] = {"step": _count(updates, partition), **moments}
        self._link()
        for name, parameter in self._parameters:
            whole = torch.empty(getattr(parameter, "ds_shape", parameter.shape), device=parameter.device)
            safe_set_full_fp32_param(parameter, _received(read, ranks, f"{WEIGHTS}/{name}", whole))
            for kind in MOMENTS:
                safe_set_full_optimizer_state(parameter, _received(read, ranks, f"{kind}/{name}", whole), kind)
        self._refresh_weights()

    def _link(self) -> None:
        """Let parameters find their part of the moments. DeepSpeed does it too early, after the first group's step."""
        if not self._sharded:
            self._zero._hp_optimizer_states_linked = False
            self._zero._lazy_init_hp_params_optimizer_state()

    def _refresh_weights(self) -> None:
        """Round the float32 weights anew to those that forward passes use."""
        if not self._sharded:
            self._zero.update_lp_params()
            return
        for group, partition in enumerate(self._partitions):
            self._zero.fp16_partitioned_groups_flat[group].data.copy_(partition.data)
            self._zero._unflatten_partitioned_parameters(group)


def _trained(model: torch.nn.Module) -> list[tuple[str, Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _count(updates: int, like: Tensor) -> Tensor:
    """AdamW's count of its steps; the fused kind wants it where the parameter is."""
    return torch.tensor(float(updates), device=like.device)


def _received(read: ReadTensor, ranks: Ranks, name: str, like: Tensor) -> Tensor:
    """A tensor that the leading process reads, on every process."""
    received = torch.empty(like.shape, dtype=torch.float32, device=like.device)
    if ranks.is_main:
        received.copy_(read(name))
    ranks.broadcast_tensor(received)
    return received
