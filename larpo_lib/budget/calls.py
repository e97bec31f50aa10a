"""The calls of LLM judges in a run, at most, before there are any prompts. Pure arithmetic."""

from dataclasses import dataclass

from larpo_lib.budget.lists import drawn_by_iteration
from larpo_lib.budget.work import Lengths
from larpo_lib.candidates.memory import remembered
from larpo_lib.config import LarpoConfig, RerankerConfig, at_iteration


@dataclass(frozen=True)
class Calls:
    """What a step asks a judge in a whole run, at most.

    Attributes:
        step: its name.
        calls: questions; None: the number of prompts is unknown.
        tokens: of all questions, without the words around prompts and responses.
    """

    step: str
    calls: int | None
    tokens: int | None


def calls_of(config: LarpoConfig, lengths: Lengths) -> list[Calls]:
    """The calls of each step whose reranker makes any, as if every iteration had the prompts of the one before."""
    drawn = drawn_by_iteration(config)
    evaluations = 2 if config.loop.evaluate == "last_iteration" else len(drawn) + 1
    found = []
    for part in config.rerank.reranker.parts():
        memory = {last: at_iteration(config, last).lists.memory if part.list_relative else "current" for last in drawn}
        sizes = [sum(drawn[each] for each in remembered([*drawn][:last], memory[last])) for last in drawn]
        found += _calls("rerank", part, sizes, lengths.prompts, lengths)
    for part in (part for reranker in config.evaluate.rerankers.values() for part in reranker.parts()):
        found += _calls("evaluate", part, [config.evaluate.n + 1] * evaluations, lengths.heldout, lengths)
    return found


def _calls(step: str, part: RerankerConfig, sizes: list[int], prompts: int | None, lengths: Lengths) -> list[Calls]:
    calls = [part.most_calls(size) for size in sizes]
    if not sum(calls):
        return []
    if prompts is None:
        return [Calls(step, None, None)]
    each = [lengths.prompt_tokens + part.most_shown(size) * lengths.response_tokens for size in sizes]
    tokens = sum(number * length for number, length in zip(calls, each, strict=True))
    return [Calls(step, prompts * sum(calls), prompts * tokens)]
