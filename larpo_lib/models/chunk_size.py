"""How many tokens' logits are in memory at one time, where no setting says it. Imports nothing."""

LOGITS_BYTES = {"cpu": 128 * 2**20, "cuda": 512 * 2**20}
"""Of float32 logits, by kind of device. Every chunk goes over the whole output layer and its gradient, so on a GPU
chunks of 512 MiB are 1.6 to 1.9 times as fast as of 128 MiB, at a vocabulary of 262,144 (docs/benchmarks.md)."""


def default_chunk_tokens(vocabulary: int, device: str) -> int:
    """As many tokens as have `LOGITS_BYTES` of logits, but one at least.

    Args:
        vocabulary: its size.
        device: kind of it, such as `cuda`.
    """
    return max(1, LOGITS_BYTES.get(device, LOGITS_BYTES["cpu"]) // (4 * vocabulary))
