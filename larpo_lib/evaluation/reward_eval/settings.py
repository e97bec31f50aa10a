"""Settings of the benchmark that lets a reward model judge a policy against another one."""

from typing import Annotated, ClassVar

from pydantic import Field

from larpo_lib.config import RerankerConfig
from larpo_lib.config.benchmarks import AnswersConfig
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.mixins import Bootstrap, InParts, Limited, ScoringAlike


class RewardEvalConfig(Bootstrap, InParts, Limited, ScoringAlike):
    """Win rates of a policy against a baseline policy, with a reward model as the judge."""

    first: ClassVar[tuple[str, ...]] = ("answers",)

    answers: AnswersConfig = Field(default_factory=AnswersConfig)
    """How both policies answer."""
    reranker: Annotated[RerankerConfig, Inherited("rerank.reranker")] = Field(default_factory=RerankerConfig.default)
    """The reward model. A list-relative one gets the two responses to a prompt as one list."""
