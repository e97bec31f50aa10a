"""Settings of the benchmark that runs lm-eval's tasks."""

from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from larpo_lib.config.base import Seed
from larpo_lib.config.kinds import SamplerConfig
from larpo_lib.config.mixins import Bootstrap, PolicySampler


class LmEvalConfig(Bootstrap):
    """Tasks of EleutherAI's lm-eval."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of tasks, groups or tags, as `lm-eval ls tasks` lists them, such as `["ifeval", "mmlu_pro"]`."""
    limit: PositiveInt | None = None
    """Use only the first `limit` documents of each task. Not set: all."""
    sampler: PolicySampler = Field(default_factory=SamplerConfig.default)
    """`hf` or `vllm`: which of lm-eval's back ends runs the policy, and how it is loaded."""
    max_length: PositiveInt | None = None
    """Maximum tokens of a prompt with its response. Not set: as many as the policy's context takes."""
    chat: bool = True
    """Ask with the policy's chat template, as larpo trains it. `false`: plain texts, for base models."""
    system_prompt: str | None = None
    """System message of every prompt, before what a task itself says there. Not set: none."""
    examples: NonNegativeInt | None = None
    """Worked examples before each question (`num_fewshot`), but for tasks whose definition says 0. Not set: as many as
    the task's definition says."""
    examples_as_turns: bool = True
    """Put worked examples as earlier turns of the conversation. `false`: all into one message."""
    examples_seed: Seed = 1234
    """Seed of the choice of worked examples. The default is that of lm-eval."""
    gen_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Changes of how responses are generated, in lm-eval's words, such as
    `{ max_gen_toks = 512, do_sample = true, temperature = 0.7 }`."""
    think_end_token: str | None = None
    """Text that ends the policy's thoughts, such as `</think>`: only what comes after it is scored. Not set: the whole
    response is."""

    @field_validator("tasks")
    @classmethod
    def _distinct(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) < len(tasks):
            raise ValueError("a task is named twice")
        return tasks

    @field_validator("sampler")
    @classmethod
    def _runs(cls, sampler: SamplerConfig) -> SamplerConfig:
        if sampler.type not in ("hf", "vllm"):
            raise ValueError(f"lm-eval runs a policy with hf or vllm, not with {sampler.type}")
        return sampler
