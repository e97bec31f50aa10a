"""The policy as a retriever: mean reward, accuracy, Pass@N and best-of-N over held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.config import EvaluateConfig
from larpo_lib.metrics import best_of_n, bootstrap_mean, pass_at_n

Row = dict[str, Any]


def summarize(rows: Sequence[Row], config: EvaluateConfig) -> Metrics:
    """Held-out metrics of a policy.

    Args:
        rows: `evaluated` rows; temperature 0 marks the greedy response of a prompt.
        config: how many responses a prompt, and how to bootstrap.

    Returns:
        Sampled responses: mean_reward and accuracy with the bounds of their bootstrap intervals over prompts,
        pass_at_n for n = 1..N, best_of_n_reward. Greedy ones: greedy_reward, greedy_accuracy. What needs a verifier is
        None without one.
    """
    sampled = _by_prompt([row for row in rows if row["temperature"] > 0])
    greedy = [row for row in rows if row["temperature"] == 0]
    rewards = [[float(row["reward"]) for row in group] for group in sampled]
    correct = [[row["correct"] for row in group] for group in sampled]
    judged = config.verifier is not None
    n = min((len(group) for group in sampled), default=0)
    metrics: Metrics = {
        **_interval("mean_reward", [_mean(values) for values in rewards], config),
        "best_of_n_reward": best_of_n(rewards, n) if n else None,
        "greedy_reward": _mean([row["reward"] for row in greedy]) if greedy else None,
        "greedy_accuracy": _mean([row["correct"] for row in greedy]) if judged and greedy else None,
    }
    if judged:
        metrics |= _interval("accuracy", [_mean(values) for values in correct], config)
    else:
        metrics |= {"accuracy": None, "accuracy_low": None, "accuracy_high": None}
    for i in range(1, config.n + 1):
        metrics[f"pass_at_{i}"] = pass_at_n(correct, i) if judged and i <= n else None
    return metrics


def _by_prompt(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["prompt_id"], []).append(row)
    return list(groups.values())


def _interval(name: str, values: Sequence[float], config: EvaluateConfig) -> Metrics:
    mean, low, high = bootstrap_mean(values, config.confidence, config.resamples, config.seed)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
