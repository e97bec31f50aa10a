"""Win rates of a policy against a baseline policy by the rewards of both responses to each prompt."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from larpo_lib.evaluation.reward_eval import BENCHMARK
from larpo_lib.evaluation.reward_eval.length_control import Floats, LengthControl, fit, item_values
from larpo_lib.reporting.evaluation import Curve, EvaluationReport, Score, Table
from larpo_lib.statistics.estimates import Bootstrap, Estimate, standard_error, told_apart

_BINS = 8
_GRID = 41
_MEANS = ("reward", "baseline_reward", "length", "baseline_length")


@dataclass(frozen=True)
class Duel:
    """Both responses to one prompt.

    Attributes:
        preferred: 1 where the policy's reward is the higher one, 0 where the baseline's is, 0.5 where they are equal.
        length, baseline_length: characters of the responses.
        reward, baseline_reward: None where rewards hold only within a list.
    """

    preferred: float
    length: int
    baseline_length: int
    reward: float | None = None
    baseline_reward: float | None = None

    @property
    def longer(self) -> int:
        """By how many characters by which the policy's response is longer."""
        return self.length - self.baseline_length


def duel(response: str, baseline: str, reward: float, baseline_reward: float, *, list_relative: bool) -> Duel:
    """Compare two rewards; equal responses are a tie whatever their rewards."""
    preferred = (
        0.5
        if response == baseline
        else (1.0 if reward > baseline_reward else 0.5 if reward == baseline_reward else 0.0)
    )
    rewards = (None, None) if list_relative else (reward, baseline_reward)
    return Duel(preferred, len(response), len(baseline), *rewards)


def report(
    duels: Mapping[str, Duel],
    *,
    policy: str,
    judged_by: str,
    version: str,
    counts: Mapping[str, int],
    bootstrap: Bootstrap,
) -> EvaluationReport:
    """What the duels say of the policy.

    Args:
        duels: by prompt, at least one.
        policy: its identity.
        judged_by: the reward model.
        version: against which baseline.
        counts: of prompts and of what was dropped.
        bootstrap: how intervals are made.
    """
    preferred = np.array([one.preferred for one in duels.values()])
    differences = np.array([float(one.longer) for one in duels.values()])
    model = fit(preferred, differences)
    values = _values(duels, model, preferred, differences)
    return EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title,
        policy=policy,
        judged_by=judged_by,
        version=version,
        scores=[
            *_win_rates(values, preferred, differences, model, bootstrap),
            *(BENCHMARK.mean(name, values, bootstrap) for name in _MEANS if name in values),
        ],
        counts={
            **counts,
            "wins": int(np.sum(preferred == 1)),
            "ties": int(np.sum(preferred == 0.5)),
            "losses": int(np.sum(preferred == 0)),
        },
        values=values,
        tables=[_by_length(duels)],
        curves=_curves(preferred, differences, model),
        caveats=[
            "The judge is a reward model, not a person or an LLM: these win rates are not comparable with those "
            "of AlpacaEval, of another reward model or of another baseline.",
            "A policy that was trained on this reward model's scores wins more easily here than with any other judge.",
        ],
        confidence=bootstrap.confidence,
        distributions=("reward",),
    )


def _values(
    duels: Mapping[str, Duel], model: LengthControl | None, preferred: Floats, differences: Floats
) -> dict[str, dict[str, float]]:
    values = {"win_rate": {item: 100 * one.preferred for item, one in duels.items()}}
    if model is not None:
        controlled = 100 * item_values(model, preferred, differences)
        values["lc_win_rate"] = dict(zip(duels, controlled.tolist(), strict=True))
    for name in _MEANS:
        found = {item: getattr(one, name) for item, one in duels.items()}
        if None not in found.values():
            values[name] = {item: float(value) for item, value in found.items()}
    return values


def _win_rates(
    values: Mapping[str, Mapping[str, float]],
    preferred: Floats,
    differences: Floats,
    model: LengthControl | None,
    bootstrap: Bootstrap,
) -> list[Score]:
    plain = BENCHMARK.mean("win_rate", values, bootstrap)
    if model is None:
        return [BENCHMARK.score("lc_win_rate", Estimate(None)), plain]

    def refitted(drawn: NDArray[np.int64]) -> float | None:  # None where all drawn differences are one and the same
        again = fit(preferred[drawn], differences[drawn])
        return None if again is None else 100 * again.win_rate

    found, controlled = Estimate(100 * model.win_rate), [*values["lc_win_rate"].values()]
    if told_apart(controlled):
        interval = bootstrap.interval(len(preferred), refitted)
        found = replace(interval, value=found.value, standard_error=standard_error(controlled))
    return [BENCHMARK.score("lc_win_rate", found), plain]


def _by_length(duels: Mapping[str, Duel]) -> Table:
    groups: dict[str, list[float]] = {"the policy's": [], "the baseline's": [], "neither": []}
    for one in duels.values():
        name = "neither" if not one.longer else "the policy's" if one.longer > 0 else "the baseline's"
        groups[name].append(100 * one.preferred)
    rows = [[name, len(group), sum(group) / len(group) if group else None] for name, group in groups.items()]
    return Table("By longer response", ["longer", "prompts", "win rate (%)"], rows)


def _curves(preferred: Floats, differences: Floats, model: LengthControl | None) -> list[Curve]:
    """The observed win rate in groups of like difference in length, and the fitted one."""
    if model is None or not model.scale:
        return []
    title, x_label = "Win rate and length (%)", "characters by which the policy's response is longer"
    order = np.argsort(differences, kind="stable")
    groups = [group for group in np.array_split(order, _BINS) if len(group)]
    grid = np.linspace(differences.min(), differences.max(), _GRID)
    observed = Curve(
        title,
        x_label,
        "observed",
        [float(differences[group].mean()) for group in groups],
        [Estimate(float(100 * preferred[group].mean())) for group in groups],
    )
    fitted = [Estimate(rate) for rate in (100 * model.at(grid)).tolist()]
    return [observed, Curve(title, x_label, "fitted", grid.tolist(), fitted)]
