"""The reward model's side of the loop: rerankers score responses."""

from __future__ import annotations

from pathlib import Path

from larpo_lib.answers import Scorable
from larpo_lib.config import (
    ClassifierConfig,
    EnsembleConfig,
    HttpRerankerConfig,
    PairRmConfig,
    RerankerConfig,
    VerifierConfig,
)
from larpo_lib.rerankers.base import Reranker


def make_reranker(config: RerankerConfig) -> Reranker:
    """The reranker that `config.type` names."""
    if isinstance(config, ClassifierConfig):
        from larpo_lib.rerankers.classifier import ClassifierReranker

        return ClassifierReranker(config)
    if isinstance(config, VerifierConfig):
        from larpo_lib.rerankers.verifier import VerifierReranker

        return VerifierReranker(config)
    if isinstance(config, HttpRerankerConfig):
        from larpo_lib.rerankers.http import HttpReranker

        return HttpReranker(config)
    raise AssertionError(config.type)


def model_paths(config: RerankerConfig) -> dict[str, Path]:
    """The model directories that scores depend on, by names for a step's inputs."""
    if isinstance(config, EnsembleConfig):
        members = [model_paths(member.reranker) for member in config.members]
        return {f"{name}_{i}": path for i, paths in enumerate(members) for name, path in paths.items()}
    return {"reranker": Path(config.path)} if isinstance(config, ClassifierConfig | PairRmConfig) else {}


__all__ = ["Reranker", "Scorable", "make_reranker", "model_paths"]
