"""Settings of the benchmark that lets a reward model judge a policy against another one."""

from __future__ import annotations

from typing import Annotated, ClassVar

from larpo_lib.config.benchmarks import AnswersConfig
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.mixins import Bootstrap, InParts, Limited, ScoringAlike
from larpo_lib.config.rerankers import RerankerConfig, VerifierConfig


class RewardEvalConfig(Bootstrap, InParts, Limited, ScoringAlike):
    """Win rates of a policy against a baseline policy, with a reward model as the judge."""

    first: ClassVar[tuple[str, ...]] = ("answers",)

    answers: AnswersConfig = AnswersConfig()
    """How both policies answer."""
    reranker: Annotated[RerankerConfig, Inherited("rerank.reranker")] = VerifierConfig()
    """The reward model; a list-relative one gets both responses to a prompt as one list."""
