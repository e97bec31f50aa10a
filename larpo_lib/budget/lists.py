"""What changes from iteration to iteration, and how long candidate lists and training lists are in each of them."""

from collections.abc import Mapping, Sequence

from larpo_lib.candidates.memory import remembered
from larpo_lib.config import LarpoConfig, at_iteration, by_iteration
from larpo_lib.samplers.candidates import training_draws
from larpo_lib.tracking import flatten


def drawn_by_iteration(config: LarpoConfig) -> Mapping[int, int]:
    """How many responses each iteration of a run draws for a prompt."""
    numbers = range(1, config.loop.iterations + 1)
    return {number: len(training_draws(at_iteration(config, number).sample, number)) for number in numbers}


def lengths_by_iteration(config: LarpoConfig) -> Mapping[int, Sequence[int]]:
    """How many responses the lists of each iteration have, at most: a number for each iteration that memory keeps.

    There are as many lists of each number as an iteration has prompts: with memory, prompts of earlier iterations are
    trained on again. Where every iteration samples all prompts, there is one number, and memory makes it larger.
    """
    drawn = drawn_by_iteration(config)
    found = {}
    for number in drawn:
        lists = at_iteration(config, number).lists
        kept = [drawn[each] for each in remembered([*drawn][:number], lists.memory)]
        together = kept if config.sample.prompts_per_iteration is not None else [sum(kept)]
        found[number] = [lists.selection.most(count) for count in together]
    return found


def changes_in_words(config: LarpoConfig) -> list[str]:
    """A line for each change of the settings during a run."""
    lines = []
    for change, before in zip(config.loop.changes, by_iteration(config).values(), strict=False):
        known = dict(flatten(before.model_dump(mode="json")))
        told = [
            f"{name} = {value}" + (f" (before: {known[name]})" if known.get(name, "null") != "null" else "")
            for name, value in flatten(change.settings)
        ]
        lines.append(f"from iteration {change.iteration} on: {', '.join(told)}")
    return lines
