"""The learning rate of every optimiser step, and whether the steps of a training can change its model.

The warm-up counts steps from 1, as Vaswani et al. 2017 (arXiv 1706.03762, equation 3) do: of w steps the k-th has k/w
of the rate. `transformers` counts from 0, so that its first step has a rate of 0, and a training of one step does
nothing. Behind the warm-up the curves are those of `transformers`, which would reach 0 one step after the last.
"""

import logging
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from larpo_lib.config import TrainingConfig
from larpo_lib.errors import ConfigError

_FARTHEST = 3.2
"""A step of AdamW moves a weight by at most (1 - beta_1) / sqrt(1 - beta_2) of the rate (Kingma and Ba 2015, 2.1)."""
_SAMPLE = 4096
"""Weights of each parameter that are looked at."""
_FEW = 0.1


def warmup_steps(ratio: float, total: int) -> int:
    """Steps of the warm-up: the fraction `ratio` of `total`, rounded up."""
    return math.ceil(total * ratio)


def lr_factor(done: int, *, schedule: str, warmup: int, total: int) -> float:
    """The learning rate of a step, as a fraction of the configured one; never 0 within the training.

    Args:
        done: steps before this one.
        schedule: `cosine`, `linear` or `constant`: how it falls behind the warm-up.
        warmup: steps over which it rises.
        total: steps of the training.
    """
    if done < warmup:
        return (done + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = (done - warmup) / max(1, total - warmup)
    factor = 0.5 * (1.0 + math.cos(math.pi * progress)) if schedule == "cosine" else 1.0 - progress
    return max(0.0, factor)


def total_learning_rate(config: TrainingConfig, total: int) -> float:
    """The sum of the learning rates of all steps: how far a weight goes whose gradient keeps its sign."""
    warmup = warmup_steps(config.warmup_ratio, total)
    factors = (lr_factor(done, schedule=config.schedule, warmup=warmup, total=total) for done in range(total))
    return config.learning_rate * sum(factors)


def check_steps_change_weights(
    config: TrainingConfig, total: int, weights: Iterable[tuple[Tensor, float]], read_as: torch.dtype
) -> None:
    """Say before the first step if a training cannot change its model, or next to nothing of it.

    Args:
        config: with the learning rate and its schedule.
        total: steps.
        weights: that are changed, each with how far it goes by a rate of 1; of ZeRO-3 this process's parts.
        read_as: the precision in which the policy will be read.

    Raises:
        ConfigError: no weight can move as far as to the next number that float32 holds.
    """
    found = [(_sample(weight), reach) for weight, reach in weights]
    if not sum(len(values) for values, _ in found):
        return
    sampled = torch.cat([values for values, _ in found])
    far = total_learning_rate(config, total) * torch.cat([torch.full_like(values, reach) for values, reach in found])
    farthest = float(far.max())
    steps = f"{total} step{'s' if total > 1 else ''} with a learning rate of {config.learning_rate:g}"
    remedy = (
        "Increase the learning rate, or train for more steps: max_steps, epochs, a smaller batch_size or more lists"
    )
    if not _changeable(sampled, _FARTHEST * far, torch.float32):
        raise ConfigError(
            f"{steps} move no weight by more than {_FARTHEST * farthest:.1g}: training would change nothing",
            remedy=remedy,
        )
    share = _changeable(sampled, far, read_as)
    if share < _FEW:
        logging.getLogger(__name__).warning(
            "%s move a weight by at most about %.1g. When the policy is loaded as %s, only %.1f %% of the "
            "weights can change. %s",
            steps,
            farthest,
            str(read_as).removeprefix("torch."),
            100 * share,
            remedy,
        )


def _sample(weight: Tensor) -> Tensor:
    """Some of a parameter's weights, evenly spread, in float32 on the CPU."""
    values = getattr(weight, "ds_tensor", weight).detach().flatten()
    return values[:: max(1, len(values) // _SAMPLE)].float().cpu()


def _changeable(values: Tensor, far: Tensor, dtype: torch.dtype) -> float:
    """Share of values that are another number in `dtype` when each has moved by its `far`, up or down."""
    before = values.to(dtype)
    moved = ((values + far).to(dtype) != before) | ((values - far).to(dtype) != before)
    return float(moved.float().mean())
