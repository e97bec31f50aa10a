"""Held-out quality of a policy as a retriever of responses: rewards, accuracy, Pass@N and best-of-N, prompt by prompt.

One summary for everybody: the metrics of an evaluation, the report, the gate, studies and the benchmark `retrieval`.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from sys import intern
from typing import Any

import numpy as np

from larpo_lib.artifacts import Metrics
from larpo_lib.config import EvaluateConfig
from larpo_lib.statistics.draws import best_of_n, pass_at_n
from larpo_lib.statistics.estimates import Bootstrap, Values, mean

Row = Mapping[str, Any]
QUALITY_COLUMNS = ("prompt_id", "temperature", "reward", "correct")
"""What is read here of the table `evaluated`."""
Groups = Mapping[str, Sequence[Any]]
"""Prompt to the values of its responses, in the rows' order."""


def is_greedy(row: Row) -> bool:
    """Temperature 0 marks the greedy response of a prompt."""
    return bool(row["temperature"] == 0)


@dataclass
class Judged:
    """Rewards and verdicts of some responses, by `prompt_id`, in the rows' order.

    Attributes:
        rewards: of each response.
        right: likewise; what a judge left undecided is left out.
        undecided: how many those are; all of them without a judge.
    """

    rewards: dict[str, MutableSequence[float]] = field(default_factory=dict)
    right: dict[str, list[bool]] = field(default_factory=dict)
    undecided: int = 0

    def add(self, row: Row) -> None:
        """Add a row of `evaluated`."""
        prompt = intern(row["prompt_id"])  # the same text for the tables of all policies: 100 bytes for each prompt
        self.rewards.setdefault(prompt, array("d")).append(row["reward"])
        if row["correct"] is None:
            self.undecided += 1
        else:
            self.right.setdefault(prompt, []).append(row["correct"])


def greedy_and_sampled(rows: Iterable[Row]) -> tuple[Judged, Judged]:
    """What rows of `evaluated` say of greedy responses, and of sampled ones. They are gone through once.

    Args:
        rows: with at least the columns `QUALITY_COLUMNS`.
    """
    greedy, sampled = Judged(), Judged()
    for row in rows:
        (greedy if is_greedy(row) else sampled).add(row)
    return greedy, sampled


def means(groups: Groups) -> dict[str, float]:
    """The mean of each prompt's values."""
    return {prompt: fmean(values) for prompt, values in groups.items()}


def pass_at(judged: Groups, n: int) -> dict[str, float]:
    """Pass@n of each prompt that has n judged responses."""
    return {prompt: pass_at_n(right, n) for prompt, right in judged.items() if len(right) >= n}


def best_of(rewards: Groups, n: int) -> dict[str, float]:
    """The expected best reward of n, of each prompt that has n rewards."""
    return {prompt: best_of_n(values, n) for prompt, values in rewards.items() if len(values) >= n}


def most(groups: Groups) -> int:
    """How many values the prompt with most of them has."""
    return max(map(len, groups.values()), default=0)


class Measures(Mapping[str, dict[str, float]]):
    """What one evaluation says of each prompt: measure, then prompt, to value; worked out each time it is asked for.

    `reward`, `greedy_reward`; where responses were judged right or wrong `accuracy`, `greedy_accuracy` and `pass_at_1`,
    `pass_at_2`, ..., else `best_of_1`, `best_of_2`, ... What is not defined on any prompt is empty.

    Args:
        rows: of the table `evaluated`; are gone through once.
        judged: whether there was a judge.

    Attributes:
        sampled: what was said of sampled responses.
    """

    def __init__(self, rows: Iterable[Row], *, judged: bool) -> None:
        greedy, self.sampled = greedy_and_sampled(rows)
        rewards, right = self.sampled.rewards, self.sampled.right
        drawn, name, measure = (right, "pass_at_{}", pass_at) if judged else (rewards, "best_of_{}", best_of)
        self._by_name: dict[str, Callable[[], dict[str, float]]] = {
            "reward": partial(means, rewards),
            "accuracy": partial(means, right if judged else {}),
            "greedy_reward": partial(means, greedy.rewards),
            "greedy_accuracy": partial(means, greedy.right if judged else {}),
            **{name.format(n): partial(measure, drawn, n) for n in range(1, most(drawn) + 1)},
        }

    def __getitem__(self, name: str) -> dict[str, float]:
        return self._by_name[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def summarize(rows: Iterable[Row], config: EvaluateConfig) -> Metrics:
    """Held-out metrics of a policy.

    Args:
        rows: `evaluated` rows; are gone through once.
        config: how many responses a prompt, and how to bootstrap.

    Returns:
        Sampled responses: mean_reward and accuracy with the bounds of their bootstrap intervals over prompts; for
        i = 1..N, pass_at_i, a mean over the pass_at_i_prompts prompts that have at least i judged responses;
        best_of_n_reward, over the best_of_n_prompts prompts that have all N responses scored. Greedy ones:
        greedy_reward, greedy_accuracy. responses_without_judgement counts those, sampled or greedy, that the judge
        could not decide; accuracies leave them out, so accuracy is over the pass_at_1_prompts. What needs a judge is
        None without one; a mean over nothing is None.
    """
    greedy, sampled = greedy_and_sampled(rows)
    rewards, judged = sampled.rewards, sampled.right
    best = best_of(rewards, config.n)
    metrics: Metrics = {
        **_interval("mean_reward", rewards, config),
        "best_of_n_reward": _over_prompts(best),
        "best_of_n_prompts": len(best),
        "greedy_reward": _plain(greedy.rewards),
        **_interval("accuracy", judged, config),
        "greedy_accuracy": _plain(greedy.right),
        "responses_without_judgement": greedy.undecided + sampled.undecided if config.judge else None,
    }
    for i in range(1, config.n + 1):
        enough = pass_at(judged, i)
        metrics[f"pass_at_{i}"] = _over_prompts(enough)
        metrics[f"pass_at_{i}_prompts"] = len(enough) if config.judge else None
    return metrics


def watched_quality(metric: str, rows: Iterable[Row], config: EvaluateConfig) -> Metrics:
    """Held-out means of a further reward.

    Args:
        metric: name of the mean over prompts.
        rows: `watched` rows of this reward; are gone through once.
        config: how to bootstrap.

    Returns:
        The mean of the sampled responses, its bounds `_low` and `_high`, and `_greedy`, the mean of the greedy ones. A
        mean over nothing is None.
    """
    greedy, sampled = greedy_and_sampled({**row, "correct": None} for row in rows)
    return {**_interval(metric, sampled.rewards, config), f"{metric}_greedy": _plain(greedy.rewards)}


def _interval(name: str, groups: Groups, config: EvaluateConfig) -> Metrics:
    found = Bootstrap.of(config).mean([mean(values) for values in groups.values()])
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _over_prompts(values: Values) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _plain(groups: Groups) -> float | None:
    values = [value for group in groups.values() for value in group]
    return mean(values) if values else None
