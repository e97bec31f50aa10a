"""Which lists an optimiser step trains on, and how they are dealt out to processes and forward passes. Pure.

The lists of a step depend on the seed alone. How they are dealt out depends on the machine, and changes nothing in the
step's loss but for rounding.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Cost = Callable[[Sequence[int]], int]
"""Tokens, padding included, of a forward pass over the lists of these indices."""

Split = list[list[list[int]]]
"""For each process its forward passes, each with the indices of its lists; an empty pass only keeps step."""


def plan_steps(count: int, *, batch_size: int, epochs: int, max_steps: int | None, seed: int) -> list[list[int]]:
    """The indices of the lists of every optimiser step.

    Args:
        count: how many lists there are.
        batch_size: lists a step; the last step of an epoch has what is left.
        epochs: passes over all lists, each in an order of its own.
        max_steps: exactly so many steps instead, in as many epochs as they take.
        seed: of the orders.
    """
    assert count > 0
    rng = random.Random(seed)  # noqa: S311 - no secret
    steps: list[list[int]] = []
    per_epoch = -(-count // batch_size)
    wanted = epochs * per_epoch if max_steps is None else max_steps
    while len(steps) < wanted:
        order = list(range(count))
        rng.shuffle(order)
        steps += [order[start : start + batch_size] for start in range(0, count, batch_size)]
    return steps[:wanted]


def split(batch: Sequence[int], cost: Cost, processes: int, budget: int) -> Split:
    """Deal the lists of a step out to processes, and cut each one's share into forward passes.

    Every process gets as many passes, since those that share out a model must go through them together.

    Args:
        batch: indices of the step's lists.
        cost: of a forward pass.
        processes: how many there are.
        budget: what a forward pass may cost, unless it is of a single list.
    """
    sized = sorted(((cost([i]), i) for i in batch), reverse=True)
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for size, i in sized:  # the longest first, always to the one with the least to do
        idlest = loads.index(min(loads))
        shares[idlest].append(i)
        loads[idlest] += size
    cut = [_passes(share, cost, budget) for share in shares]
    most = max(len(passes) for passes in cut)
    return [_in_passes(passes, most) for passes in cut]


def _passes(share: Sequence[int], cost: Cost, budget: int) -> list[list[int]]:
    """Cut lists, longest first, so that those of like length share a pass and little of it is padding."""
    passes: list[list[int]] = []
    for i in share:
        if passes and cost([*passes[-1], i]) <= budget:
            passes[-1].append(i)
        else:
            passes.append([i])
    return passes


def _in_passes(passes: list[list[int]], count: int) -> list[list[int]]:
    """The same lists in exactly `count` passes: the largest are halved, and where that is not enough some are empty."""
    passes = list(passes)
    while len(passes) < count and max((len(found) for found in passes), default=0) > 1:
        largest = max(range(len(passes)), key=lambda n: len(passes[n]))
        half = len(passes[largest]) // 2
        passes[largest : largest + 1] = [passes[largest][:half], passes[largest][half:]]
    return passes + [[] for _ in range(count - len(passes))]
