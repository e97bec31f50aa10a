"""Settings of the benchmark that lets a reward model judge a policy against another one."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveInt

from larpo_lib.config.base import Section, Seed
from larpo_lib.config.benchmarks import AnswersConfig
from larpo_lib.config.rerankers import RerankerConfig, VerifierConfig


class RewardEvalConfig(Section):
    """Win rates of a policy against a baseline policy, with a reward model as the judge."""

    execution: ClassVar[frozenset[str]] = frozenset({"processes"})

    answers: AnswersConfig = AnswersConfig()
    """How both policies answer."""
    reranker: RerankerConfig = VerifierConfig()
    """The reward model; a list-relative one gets both responses to a prompt as one list."""
    limit: PositiveInt | None = None
    part_prompts: PositiveInt = 256
    processes: PositiveInt = 1
    """Processes on this machine that share the scoring, each with a GPU of its own."""
    resamples: PositiveInt = 1000
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Probability that an interval is to hold."""
    seed: Seed = 0
