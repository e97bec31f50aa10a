"""What can be known to be wrong with models and servers before any expensive work."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from larpo_lib.checks import check_settings
from larpo_lib.config import LarpoConfig, ModelConfig
from larpo_lib.errors import ConfigError
from larpo_lib.launcher import is_secondary_process
from larpo_lib.policies.chat import conversation_text
from larpo_lib.policies.load import check_weights, load_tokenizer, model_device
from larpo_lib.samplers.candidates import sampling_limits
from larpo_lib.training.trainable import check_trainable

STEPS = frozenset({"sft", "sample", "rerank", "build_lists", "train", "evaluate"})
"""Names of the steps that need models or servers."""


def check_config(config: LarpoConfig, left: Collection[str] = STEPS) -> None:
    """Check that settings fit together, and that the models and servers can be used that are still needed.

    Args:
        config: of the run.
        left: names of the steps that are still to be taken.

    Raises:
        ConfigError: settings contradict each other.
        ModelError: the policy, a reward model or the embedding model of related prompts cannot be used.
        EndpointError: a server does not answer.
    """
    check_settings(config)
    _check_one_machine(config)
    if not {"sft", "sample", "train", "evaluate"}.isdisjoint(left):
        _check_policy(config)
    _check_samplers(config, left)
    for step, reranker in (("rerank", config.rerank.reranker), ("evaluate", config.evaluate.reranker)):
        if step in left:
            reranker.check()
    negatives = config.lists.negatives
    if "build_lists" in left and negatives is not None:
        negatives.retriever.check()


def _check_policy(config: LarpoConfig) -> None:
    check_policy(Path(config.policy), config)
    for model in _models(config):
        model_device(model)
    for trained in (config.train, *([config.sft] if config.demonstrations is not None else [])):
        check_trainable(Path(config.policy), trained)


def _check_one_machine(config: LarpoConfig) -> None:
    if is_secondary_process():
        raise ConfigError(
            "a run is one machine's, and PET_NODE_RANK or RANK says that this one is not the first",
            remedy="Train on several machines by `larpo train`, or unset them",
        )
    if max(config.train.launch.nodes, config.sft.launch.nodes) > 1:
        raise ConfigError("a run is one machine's, but launch.nodes says more", remedy="Set it to 1, or use Kubeflow")


def check_policy(policy: Path, config: LarpoConfig) -> None:
    """Check that a policy's tokenizer, chat template and weights can be read, whatever machine will run it.

    Raises:
        ModelError: they cannot.
    """
    for model in _models(config):
        _check_readable(policy, model)


def _check_samplers(config: LarpoConfig, left: Collection[str]) -> None:
    for step in [step for name, step in (("sample", config.sample), ("evaluate", config.evaluate)) if name in left]:
        step.sampler.check(Path(config.policy), sampling_limits(step))


def _models(config: LarpoConfig) -> list[ModelConfig]:
    """The ways in which the policy is loaded."""
    models = (config.sft.model, config.sample.sampler.model, config.train.model, config.evaluate.sampler.model)
    return list(dict.fromkeys(models))


def _check_readable(path: Path, config: ModelConfig) -> None:
    conversation_text(load_tokenizer(path, config), [{"role": "user", "content": "?"}], "!")
    check_weights(path)
