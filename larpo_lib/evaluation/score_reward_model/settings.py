"""Settings of the benchmark of reward models on ranked lists."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveInt

from larpo_lib.config.base import Section, Seed
from larpo_lib.config.rerankers import RerankerConfig, VerifierConfig


class ScoreRewardModelConfig(Section):
    """How a reward model orders lists that are ranked already, such as lists that it was not trained on."""

    execution: ClassVar[frozenset[str]] = frozenset({"processes"})

    reranker: RerankerConfig = VerifierConfig()
    """The reward model. Not the verifier, which needs references that lists do not hold."""
    part_prompts: PositiveInt = 256
    processes: PositiveInt = 1
    """Processes on this machine that share the lists, each with a GPU of its own."""
    resamples: PositiveInt = 1000
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Probability that an interval is to hold."""
    seed: Seed = 0
