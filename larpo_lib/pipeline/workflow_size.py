"""Whether a run fits in what the cluster can keep of it.

Kubeflow keeps a run as one object of Argo, specification and state together, and that may have 1 MiB. The state grows
with every task. The sizes are upper estimates, worked out with KFP's own compiler and driver.
"""

from larpo_lib.errors import ConfigError

LIMIT_KB = 1000
BASE_KB = 270
"""The specification, and the tasks outside the rounds; the same for any number of rounds."""
ROUND_KB = 32
"""The tasks of a round where one pod samples and one reranks."""
SHARE_KB = 8
"""A further pair of pods, one that samples and one that reranks."""
COPIES = 4
"""How often the settings stand in it, as whole as they were sent: in the specification, and compressed in the state."""


def size_kb(rounds: int, shards: int, code: int = 0) -> int:
    """What the cluster keeps of a run.

    Args:
        rounds: of all its loops together.
        shards: pods that share a round's sampling, and its reranking.
        code: bytes of functions in its settings.
    """
    return BASE_KB + COPIES * code // 1000 + rounds * (ROUND_KB + SHARE_KB * (shards - 1))


def check_workflow_size(rounds: int, shards: int, code: int = 0) -> None:
    """Raise ConfigError if the cluster cannot keep a run of so many rounds, with what would fit."""
    size, base = size_kb(rounds, shards, code), size_kb(0, shards, code)
    if size <= LIMIT_KB:
        return
    most_rounds = (LIMIT_KB - base) // (ROUND_KB + SHARE_KB * (shards - 1))
    most_shards = 1 + ((LIMIT_KB - base) // rounds - ROUND_KB) // SHARE_KB
    fewer = [f"rounds to {most_rounds}"] if most_rounds else []
    fewer += [f"shards to {most_shards}"] if most_shards >= 1 else []
    raise ConfigError(
        f"{rounds} rounds of {shards} shards make a workflow of about {size} KB, but the cluster allows {LIMIT_KB} KB",
        remedy=f"Reduce {' or '.join(fewer)}, or start a second run from the policy of the first",
    )
