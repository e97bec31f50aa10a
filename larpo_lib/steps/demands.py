"""The gate of several metrics: what is demanded of each, and what a comparison says of it.

Each demand is a null hypothesis that the gate must reject: that the gain is at most `margin` (`must_improve`), or that
the loss is `margin` or more (`must_not_lose`, a test of non-inferiority). All of them must be rejected by p-values that
are corrected for how many they are, so that every single line of the table may be quoted, not only their conjunction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from larpo_lib.artifacts import Metrics
from larpo_lib.config import PromoteConfig
from larpo_lib.config.gate import GateMetric, MustImprove, MustNotLose
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.statistics.paired_tests import LEAST_ITEMS, gain_above, holm
from larpo_lib.steps.judgements import Judgement, incomparable, scale

IMPROVE, KEEP = MustImprove.demand, MustNotLose.demand
_ROUNDING = 1e-9  # 1 - 0.9 is a little less than 0.1


@dataclass(frozen=True)
class Finding:
    """What one demand came to. Numbers that need a comparison are None where there was none.

    Attributes:
        metric: such as `gsm8k.accuracy`.
        demand: `must_improve` or `must_not_lose`.
        margin: as it is demanded, in the metric's unit.
        lower_is_better: a gain is a decrease.
        items: how many prompts or items were compared.
        policy, opponent: means over the items.
        gain: mean over the items, above 0 if the policy is better; `low` and `high` bound it, at twice the gate's
            level.
        p_value, adjusted_p_value: of the hypothesis that the demand is not met, the second one by Holm's correction.
        obstacle: why the two cannot be compared.
        passed: whether the demand is met; True if there is nothing to beat.
    """

    metric: str
    demand: str
    margin: float
    lower_is_better: bool
    items: int
    policy: float
    opponent: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    adjusted_p_value: float | None = None
    obstacle: str | None = None
    passed: bool = True

    def to_json(self) -> dict[str, Any]:
        """As `promotion.json` holds it."""
        return asdict(self)

    def metrics(self) -> Metrics:
        """Its numbers, by the metric's name."""
        names = ("policy", "opponent", "gain", "low", "high", "p_value", "adjusted_p_value")
        return {f"{self.metric}/{name}": getattr(self, name) for name in names} | {
            f"{self.metric}/passed": int(self.passed)
        }


def look_at_all(
    config: PromoteConfig,
    policy: Mapping[str, Judgement],
    opponent: Mapping[str, Judgement] | None,
) -> tuple[Finding, ...]:
    """What every demand came to, those that must improve first; see `larpo_lib.steps.gate.decide_by_all`."""
    found = [_look(config, one, policy[one.benchmark], opponent) for one in config.asked]
    tested = [(place, one.p_value) for place, one in enumerate(found) if one.p_value is not None]
    for (place, _), adjusted in zip(tested, holm([p_value for _, p_value in tested]), strict=True):
        passed = adjusted <= 1 - config.confidence + _ROUNDING
        found[place] = replace(found[place], adjusted_p_value=adjusted, passed=passed)
    return tuple(found)


def _look(
    config: PromoteConfig, asked: GateMetric, policy: Judgement, opponents: Mapping[str, Judgement] | None
) -> Finding:
    new = policy.values[asked.name]
    lower = policy.lower_is_better(asked.name)
    found = Finding(asked.metric, asked.demand, asked.margin, lower, len(new), fmean(new.values()))
    if opponents is None:
        return found
    opponent = opponents.get(asked.benchmark)
    obstacle = _obstacle(asked, policy, opponent, others=bool(opponents))
    if obstacle is not None or opponent is None:
        return replace(found, obstacle=obstacle, passed=False)
    old = opponent.values[asked.name]
    pairs = [new[item] for item in sorted(new)], [old[item] for item in sorted(new)]
    bootstrap, most = Bootstrap.of(config), scale(asked.metric)
    tested = gain_above(asked.threshold, *pairs, bootstrap, lower_is_better=lower, scale=most)
    gain = {name: getattr(tested.gain, name) for name in ("low", "high")}
    return replace(found, opponent=fmean(old.values()), gain=tested.gain.value, **gain, p_value=tested.p_value)


def _obstacle(asked: GateMetric, policy: Judgement, opponent: Judgement | None, *, others: bool) -> str | None:
    if opponent is None and others:
        return f"it has no evaluation by {asked.benchmark}"
    items = len(policy.values[asked.name])
    few = f"a comparison needs {LEAST_ITEMS} items or more, not {items}" if items < LEAST_ITEMS else None
    return incomparable(asked.name, policy, opponent) or few


def in_words(tests: Sequence[Finding], opponent: str, confidence: float) -> str:
    """Why a policy passes the gate, or which demands it does not meet, and by how much."""
    missed = [test for test in tests if not test.passed]
    if missed:
        return "; ".join(_missed(test, opponent, 1 - confidence) for test in missed)
    gains = [f"{test.metric} by {_short(test.gain)}" for test in tests if test.demand == IMPROVE]
    kept = [f"{test.metric} ({_change(test)}, allowed: -{test.margin:g})" for test in tests if test.demand == KEEP]
    return f"better than {opponent} in {_listed(gains)}" + (f"; no worse in {_listed(kept)}" if kept else "")


def _missed(test: Finding, opponent: str, level: float) -> str:
    if test.obstacle is not None:
        return f"{test.metric} cannot be compared with {opponent}: {test.obstacle}"
    assert test.gain is not None, "what can be compared has a gain"
    better = ", lower is better" if test.lower_is_better else ""
    means = f"{_short(test.policy)} against {_short(test.opponent)} of {opponent}{better}"
    doubt = f"adjusted p {_short(test.adjusted_p_value)}, required: at most {level:.3g}"
    if test.demand == IMPROVE:
        return f"{test.metric} is not better by more than {test.margin:g}: {means}, gain {_change(test)}, {doubt}"
    if test.gain <= -test.margin * (1 - _ROUNDING):
        return (
            f"{test.metric} is worse by {_short(-test.gain)}, where less than {test.margin:g} is allowed: {means}, "
            f"gain {_change(test)}, {doubt}"
        )
    return (
        f"{test.metric} may be worse by {test.margin:g} or more, which the {test.items} items do not exclude: {means}, "
        f"gain {_change(test)}, {doubt}"
    )


def _change(test: Finding) -> str:
    return f"{_signed(test.gain)} [{_signed(test.low)}, {_signed(test.high)}]"


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _short(value: float | None) -> str:
    return f"{value:.4g}"


def _signed(value: float | None) -> str:
    return f"{value:+.4g}"
