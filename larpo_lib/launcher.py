"""What a launcher such as torchrun tells the processes it starts, in their environment."""

import os


def is_distributed() -> bool:
    """Whether a launcher started this process, as one of those that train together."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()  # without the second, a machine's, not a process's


def is_secondary_process() -> bool:
    """Whether another process, here or on another machine, publishes what this one helps to make."""
    return os.environ.get("RANK", "0") != "0" or os.environ.get("PET_NODE_RANK", "0") != "0"
