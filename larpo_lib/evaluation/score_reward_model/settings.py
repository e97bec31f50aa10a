"""Settings of the benchmark of reward models on ranked lists."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from larpo_lib.config import RerankerConfig
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.mixins import Bootstrap, InParts


class ScoreRewardModelConfig(Bootstrap, InParts):
    """How a reward model orders lists that are ranked already, such as lists that it was not trained on."""

    reranker: Annotated[RerankerConfig, Inherited("rerank.reranker")] = Field(default_factory=RerankerConfig.default)
    """The reward model. Not the verifier, which needs references that lists do not hold."""
