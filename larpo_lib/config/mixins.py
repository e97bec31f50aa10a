"""Settings that several sections have, each written once; a section extends those it needs."""

from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from larpo_lib.config.base import Fraction, Section, Seed
from larpo_lib.config.inheritance import Inherited
from larpo_lib.config.kinds import RerankerConfig, SamplerConfig

PolicySampler = Annotated[SamplerConfig, Inherited("sample.sampler"), Inherited("model", into="model", merge=True)]
"""A sampler: that of the section `sample`, or another one, which loads the policy as the run does."""


class Seeded(Section):
    """What draws by chance."""

    seed: Annotated[Seed, Inherited("seed")] = 0
    """Seed of all random choices in this section."""


class Bootstrap(Seeded):
    """What reports intervals."""

    resamples: PositiveInt = 1000
    """Number of bootstrap resamples."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Confidence level of the intervals."""


class InParts(Section):
    """What is worked through part by part, by one process or several."""

    execution: ClassVar[frozenset[str]] = frozenset({"processes"})

    part_prompts: PositiveInt = 256
    """Number of prompts in each partial result. A restarted step continues after the last complete one."""
    processes: PositiveInt = 1
    """Number of processes on this machine that divide the work, each on its own GPUs."""


class Limited(Section):
    """What can take a part of its prompts."""

    limit: PositiveInt | None = None
    """Use only the first `limit` prompts. Not set: all."""


class Sampling(InParts, Seeded):
    """What draws responses."""

    sampler: PolicySampler = Field(default_factory=SamplerConfig.default)
    """The sampler that generates the responses."""
    top_p: Fraction = 1.0
    """Sample only from the most probable tokens whose total probability reaches this value."""
    max_new_tokens: PositiveInt = 2048
    """Maximum tokens of a response, including the end-of-turn token."""
    max_prompt_tokens: PositiveInt = 1024
    """Maximum tokens of a prompt. Longer prompts are dropped and counted."""


class SamplingAlike(Sampling):
    """What draws responses as the section `sample` does."""

    max_new_tokens: Annotated[PositiveInt, Inherited("sample.max_new_tokens")] = 2048
    max_prompt_tokens: Annotated[PositiveInt, Inherited("sample.max_prompt_tokens")] = 1024
    """Maximum tokens of a prompt. Longer prompts are dropped and counted."""


class ScoringAlike(Section):
    """What scores responses as the section `rerank` does."""

    reranker: Annotated[RerankerConfig, Inherited("rerank.reranker")] = Field(default_factory=RerankerConfig.default)
    """The reranker (reward model) that scores the responses."""
