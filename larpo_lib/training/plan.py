"""Which lists an optimiser step trains on, and how they are split over processes and micro-batches. Pure.

The lists of a step depend on the seed alone. How they are split depends on the machine, and changes nothing in the
step's loss but for rounding.
"""

import random
from collections.abc import Callable, Sequence

TokenCost = Callable[[Sequence[int]], int]
"""Tokens, padding included, of a forward pass over the lists of these indices."""

RankMicroBatches = list[list[list[int]]]
"""For each process its micro-batches, each with the indices of its lists; an empty one only keeps step."""


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


def rank_micro_batches(batch: Sequence[int], cost: TokenCost, processes: int, budget: int) -> RankMicroBatches:
    """Split the lists of a step over processes, and each process's lists into micro-batches.

    Every process gets as many, since those that hold a model in shards must go through them together.

    Args:
        batch: indices of the step's lists.
        cost: of a forward pass.
        processes: how many there are.
        budget: what a forward pass may cost, unless it is of a single list.
    """
    sized = sorted(((cost([i]), i) for i in batch), reverse=True)
    per_rank: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for size, i in sized:  # the longest first, always to the one with the least to do
        idlest = loads.index(min(loads))
        per_rank[idlest].append(i)
        loads[idlest] += size
    cut = [_micro_batches(lists, cost, budget) for lists in per_rank]
    most = max(len(found) for found in cut)
    return [_exactly(found, most) for found in cut]


def _micro_batches(lists: Sequence[int], cost: TokenCost, budget: int) -> list[list[int]]:
    """Cut lists, longest first, so that those of like length are in one and little of it is padding."""
    batches: list[list[int]] = []
    for i in lists:
        if batches and cost([*batches[-1], i]) <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _exactly(batches: list[list[int]], count: int) -> list[list[int]]:
    """The same lists in `count` micro-batches: the largest are halved, and where that is not enough some are empty."""
    batches = list(batches)
    while len(batches) < count and max((len(found) for found in batches), default=0) > 1:
        largest = max(range(len(batches)), key=lambda n: len(batches[n]))
        half = len(batches[largest]) // 2
        batches[largest : largest + 1] = [batches[largest][:half], batches[largest][half:]]
    return batches + [[] for _ in range(count - len(batches))]
