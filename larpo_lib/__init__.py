"""larpo: LLM alignment as retriever preference optimisation.

What `__all__` names is the library for notebooks and scripts. Each name is imported when it is first used, so that
`import larpo_lib` loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from larpo_lib.api.artifacts import Artifact
    from larpo_lib.api.listwise_config import ListwiseConfig
    from larpo_lib.api.listwise_trainer import ListwiseTrainer
    from larpo_lib.api.runs import Promotion, RunResult, load_config, read_run, run_loop
    from larpo_lib.api.steps import (
        build_lists,
        evaluate,
        merge_shards,
        prepare,
        prepare_demonstrations,
        prepare_ranked,
        promote,
        report,
        rerank,
        sample,
        search_temperature,
        sft,
        train,
        train_reward_model,
    )
    from larpo_lib.config import LarpoConfig
    from larpo_lib.errors import LarpoError
    from larpo_lib.objectives import ListBatch
    from larpo_lib.registry import Registry
    from larpo_lib.shards import Shard
else:
    _PLACES = {
        "api.artifacts": ("Artifact",),
        "api.listwise_config": ("ListwiseConfig",),
        "api.listwise_trainer": ("ListwiseTrainer",),
        "api.runs": ("Promotion", "RunResult", "load_config", "read_run", "run_loop"),
        "api.steps": (
            "build_lists",
            "evaluate",
            "merge_shards",
            "prepare",
            "prepare_demonstrations",
            "prepare_ranked",
            "promote",
            "report",
            "rerank",
            "sample",
            "search_temperature",
            "sft",
            "train",
            "train_reward_model",
        ),
        "config": ("LarpoConfig",),
        "errors": ("LarpoError",),
        "objectives": ("ListBatch",),
        "registry": ("Registry",),
        "shards": ("Shard",),
    }

    def __getattr__(name: str) -> object:
        """Import a name where it is asked for."""
        for module, names in _PLACES.items():
            if name in names:
                globals()[name] = found = getattr(import_module(f"{__name__}.{module}"), name)
                return found
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

    def __dir__() -> list[str]:
        """Names for completion in notebooks."""
        return sorted({*globals(), *__all__})


__all__ = [
    "Artifact",
    "LarpoConfig",
    "LarpoError",
    "ListBatch",
    "ListwiseConfig",
    "ListwiseTrainer",
    "Promotion",
    "Registry",
    "RunResult",
    "Shard",
    "__version__",
    "build_lists",
    "evaluate",
    "load_config",
    "merge_shards",
    "prepare",
    "prepare_demonstrations",
    "prepare_ranked",
    "promote",
    "read_run",
    "report",
    "rerank",
    "run_loop",
    "sample",
    "search_temperature",
    "sft",
    "train",
    "train_reward_model",
]
