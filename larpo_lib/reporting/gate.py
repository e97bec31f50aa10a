"""The gate of several metrics as a table and as a figure, from the tests that `promotion.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from larpo_lib.reporting.table import UNDEFINED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from larpo_lib.reporting.drawing import Panel

TABLE, FIGURE = "gate.md", "gate.png"
"""Files of a promotion by several metrics, beside `promotion.json`."""
Tests = Sequence[Mapping[str, Any]]
HEAD = ("metric", "demand", "policy", "opponent", "gain", "interval", "p", "Holm's p", "met")
NOTE = (
    "A gain is a change for the better: a decrease of metrics marked with ↓. p is of the hypothesis that the demand is "
    "not met (one-sided, over the items' gains); Holm's p is corrected for the number of demands, and decides."
)


def rows(tests: Tests) -> list[list[str]]:
    """A row of text for each test, below `HEAD`."""
    return [
        [
            f"{test['metric']}{' ↓' if test['lower_is_better'] else ''}",
            f"{'gain > ' if test['demand'] == 'must_improve' else 'loss < '}{test['margin']:g}",
            _short(test["policy"]),
            _short(test["opponent"]),
            _short(test["gain"], "+"),
            UNDEFINED if test["low"] is None else f"{test['low']:+.4g} to {test['high']:+.4g}",
            _short(test["p_value"]),
            _short(test["adjusted_p_value"]),
            test["obstacle"] or ("yes" if test["passed"] else "no"),
        ]
        for test in tests
    ]


def tests_table(tests: Tests) -> str:
    """The tests in Markdown."""
    lines = (HEAD, ["---"] * len(HEAD), *rows(tests))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{NOTE}"


def became(decision: Mapping[str, Any]) -> str:
    """The verb between a policy and its alias: a champion that does not pass the gate again stays champion."""
    return "stays" if decision["alias"] == "champion" and not decision["promoted"] else "is now"


def table(decision: Mapping[str, Any]) -> str:
    """A decision in Markdown: what became of the policy, why, and the tests."""
    outcome = f"**{decision['model_name']}** version {decision['version']} {became(decision)} **{decision['alias']}**"
    return f"{outcome}: {decision['reason']}.\n\n{tests_table(decision['tests'])}\n"


def panel(decision: Mapping[str, Any]) -> Panel:
    """Every gain with its interval, and the threshold that the interval's lower end must exceed.

    Metrics have different units, so each row has a scale of its own, and only zero stands at one place.
    """
    from larpo_lib.reporting.drawing import Panel

    tests: Tests = decision["tests"]
    inner = 2 * decision["confidence"] - 1
    caption = (
        f"Gain over the opponent with its {inner:.0%} interval; each row has its own scale. Dotted line: no change. "
        "Bar: what the gain must exceed. Blue: the demand is met."
    )
    return Panel(
        "gate", "Gain by metric", caption, lambda axes: _draw(axes, tests), rows=[_label(one) for one in tests]
    )


def _label(test: Mapping[str, Any]) -> str:
    return f"{test['metric']}  {_short(test['gain'], '+')}"


def _draw(axes: Axes, tests: Tests) -> None:
    from larpo_lib.reporting.drawing import BLUE, GREY, INK, ORANGE

    for place, test in enumerate(tests):
        threshold = test["margin"] if test["demand"] == "must_improve" else -test["margin"]
        drawn = [threshold, *(test[name] for name in ("low", "gain", "high") if test[name] is not None)]
        scale = max(map(abs, drawn)) or 1.0
        axes.plot([threshold / scale], [-place], "|", color=INK, markersize=15, markeredgewidth=2)
        if test["gain"] is not None:
            color = BLUE if test["passed"] else ORANGE
            axes.plot([test["low"] / scale, test["high"] / scale], [-place, -place], color=color, linewidth=2)
            axes.plot([test["gain"] / scale], [-place], marker="o", color=color)
    axes.axvline(0, color=GREY, linewidth=1, linestyle=":")
    axes.set_xlim(-1.1, 1.1)
    axes.set_xticks([])
    axes.set_xlabel("worse than the opponent ← → better")
    axes.set_yticks([-place for place in range(len(tests))], [_label(one) for one in tests], color=INK, fontsize=8.5)
    axes.set_ylim(-len(tests) + 0.4, 0.6)


def _short(value: float | None, sign: str = "") -> str:
    return UNDEFINED if value is None else f"{value:{sign}.4g}"
