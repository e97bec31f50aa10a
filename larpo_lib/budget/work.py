"""How much each step has to do, and the hours and cost of it from rates. Pure arithmetic."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from larpo_lib.budget.lists import drawn_by_iteration, lengths_by_iteration
from larpo_lib.config import LarpoConfig, at_iteration


@dataclass(frozen=True)
class Lengths:
    """What is not in the settings.

    Attributes:
        prompts: that an iteration samples for.
        heldout: that policies are evaluated on; None: unknown.
        demonstrations: None: unknown, or there are none.
        prompt_tokens: of a prompt, on average.
        response_tokens: of a response, on average.
    """

    prompts: int
    heldout: int | None
    demonstrations: int | None
    prompt_tokens: int
    response_tokens: int


@dataclass(frozen=True)
class Work:
    """What a step does in a whole run.

    Attributes:
        step: its name.
        rate: the name of the rate that it goes by.
        times: how often it is taken.
        tokens: of responses, all times together; None: unknown.
        how: where they come from.
    """

    step: str
    rate: str
    times: int
    tokens: int | None
    how: str


@dataclass(frozen=True)
class Cost:
    """Hours of a step in a whole run, and what they cost; None: unknown."""

    work: Work
    hours: float | None
    price: float | None


def work_of(config: LarpoConfig, lengths: Lengths) -> list[Work]:
    """The steps that take long, in the order of the run."""
    iterations, prompts = config.loop.iterations, lengths.prompts
    drawn = drawn_by_iteration(config)
    candidates = sum(prompts * drawn[number] * _response(config, number, lengths) for number in drawn)
    evaluations = 2 if config.loop.evaluate == "last_iteration" else iterations + 1
    answers = None if lengths.heldout is None else lengths.heldout * (config.evaluate.n + 1) * evaluations
    found = [_sft(config, lengths)] if config.demonstrations is not None else []
    return [
        *found,
        Work("sample", "sample", iterations, candidates, f"{prompts:,} prompts x {_range(drawn.values())} responses"),
        Work("rerank", "rerank", iterations, candidates, "the same responses"),
        _train(config, lengths),
        Work(
            "evaluate",
            "sample",
            evaluations,
            None if answers is None else answers * min(lengths.response_tokens, config.sample.max_new_tokens),
            "unknown number of held-out prompts"
            if answers is None
            else f"{lengths.heldout:,} prompts x {config.evaluate.n + 1} responses",
        ),
    ]


def _train(config: LarpoConfig, lengths: Lengths) -> Work:
    tokens, lists, passes = 0, [], []
    listed = lengths_by_iteration(config)
    for number, found in listed.items():
        train, count = at_iteration(config, number).train, lengths.prompts * len(found)
        seen = train.epochs * count if train.max_steps is None else train.max_steps * train.batch_size
        tokens += round(seen * fmean(found)) * _response(config, number, lengths)
        lists.append(count if train.max_steps is None else lengths.prompts)
        passes.append(seen / lists[-1])
    of = _range(each for found in listed.values() for each in found)
    how = f"{round(fmean(lists)):,} lists of {of} x {_range(passes)} epochs"
    return Work("train", "train", len(listed), tokens, how)


def _response(config: LarpoConfig, iteration: int, lengths: Lengths) -> int:
    return min(lengths.response_tokens, at_iteration(config, iteration).sample.max_new_tokens)


def _range(numbers: Iterable[float]) -> str:
    found = sorted(numbers)
    return f"{found[0]:g}" if found[0] == found[-1] else f"{found[0]:g} to {found[-1]:g}"


def _sft(config: LarpoConfig, lengths: Lengths) -> Work:
    sft, count = config.sft, lengths.demonstrations
    if sft.max_steps is not None:
        count, epochs = sft.max_steps * sft.batch_size, 1
    else:
        epochs = sft.epochs
    tokens = None if count is None else count * epochs * min(lengths.response_tokens, sft.max_tokens)
    how = "unknown number of demonstrations" if count is None else f"{count:,} demonstrations x {epochs} epochs"
    return Work("sft", "train", 1, tokens, how)


def costs(work: Sequence[Work], rates: Mapping[str, float], gpus: int, price: float | None) -> list[Cost]:
    """Hours and cost of each step.

    Args:
        work: of the steps.
        rates: tokens of responses a second, of the whole machine, by the name of the rate.
        gpus: that are paid for.
        price: of a GPU for an hour; None: unknown.
    """
    found = []
    for each in work:
        rate = rates.get(each.rate)
        hours = None if rate is None or each.tokens is None else each.tokens / rate / 3600
        found.append(Cost(each, hours, None if hours is None or price is None else hours * max(1, gpus) * price))
    return found
