"""Settings of the benchmark of reward models on ranked lists."""

from typing import Annotated

from pydantic import Field

from larpo_lib.config import RerankerConfig
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.mixins import Bootstrap, InParts


class ScoreRewardModelConfig(Bootstrap, InParts):
    """How well a reward model orders lists whose order is known, for example lists that it was not trained on."""

    reranker: Annotated[RerankerConfig, Inherited("rerank.reranker")] = Field(default_factory=RerankerConfig.default)
    """The reward model. Not the verifier: it needs references, which lists do not contain."""
