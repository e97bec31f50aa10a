"""Held-out quality of a policy as a retriever of responses: rewards, accuracy, Pass@N and best-of-N, prompt by prompt.

One summary for everybody: the metrics of an evaluation, the report, the gate, studies and the benchmark `retrieval`.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from larpo_lib.artifacts import Metrics
from larpo_lib.config import EvaluateConfig
from larpo_lib.statistics.draws import best_of_n, pass_at_n
from larpo_lib.statistics.estimates import Bootstrap, Values, mean

Row = Mapping[str, Any]
Groups = Mapping[str, Sequence[Any]]
"""Prompt to the values of its responses, in the rows' order."""


def is_greedy(row: Row) -> bool:
    """Temperature 0 marks the greedy response of a prompt."""
    return bool(row["temperature"] == 0)


def by_prompt(rows: Sequence[Row], field: str) -> dict[str, list[Any]]:
    """The values of one column, by `prompt_id`, in the rows' order; what a judge left undecided is left out."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        if row[field] is not None:
            groups.setdefault(row["prompt_id"], []).append(row[field])
    return groups


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


def per_prompt(rows: Sequence[Row], *, judged: bool) -> dict[str, dict[str, float]]:
    """What one evaluation says of each prompt: measure, then prompt, to value.

    `reward`, `greedy_reward`; where responses were judged right or wrong `accuracy`, `greedy_accuracy` and `pass_at_1`,
    `pass_at_2`, ..., else `best_of_1`, `best_of_2`, ... What is not defined on any prompt is empty.

    Args:
        rows: of the table `evaluated`.
        judged: whether there was a judge.
    """
    greedy, sampled = [row for row in rows if is_greedy(row)], [row for row in rows if not is_greedy(row)]
    rewards, right = by_prompt(sampled, "reward"), by_prompt(sampled, "correct")
    drawn = right if judged else rewards
    return {
        "reward": means(rewards),
        "accuracy": means(right) if judged else {},
        "greedy_reward": means(by_prompt(greedy, "reward")),
        "greedy_accuracy": means(by_prompt(greedy, "correct")) if judged else {},
        **{
            f"pass_at_{n}" if judged else f"best_of_{n}": (pass_at if judged else best_of)(drawn, n)
            for n in range(1, most(drawn) + 1)
        },
    }


def summarize(rows: Sequence[Row], config: EvaluateConfig) -> Metrics:
    """Held-out metrics of a policy.

    Args:
        rows: `evaluated` rows.
        config: how many responses a prompt, and how to bootstrap.

    Returns:
        Sampled responses: mean_reward and accuracy with the bounds of their bootstrap intervals over prompts; for
        i = 1..N, pass_at_i, a mean over the pass_at_i_prompts prompts that have at least i judged responses;
        best_of_n_reward, over the best_of_n_prompts prompts that have all N responses scored. Greedy ones:
        greedy_reward, greedy_accuracy. responses_without_judgement counts those, sampled or greedy, that the judge
        could not decide; accuracies leave them out, so accuracy is over the pass_at_1_prompts. What needs a judge is
        None without one; a mean over nothing is None.
    """
    greedy, sampled = [row for row in rows if is_greedy(row)], [row for row in rows if not is_greedy(row)]
    rewards, judged = by_prompt(sampled, "reward"), by_prompt(sampled, "correct")
    best = best_of(rewards, config.n)
    metrics: Metrics = {
        **_interval("mean_reward", rewards, config),
        "best_of_n_reward": _over_prompts(best),
        "best_of_n_prompts": len(best),
        "greedy_reward": _plain(row["reward"] for row in greedy),
        **_interval("accuracy", judged, config),
        "greedy_accuracy": _plain(row["correct"] for row in greedy),
        "responses_without_judgement": sum(row["correct"] is None for row in rows) if config.judge else None,
    }
    for i in range(1, config.n + 1):
        enough = pass_at(judged, i)
        metrics[f"pass_at_{i}"] = _over_prompts(enough)
        metrics[f"pass_at_{i}_prompts"] = len(enough) if config.judge else None
    return metrics


def _interval(name: str, groups: Groups, config: EvaluateConfig) -> Metrics:
    found = Bootstrap.of(config).mean([mean(values) for values in groups.values()])
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _over_prompts(values: Values) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _plain(values: Iterable[Any]) -> float | None:
    decided = [value for value in values if value is not None]
    return mean(decided) if decided else None
