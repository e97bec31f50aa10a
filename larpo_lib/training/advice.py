"""What the numbers of a training say about it, and one sentence of advice for each threshold that they pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from pydantic import BaseModel

from larpo_lib.config import ObjectiveConfig
from larpo_lib.config.inheritance import section_of
from larpo_lib.training.history import TOP_LIST

FALLEN_NATS = 10.0
"""The best responses are e^10 = 22,000 times less likely than when they were sampled, and will not be sampled again."""
SATURATED = 0.5
"""Most pairs have almost no gradient left: of DPO's less than 1 %."""
OWNED = 0.5
"""One list pulls harder than all others of its step together."""
FEWEST_LISTS = 4
"""Of fewer lists in a step, one easily has half of the gradient."""
EASY = 0.1
"""Where the reference does not know the order, half of the pairs are hard; below a tenth it knows it already."""
NARROW = 0.5
"""Reward gaps in standard deviations of all rewards. Four draws from a normal distribution span two of its deviations:
below half of one, rewards vary within prompts by less than a quarter of what they vary between prompts."""


@dataclass(frozen=True)
class Diagnosis:
    """What the numbers of a training say; None: not known, as without a reference or of older trainings.

    Attributes:
        chosen_logp_drift: of the best responses' log-probability, in nats; mean of the last tenth of the steps.
        saturated_pair_share: the same mean.
        top_list_gradient_share: of the median step.
        hard_pair_share: mean of the first epoch, so over all lists.
        reward_gap: mean of the first epoch.
        advice: one sentence for each threshold that is passed.
    """

    chosen_logp_drift: float | None
    saturated_pair_share: float | None
    top_list_gradient_share: float | None
    hard_pair_share: float | None
    reward_gap: float | None
    advice: Sequence[str]


def late_mean(history: Sequence[Mapping[str, float]], name: str) -> float | None:
    """The mean of a column over the last tenth of a history's rows; None where there is none."""
    return _mean(history[-max(1, len(history) // 10) :], name)


def diagnose(
    history: Sequence[Mapping[str, float]], train: Mapping[str, Any], reward_std: float | None = None
) -> Diagnosis:
    """Read the history of a training.

    Args:
        history: rows of `history.jsonl`.
        train: the settings of the step `train`, as a manifest has them.
        reward_std: standard deviation of the rewards of all responses that were ranked; None: not known.
    """
    first = [row for row in history if row.get("epoch", 0.0) <= 1.0]
    numbers = {
        "chosen_logp_drift": late_mean(history, "chosen_logp_drift"),
        "saturated_pair_share": late_mean(history, "saturated_pair_share"),
        TOP_LIST: median(tops) if (tops := _column(history, TOP_LIST)) else None,
        "hard_pair_share": _mean(first, "hard_pair_share"),
        "reward_gap": _mean(first, "reward_gap"),
    }
    return Diagnosis(**numbers, advice=list(_advice(numbers, train, reward_std)))


def _advice(numbers: Mapping[str, float | None], train: Mapping[str, Any], reward_std: float | None) -> Iterator[str]:
    objective: Mapping[str, Any] = train["objective"]
    drift, saturated, top, hard, gap = numbers.values()
    if drift is not None and drift < -FALLEN_NATS:
        yield f"The log-probability of the best responses fell by {-drift:.0f} nats: {_keep_likely(objective)}."
    if saturated is not None and saturated > SATURATED:
        yield (
            f"{saturated:.0%} of the pairs have almost no gradient left{_of_parts(objective)}, because the policy "
            f"orders them clearly: reduce {_steepness(objective)} or train.learning_rate, or choose harder negatives "
            "with lists.selection or lists.negatives."
        )
    if top is not None and top > OWNED and train["batch_size"] >= FEWEST_LISTS:
        yield f"In the median step, one list had {top:.0%} of the gradient: {_even_out(objective)}."
    if hard is not None and hard < EASY:
        yield (
            f"Only {hard:.0%} of the pairs are hard: in the others, the reference already finds the better response "
            'more likely. Use harder negatives: lists.selection.type = "coreset" (for pairs, "sigma") in place of the '
            'worst responses, or lists.negatives.kind = "cold".'
        )
    if gap is not None and reward_std and gap < NARROW * reward_std:
        yield (
            f"The rewards of a list are only {gap / reward_std:.2f} standard deviations of all rewards apart: increase "
            "sample.k or sample.temperature, leave such lists out with lists.filters.min_reward_gap, or use another "
            "reranker."
        )


def _keep_likely(objective: Mapping[str, Any]) -> str:
    """What to set against falling likelihoods."""
    if objective["type"] == "mixture":
        return "set sft_weight in a part of train.objective, or add a part with the objective nca"
    verb = "increase" if objective.get("sft_weight") else "set"
    place = "train.objective.settings.sft_weight" if objective["type"] == "function" else "train.objective.sft_weight"
    other = "reduce train.learning_rate" if objective["type"] == "nca" else "use the objective nca"
    return f"{verb} {place}, or {other}"


def _steepness(objective: Mapping[str, Any]) -> str:
    """The objective's own factor of the scores; a smaller beta would only let them move further apart."""
    own = [name for name in getattr(_kind(objective), "logistic", ()) if name != "beta"]
    return f"train.objective.{own[0]}" if own else "train.epochs"


def _of_parts(objective: Mapping[str, Any]) -> str:
    return " from the parts of the mixture that can be saturated" if objective["type"] == "mixture" else ""


def _even_out(objective: Mapping[str, Any]) -> str:
    kind = _kind(objective)
    reads = "rewards" in kind.model_fields and ("rewards" not in getattr(kind, "optional", ()) or "margin" in objective)
    if reads and objective.get("rewards", "raw") == "raw":
        return 'set train.objective.rewards to "minmax" or "rank"'
    if objective.get("reduction") == "sum":
        return 'set train.objective.reduction to "mean"'
    return "increase train.batch_size"


def _kind(objective: Mapping[str, Any]) -> type[BaseModel]:
    """The class of its settings: what has its default may not be recorded."""
    return section_of(ObjectiveConfig, objective) or ObjectiveConfig


def _mean(rows: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = _column(rows, name)
    return fmean(values) if values else None


def _column(rows: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [row[name] for row in rows if name in row]
