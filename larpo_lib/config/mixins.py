"""Settings that several sections have, each written once; a section extends those it needs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from larpo_lib.config.base import Fraction, Section, Seed
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import RerankerConfig, SamplerConfig


class Seeded(Section):
    """What draws by chance."""

    seed: Annotated[Seed, Inherited("seed")] = 0
    """Decides everything that is drawn here."""


class Bootstrap(Seeded):
    """What reports intervals."""

    resamples: PositiveInt = 1000
    """Bootstrap resamples."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Probability that an interval is to hold."""


class InParts(Section):
    """What is worked through part by part, by one process or several."""

    execution: ClassVar[frozenset[str]] = frozenset({"processes"})

    part_prompts: PositiveInt = 256
    """Prompts a partial result holds; a restarted step goes on after the last whole one."""
    processes: PositiveInt = 1
    """Processes on this machine that share the work, each with GPUs of its own."""


class Limited(Section):
    """What can take a part of its prompts."""

    limit: PositiveInt | None = None
    """Take the first so many prompts only; not set: all."""


class Sampling(InParts, Seeded):
    """What draws responses."""

    sampler: Annotated[SamplerConfig, Inherited("sample.sampler")] = Field(default_factory=SamplerConfig.default)
    """What draws the responses."""
    top_p: Fraction = 1.0
    """Draw from the most probable tokens whose mass reaches this share."""
    max_new_tokens: PositiveInt = 2048
    """Longest response, end-of-turn token included."""
    max_prompt_tokens: PositiveInt = 1024
    """Longer prompts are dropped and counted."""


class SamplingAlike(Sampling):
    """What draws responses as the section `sample` does."""

    max_new_tokens: Annotated[PositiveInt, Inherited("sample.max_new_tokens")] = 2048
    max_prompt_tokens: Annotated[PositiveInt, Inherited("sample.max_prompt_tokens")] = 1024
    """Longer prompts are dropped and counted."""


class ScoringAlike(Section):
    """What scores responses as the section `rerank` does."""

    reranker: Annotated[RerankerConfig, Inherited("rerank.reranker")] = Field(default_factory=RerankerConfig.default)
    """The reward model."""
