"""The policy as a retriever: mean reward, accuracy, Pass@N and best-of-N over held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from larpo_lib.artifacts import Metrics
from larpo_lib.config import EvaluateConfig
from larpo_lib.metrics import best_of_n, bootstrap_mean, pass_at_n

Row = dict[str, Any]
ValueT = TypeVar("ValueT")


def summarize(rows: Sequence[Row], config: EvaluateConfig) -> Metrics:
    """Held-out metrics of a policy.

    Args:
        rows: `evaluated` rows; temperature 0 marks the greedy response of a prompt.
        config: how many responses a prompt, and how to bootstrap.

    Returns:
        Sampled responses: mean_reward and accuracy with the bounds of their bootstrap intervals over prompts; for
        i = 1..N, pass_at_i, a mean over the pass_at_i_prompts prompts that have at least i judged responses;
        best_of_n_reward, over the best_of_n_prompts prompts that have all N responses scored. Greedy ones:
        greedy_reward, greedy_accuracy. responses_without_judgement counts those, sampled or greedy, that the judge
        could not decide; accuracies leave them out, so accuracy is over the pass_at_1_prompts. What needs a judge is
        None without one; a mean over nothing is None.
    """
    sampled = _by_prompt([row for row in rows if row["temperature"] > 0])
    greedy = [row for row in rows if row["temperature"] == 0]
    rewards = [[float(row["reward"]) for row in group] for group in sampled]
    judged = [right for group in sampled if (right := _judgements(group))]
    whole = _at_least(config.n, rewards)
    metrics: Metrics = {
        **_interval("mean_reward", [_mean(values) for values in rewards], config),
        "best_of_n_reward": best_of_n(whole, config.n) if whole else None,
        "best_of_n_prompts": len(whole),
        "greedy_reward": _mean([row["reward"] for row in greedy]) if greedy else None,
        **_interval("accuracy", [_mean(right) for right in judged], config),
        "greedy_accuracy": _mean(right) if (right := _judgements(greedy)) else None,
        "responses_without_judgement": len(rows) - len(_judgements(rows)) if config.judge else None,
    }
    for i in range(1, config.n + 1):
        enough = _at_least(i, judged)
        metrics[f"pass_at_{i}"] = pass_at_n(enough, i) if enough else None
        metrics[f"pass_at_{i}_prompts"] = len(enough) if config.judge else None
    return metrics


def _by_prompt(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["prompt_id"], []).append(row)
    return list(groups.values())


def _judgements(rows: Sequence[Row]) -> list[bool]:
    return [row["correct"] for row in rows if row["correct"] is not None]


def _at_least(n: int, prompts: Sequence[list[ValueT]]) -> list[list[ValueT]]:
    """Those of the prompts that have at least `n` values."""
    return [values for values in prompts if len(values) >= n]


def _interval(name: str, values: Sequence[float], config: EvaluateConfig) -> Metrics:
    if not values:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    mean, low, high = bootstrap_mean(values, config.confidence, config.resamples, config.seed)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
