"""The reward model's side of the loop: rerankers score responses. A module here is a reranker, and its settings."""

from __future__ import annotations

from larpo_lib.config.kinds import RerankerConfig
from larpo_lib.errors import ConfigError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers._base import Reranker
from larpo_lib.rewards.rerankers._replies import ReplyReranker


def make_reranker(config: RerankerConfig) -> Reranker:
    """The reranker of some settings; it reads of a response's thoughts what they say."""
    reranker: Reranker = config.make()
    return reranker if config.thoughts is None else ReplyReranker(reranker, config.thoughts)


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


__all__ = ["Reranker", "Scorable", "make_reranker", "require_pointwise"]
