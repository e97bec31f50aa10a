"""Log-probabilities of tokens without the whole [tokens, vocabulary] matrix."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel


@dataclass(frozen=True)
class LogitTransform:
    """What a model family does to its logits after the output layer: scaling (Cohere, Granite), soft-capping (Gemma 2).

    Attributes:
        scale: factor.
        cap: bound c of c tanh(x / c), after the scaling.
    """

    scale: float = 1.0
    cap: float | None = None

    def apply_(self, logits: Tensor) -> Tensor:
        """Change logits in place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.cap is not None:
            logits.div_(self.cap).tanh_().mul_(self.cap)
        return logits

    def derivative(self, transformed: Tensor) -> Tensor | float:
        """Of the transformed logits by the plain ones."""
        if self.cap is None:
            return self.scale
        return (1 - (transformed / self.cap).square_()).mul_(self.scale)


_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Names of the cap on logits in a configuration: Gemma's, RecurrentGemma's and xLSTM's."""


def logit_transform(model: PreTrainedModel) -> LogitTransform:
    """What a model does to its logits, by its settings; models of images and text have them in those of the text."""
    config = model.config.get_text_config()
    factor = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)
    scale = (1.0 if factor is None else factor) / (1.0 if divisor is None else divisor)
    caps = (getattr(config, name, None) for name in _CAPS)
    return LogitTransform(scale, next((cap for cap in caps if cap is not None), None))


def token_logps(
    hidden: Tensor, output_layer: torch.nn.Linear, targets: Tensor, transform: LogitTransform, chunk_tokens: int
) -> Tensor:
    """Log-probability of each target token. Only one chunk's logits exist at a time, in the backward pass too.

    Args:
        hidden: (N, H) last hidden states at the positions that predict the targets.
        output_layer: H -> vocabulary.
        targets: (N,) token ids.
        transform: see `logit_transform`.
        chunk_tokens: tokens whose logits exist at one time.

    Returns:
        (N,) log-probabilities in nats, float32.
    """
    logps: Tensor = _TokenLogps.apply(hidden, output_layer.weight, output_layer.bias, targets, transform, chunk_tokens)
    return logps


class _TokenLogps(torch.autograd.Function):
    """log softmax(f(W h + b))[target], with the logits made again in the backward pass, chunk by chunk.

    By hand since autograd would hold several [chunk, vocabulary] tensors where one, changed in place, does: with p the
    softmax, the gradient by the transformed logits is (onehot(target) - p) times that of the log-probability. Where
    one chunk is all there is, p is kept instead: it takes no more than making it again would.

    The gradients by weight and bias are sums over chunks. They are added up in float32 whatever the weights are, since
    a sum in bfloat16 would be rounded with every chunk.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        transform: LogitTransform,
        chunk_tokens: int,
    ) -> Tensor:
        """(N, H), (V, H), (V,) and (N,) to (N,)."""
        ctx.dtype = _compute_dtype(hidden)
        ctx.transform, ctx.chunk_tokens = transform, chunk_tokens
        matrix, added = weight.to(ctx.dtype), None if bias is None else bias.to(ctx.dtype)
        once = len(targets) <= chunk_tokens and transform.cap is None and any(ctx.needs_input_grad)
        logps, normalizers, softmax = [], [], None
        for states, ids in zip(hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True):
            logits = _logits(states.to(ctx.dtype), matrix, added, transform)
            chosen = logits.gather(-1, ids[:, None])[:, 0]
            peak = logits.amax(-1)
            total = logits.sub_(peak[:, None]).exp_().sum(-1)
            normalizers.append(total.log() + peak)
            logps.append(chosen - normalizers[-1])
            softmax = logits.div_(total[:, None]) if once else None
        ctx.save_for_backward(hidden, weight, bias, targets, torch.cat(normalizers), softmax)
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by hidden, weight and bias."""
        hidden, weight, bias, targets, normalizers, kept = ctx.saved_tensors
        matrix, added = weight.to(ctx.dtype), None if bias is None else bias.to(ctx.dtype)
        by_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        by_weight = _sum_like(weight) if ctx.needs_input_grad[1] else None
        by_bias = _sum_like(bias) if ctx.needs_input_grad[2] else None
        for start in range(0, len(targets), ctx.chunk_tokens):
            part = slice(start, start + ctx.chunk_tokens)
            states = hidden[part].to(ctx.dtype)
            coefficients = gradients[0][part, None]
            if kept is None:
                logits = _logits(states, matrix, added, ctx.transform)
                derivative = ctx.transform.derivative(logits)
                by_logits = logits.sub_(normalizers[part, None]).exp_().mul_(-coefficients)
            else:
                derivative = ctx.transform.scale
                by_logits = kept * -coefficients
            by_logits.scatter_add_(1, targets[part, None], coefficients)
            if isinstance(derivative, Tensor) or derivative != 1.0:  # one pass over the logits less
                by_logits.mul_(derivative)
            by_logits = by_logits.to(ctx.dtype)
            if by_hidden is not None:
                by_hidden[part] = by_logits @ matrix
            if by_weight is not None:
                by_weight += by_logits.T @ states
            if by_bias is not None:
                by_bias += by_logits.sum(0, dtype=by_bias.dtype)
        by_weight = None if by_weight is None else by_weight.to(weight.dtype)
        by_bias = None if by_bias is None else by_bias.to(bias.dtype)
        return by_hidden, by_weight, by_bias, None, None, None


def _sum_like(parameter: Tensor) -> Tensor:
    """Zeros that gradients are added to: float32; double where the parameter is."""
    return torch.zeros_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def _logits(states: Tensor, matrix: Tensor, added: Tensor | None, transform: LogitTransform) -> Tensor:
    """(chunk, V) float32; double where the states are."""
    logits = linear(states, matrix, added)
    return transform.apply_(logits if logits.dtype is torch.float64 else logits.float())
