"""The reward model's side of the loop: rerankers score responses."""

from __future__ import annotations

from larpo_lib.answers import Scorable
from larpo_lib.config import ClassifierConfig, RerankerConfig, VerifierConfig
from larpo_lib.rerankers.base import Reranker


def make_reranker(config: RerankerConfig) -> Reranker:
    """The reranker that `config.type` names."""
    if isinstance(config, ClassifierConfig):
        from larpo_lib.rerankers.classifier import ClassifierReranker

        return ClassifierReranker(config)
    if isinstance(config, VerifierConfig):
        from larpo_lib.rerankers.verifier import VerifierReranker

        return VerifierReranker(config)
    raise AssertionError(config.type)


__all__ = ["Reranker", "Scorable", "make_reranker"]
