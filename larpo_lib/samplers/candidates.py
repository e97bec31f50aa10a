"""Prompts to candidates, with any sampler."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from larpo_lib.config import AnswersConfig, EvaluateConfig, SampleConfig, SearchTemperatureConfig
from larpo_lib.config.mixins import Sampling
from larpo_lib.samplers.base import Request, Sampler, SamplingLimits, stream_seed
from larpo_lib.schemas import CandidateRow, PromptRow, candidate_id

Draws = Sequence[tuple[float, int]]
"""For each response of a prompt, in the order of `sample_index`: its temperature and its number at that temperature."""


@dataclass(frozen=True)
class Origin:
    """Where candidates come from.

    Attributes:
        policy: identity of the policy.
        iteration: number of the iteration they are sampled for; 0 for evaluation.
        seed: seed of the step.
    """

    policy: str
    iteration: int
    seed: int


def sampling_limits(config: Sampling) -> SamplingLimits:
    """The limits that a step's settings state."""
    return SamplingLimits(config.max_prompt_tokens, config.max_new_tokens, config.top_p, _temperatures(config))


def _temperatures(config: Sampling) -> tuple[float, ...]:
    """All temperatures that settings name, of every iteration."""
    match config:
        case SampleConfig():
            return (*_by_iteration(config), *[draw.temperature for draw in config.extra_draws])
        case SearchTemperatureConfig():
            return config.temperatures
        case EvaluateConfig() | AnswersConfig():
            return (config.temperature,)
    return ()


def _by_iteration(config: SampleConfig) -> tuple[float, ...]:
    return config.temperature if isinstance(config.temperature, tuple) else (config.temperature,)


def training_draws(config: SampleConfig, iteration: int) -> Draws:
    """Temperatures of one iteration (1, 2, ...): `k` at its own temperature, then the extra draws."""
    temperatures = _by_iteration(config)
    own = temperatures[min(iteration, len(temperatures)) - 1]
    return _numbered([own] * config.k + [draw.temperature for draw in config.extra_draws for _ in range(draw.count)])


def evaluation_draws(config: EvaluateConfig) -> Draws:
    """`n` responses at the evaluation's temperature, and the greedy one."""
    return _numbered([config.temperature] * config.n + [0.0])


def greedy_and_sampled(temperature: float, n: int) -> Draws:
    """The greedy response, then `n` at a temperature."""
    return _numbered([0.0] + [temperature] * n)


def search_draws(config: SearchTemperatureConfig) -> Draws:
    """`k` responses at each temperature of the grid."""
    return _numbered([temperature for temperature in config.temperatures for _ in range(config.k)])


def prompts_of_iteration(prompt_ids: Sequence[str], config: SampleConfig, iteration: int) -> list[str]:
    """The M prompts of an iteration: the next M of all prompts in seeded order, around and around."""
    ordered = sorted(prompt_ids)
    random.Random(stream_seed(config.seed, "prompts")).shuffle(ordered)  # noqa: S311 - no secret
    size = min(config.prompts_per_iteration or len(ordered), len(ordered))
    first = (iteration - 1) * size
    return [ordered[(first + i) % len(ordered)] for i in range(size)]


def prompts_within(prompts: Sequence[PromptRow], sampler: Sampler, longest: int) -> list[PromptRow]:
    """The prompts of at most `longest` tokens."""
    return [row for row in prompts if sampler.prompt_tokens(row["messages"]) <= longest]


def draw_candidates(
    sampler: Sampler, prompts: Sequence[PromptRow], draws: Draws, origin: Origin
) -> Iterator[CandidateRow]:
    """Sample candidates; a response's seed depends on its prompt, iteration, temperature and number alone."""
    requests = [
        Request(row["prompt_id"], row["messages"], temperature, _seed(origin, row["prompt_id"], temperature, number))
        for row in prompts
        for temperature, number in draws
    ]
    for i, (request, response) in enumerate(zip(requests, sampler.sample(requests), strict=True)):
        yield {
            "prompt_id": request.prompt_id,
            "candidate_id": candidate_id(request.prompt_id, response.text),
            "iteration": origin.iteration,
            "sample_index": i % len(draws),
            "temperature": request.temperature,
            "response": response.text,
            "token_ids": response.token_ids,
            "num_tokens": response.num_tokens,
            "finish_reason": response.finish_reason,
            "policy": origin.policy,
        }


def _numbered(temperatures: Sequence[float]) -> Draws:
    return [(value, temperatures[:i].count(value)) for i, value in enumerate(temperatures)]


def _seed(origin: Origin, prompt_id: str, temperature: float, number: int) -> int:
    return stream_seed(origin.seed, origin.iteration, prompt_id, temperature, number)
