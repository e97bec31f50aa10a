"""The reward model's side of the loop: rerankers score responses."""

from __future__ import annotations

from pathlib import Path

from larpo_lib.config import (
    ClassifierConfig,
    EnsembleConfig,
    HttpRerankerConfig,
    PairRmConfig,
    RerankerConfig,
    SingleRerankerConfig,
    VerifierConfig,
)
from larpo_lib.errors import ConfigError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers._base import Reranker, counts_of_cut
from larpo_lib.rewards.rerankers._replies import OfReplies


def make_reranker(config: RerankerConfig) -> Reranker:
    """The reranker that `config.type` names; an ensemble's members are loaded one after another.

    A verifier judges the reply behind a response's thoughts, a reward model what its `thinking` says.
    """
    if isinstance(config, EnsembleConfig):
        from larpo_lib.rewards.rerankers.ensemble import EnsembleReranker

        return EnsembleReranker(config, [make_reranker(member.reranker) for member in config.members])
    return OfReplies(_of_texts(config), "strip" if isinstance(config, VerifierConfig) else config.thinking)


def _of_texts(config: SingleRerankerConfig) -> Reranker:
    if isinstance(config, ClassifierConfig):
        from larpo_lib.rewards.rerankers.classifier import ClassifierReranker

        return ClassifierReranker(config)
    if isinstance(config, VerifierConfig):
        from larpo_lib.rewards.rerankers.verifier import VerifierReranker

        return VerifierReranker(config)
    if isinstance(config, HttpRerankerConfig):
        from larpo_lib.rewards.rerankers.http import HttpReranker

        return HttpReranker(config)
    if isinstance(config, PairRmConfig):
        from larpo_lib.rewards.rerankers.pairrm import PairRmReranker

        return PairRmReranker(config)
    raise AssertionError(config.type)


def model_paths(config: RerankerConfig) -> dict[str, Path]:
    """The model directories that scores depend on, by names for a step's inputs."""
    if isinstance(config, EnsembleConfig):
        parts = [model_paths(member.reranker) for member in config.members]
        return {f"{name}_{i}": path for i, part in enumerate(parts) for name, path in part.items()}
    return {"reranker": Path(config.path)} if isinstance(config, ClassifierConfig | PairRmConfig) else {}


def verifies(reranker: RerankerConfig) -> bool:
    """Whether it is a verifier, or an ensemble with one: it needs references."""
    if isinstance(reranker, EnsembleConfig):
        return any(verifies(member.reranker) for member in reranker.members)
    return isinstance(reranker, VerifierConfig)


def require_pointwise(config: RerankerConfig, setting: str) -> None:
    """Refuse a list-relative reranker where rewards of different lists are compared.

    Args:
        config: the reranker.
        setting: where it is set, such as `evaluate.reranker`.

    Raises:
        ConfigError: its scores hold only within a list.
    """
    if config.list_relative:
        raise ConfigError(
            f"{setting}: the scores of '{config.type}' hold only within one list and cannot compare two policies",
            remedy=f"Set {setting} to a verifier, a classifier, http, or an ensemble of such with mean and std",
        )


__all__ = ["Reranker", "Scorable", "counts_of_cut", "make_reranker", "model_paths", "require_pointwise", "verifies"]
