"""Batches of sequences by tokens, so that neither padding nor memory runs away with a long one. Pure."""

from collections.abc import Sequence


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut sequences of like length into batches of at most `budget` tokens, padding to the longest included.

    Args:
        lengths: tokens of each sequence.
        budget: tokens of a batch; a longer sequence has a batch of its own.

    Returns:
        Indices into `lengths`, each once, longest first: what does not fit into memory is known at once.
    """
    batches: list[list[int]] = []
    longest = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * longest > budget:
            batches.append([])
            longest = lengths[i]
        batches[-1].append(i)
    return batches
