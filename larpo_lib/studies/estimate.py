"""What a study would take, from its settings and stated assumptions, before anything is run."""

from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from larpo_lib.budget.lists import drawn_by_iteration, lengths_by_iteration
from larpo_lib.config import LarpoConfig, Section, at_iteration
from larpo_lib.errors import ConfigError


class Assumptions(Section):
    """What an estimate rests on. None of it is measured here: put in your own."""

    parameters: PositiveFloat
    """Of the policy."""
    reward_parameters: PositiveFloat
    """Of the reward model."""
    prompts: PositiveInt
    """In the source, where the settings name no limit."""
    prompt_tokens: PositiveInt
    response_tokens: PositiveInt
    sampled_tokens_per_second: PositiveFloat
    """Of one GPU that samples."""
    flops_per_second: PositiveFloat
    """Of one GPU that trains or scores: its peak times the share of it that is used."""
    demonstrations: PositiveInt | None = None
    """That a base model is fine-tuned on first."""
    demonstration_tokens: PositiveInt | None = None
    """Of one of them, prompt and response."""
    gpu_hour_price: NonNegativeFloat | None = None
    """In your currency. Not set: no cost in money is shown. Likewise `judge_price`."""
    judge_price: NonNegativeFloat | None = None
    """Of one call of the judge, on average over the benchmarks."""


@dataclass(frozen=True)
class Cost:
    """What one run takes.

    Attributes:
        prompts: that are sampled for, over all iterations.
        responses: that are sampled and ranked.
        trained_tokens: over all epochs.
        gpu_hours: sampling, ranking and training; evaluation and benchmarks are left out.
    """

    prompts: int
    responses: int
    trained_tokens: int
    gpu_hours: float


def estimate(config: LarpoConfig, given: Assumptions) -> Cost:
    """The cost of one run.

    A forward pass takes 2 operations for each parameter and token, a backward pass 4 (Kaplan et al. 2020, arXiv
    2001.08361, section 2.1); a list is passed forward once more for its reference.
    """
    rest = given.prompts - config.prepare.heldout
    available = min(rest, config.prepare.limit or rest)
    each = min(config.sample.prompts_per_iteration or available, available)
    responses = each * sum(drawn_by_iteration(config).values())
    trained, training = 0, 0.0
    for number, lengths in lengths_by_iteration(config).items():
        epochs = at_iteration(config, number).train.epochs
        tokens = each * epochs * sum(given.prompt_tokens + length * given.response_tokens for length in lengths)
        trained += tokens
        training += (6 + 2 / epochs) * given.parameters * tokens
    sampling = responses * given.response_tokens / given.sampled_tokens_per_second
    ranking = 2 * given.reward_parameters * responses * (given.prompt_tokens + given.response_tokens)
    hours = (sampling + (ranking + training) / given.flops_per_second) / 3600
    return Cost(each * config.loop.iterations, responses, trained, hours)


def sft_gpu_hours(config: LarpoConfig, given: Assumptions) -> float:
    """GPU-hours of fine-tuning on demonstrations, which runs that begin with the same policy share.

    Raises:
        ConfigError: the assumptions say nothing of demonstrations.
    """
    if config.demonstrations is None:
        return 0.0
    if given.demonstrations is None or given.demonstration_tokens is None:
        raise ConfigError(
            "the policy is fine-tuned first, but the study makes no assumption about its demonstrations",
            remedy="Set demonstrations and demonstration_tokens in the study's cost",
        )
    tokens = config.sft.epochs * given.demonstrations * given.demonstration_tokens
    return 6 * given.parameters * tokens / given.flops_per_second / 3600
