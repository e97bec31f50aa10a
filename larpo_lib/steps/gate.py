"""The gate's decision: whether a policy is better than the one it has to beat. Nothing is registered here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.config import PromoteConfig
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.steps.demands import Finding, in_words, look_at_all
from larpo_lib.steps.judgements import Judgement, by_name, incomparable

NOTHING_TO_BEAT = "no champion and no baseline to compare with"


@dataclass(frozen=True)
class Opponent:
    """What a policy has to beat.

    Attributes:
        name: "baseline" or "version 3".
        judgement: how it did; None: it is not known.
        benchmarks: how it did in further evaluations.
    """

    name: str
    judgement: Judgement | None
    benchmarks: tuple[Judgement, ...] = ()

    @property
    def judgements(self) -> Mapping[str, Judgement]:
        """All that is known, by the name before the metrics."""
        return by_name(([] if self.judgement is None else [self.judgement]) + [*self.benchmarks])


@dataclass(frozen=True)
class Decision:
    """Whether a policy passes the gate, and why. Numbers that need a comparison are None where there was none.

    Of several metrics, the numbers are of the first one that must improve; they have no `probability`, but `tests`.
    """

    promoted: bool
    reason: str
    policy_mean: float
    opponent_mean: float | None = None
    difference: float | None = None
    probability: float | None = None
    tests: tuple[Finding, ...] = field(default=())

    @property
    def compared(self) -> bool:
        """Whether the opponent's evaluation could be compared with in all that the gate asks for."""
        return all(test.obstacle is None for test in self.tests) if self.tests else self.probability is not None

    def record(self, config: PromoteConfig) -> dict[str, Any]:
        """What `promotion.json` says of it."""
        first = config.must_improve[0] if config.must_improve else None
        told = {
            "promoted": self.promoted,
            "metric": config.metric if first is None else first.metric,
            "means": {"policy": self.policy_mean, "opponent": self.opponent_mean},
            "difference": self.difference,
            "probability": self.probability,
            "margin": config.margin if first is None else first.margin,
            "confidence": config.confidence,
            "reason": self.reason,
        }
        return {**told, "tests": [test.to_json() for test in self.tests]} if self.tests else told

    def metrics(self) -> Metrics:
        """What the step `promote` tells."""
        found: Metrics = {
            "promoted": int(self.promoted),
            "probability": self.probability,
            "difference": self.difference,
        }
        for test in self.tests:
            found |= test.metrics()
        return found


def decide(config: PromoteConfig, policy: Judgement, opponent: Opponent | None) -> Decision:
    """Whether the policy passes the gate of one metric.

    Args:
        config: the gate; `policy` holds values of its metric.
        policy: how the policy did.
        opponent: what it has to beat; None passes.
    """
    new = policy.values[config.metric]
    mean = fmean(new.values())
    if opponent is None:
        return Decision(True, NOTHING_TO_BEAT, mean)
    judgement = opponent.judgements.get(policy.name, opponent.judgement)
    obstacle = incomparable(config.metric, policy, judgement)
    if obstacle is not None or judgement is None:
        return Decision(False, f"cannot be compared with {opponent.name}: {obstacle}", mean)
    old = judgement.values[config.metric]
    prompts = sorted(new)
    pairs = [new[prompt] for prompt in prompts], [old[prompt] for prompt in prompts]
    probability = Bootstrap.of(config).probability_above(config.margin, *pairs)
    promoted = probability >= config.confidence
    return Decision(
        promoted=promoted,
        reason=(
            f"{'beats' if promoted else 'does not beat'} {opponent.name} by more than {config.margin:g}: "
            f"probability {probability:.4f} (required: {config.confidence:g})"
        ),
        policy_mean=mean,
        opponent_mean=fmean(old.values()),
        difference=fmean(a - b for a, b in zip(*pairs, strict=True)),
        probability=probability,
    )


def decide_by_all(config: PromoteConfig, policy: Mapping[str, Judgement], opponent: Opponent | None) -> Decision:
    """Whether the policy passes the gate of several metrics: every demand must be met.

    Args:
        config: the gate; `policy` holds values of all its metrics.
        policy: how the policy did, by the name before the metrics.
        opponent: what it has to beat; None passes.
    """
    tests = look_at_all(config, policy, None if opponent is None else opponent.judgements)
    passed = all(test.passed for test in tests)
    reason = NOTHING_TO_BEAT if opponent is None else in_words(tests, opponent.name, config.confidence)
    first = tests[0]
    change = None if first.opponent is None or first.gain is None else first.policy - first.opponent
    return Decision(passed, reason, first.policy, first.opponent, change, None, tests)
