"""Heads of classifiers in float32, whatever their bodies compute in.

A score in bfloat16 has 8 bits: from 8 to 16 scores are 1/16 apart, so that responses tie and change places.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

_HALF = {torch.bfloat16, torch.float16}
_OWN_CODE = "transformers_modules"
"""The package that transformers puts a model's own code into."""


def has_own_code(model: PreTrainedModel) -> bool:
    """Whether a model comes with code of its own (`trust_remote_code`), so that its family tells nothing about it."""
    return type(model).__module__.partition(".")[0] == _OWN_CODE


def use_float32_heads(model: PreTrainedModel) -> PreTrainedModel:
    """Let all layers between a model's body and its scores compute in float32, for inference.

    These are its modules outside of `base_model` and, since BERT and its kind score through it, the pooler inside.
    What is float32 or quantized stays as it is, and so does a model with code of its own, which may rely on its
    precision.

    Args:
        model: a classifier; changed in place, and returned.
    """
    body = model.base_model
    if body is model or has_own_code(model):
        return model
    pooler = getattr(body, "pooler", None)
    heads = [module for module in model.children() if module is not body]
    for head in [*heads, pooler] if isinstance(pooler, torch.nn.Module) else heads:
        kinds = {parameter.dtype for parameter in head.parameters()}
        if kinds & _HALF and kinds <= _HALF | {torch.float32}:
            head.float()
            head.register_forward_pre_hook(_in_float32)
    return model


def _in_float32(_head: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.float() if isinstance(value, Tensor) and value.is_floating_point() else value for value in inputs
    )


def train_in_float32(head: torch.nn.Linear) -> None:
    """Let a linear head multiply in float32, also under autocast and on weights that DeepSpeed has in bfloat16.

    In its forward pass, since that is where ZeRO-3 has its weights whole.
    """

    def forward(self: torch.nn.Linear, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return linear(hidden.float(), self.weight.float(), bias)

    head.forward = MethodType(forward, head)  # type: ignore[method-assign]
