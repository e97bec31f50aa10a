"""The figures of a benchmark's report: its curves, and how the values of its items are spread."""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, ScalarFormatter

from larpo_lib.reporting.drawing import (
    BLUE,
    DASHED,
    GREY,
    INK,
    ORANGE,
    SOLID,
    Panel,
    draw_band,
    draw_histogram,
    label_ends,
    whole_numbers,
)
from larpo_lib.reporting.evaluation import Curve, EvaluationReport

_LOOKS = (
    (BLUE, SOLID, "o"),
    (ORANGE, DASHED, "s"),
    (GREY, (0, (1, 1.2)), "^"),
    (INK, (0, (6, 1.5, 1, 1.5)), "D"),
)
_MOST_MARKERS = 16
_LABEL_WIDTH = 14
_LOGARITHMIC_FROM = 40.0  # largest x over the smallest
_FEWEST_VALUES = 5  # different ones that make a distribution worth a look
_BINS = 24


def panels(report: EvaluationReport) -> list[Panel]:
    """One panel for the curves of each title, and a histogram of each metric of more than right or wrong."""
    return [*curve_panels(report.curves, report.confidence), *_histograms(report)]


def curve_panels(drawn: Sequence[Curve], confidence: float) -> Iterator[Panel]:
    """One panel for the curves of each title, whose intervals hold with the probability `confidence`."""
    titles = list(dict.fromkeys(curve.title for curve in drawn))
    for place, title in enumerate(titles):
        curves = [curve for curve in drawn if curve.title == title]
        banded = any(curve.banded for curve in curves)
        caption = f"Band: {confidence:.0%} confidence interval. " if banded else ""
        whole = _is_share(curves)
        caption += "The axis spans 0 to 1." if whole else "The axis does not start at zero."
        yield Panel(_file_name(title, place), title, caption, _drawing(curves, whole=whole), direct_labels=True)


def _drawing(curves: Sequence[Curve], *, whole: bool) -> Callable[[Axes], None]:
    names = [textwrap.fill(_plain(curve.name), _LABEL_WIDTH, break_on_hyphens=False) for curve in curves]

    def draw(axes: Axes) -> None:
        for place, (curve, name) in enumerate(zip(curves, names, strict=True)):
            colour, line, marker = _LOOKS[place % len(_LOOKS)]
            look = {"linestyle": line, "marker": marker if len(curve.x) <= _MOST_MARKERS else ""}
            draw_band(axes, curve.x, curve.y, color=colour, label=name, **look)
        _horizontal(axes, curves)
        if whole:
            axes.set_ylim(0, 1.02)
        label_ends(axes, gap=0.1 + 0.085 * max(1 + name.count("\n") for name in names))

    return draw


def _horizontal(axes: Axes, curves: Sequence[Curve]) -> None:
    places = sorted({x for curve in curves for x in curve.x})
    if places[0] > 0 and places[-1] / places[0] >= _LOGARITHMIC_FROM:
        axes.set_xscale("log")
        ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if places[0] <= t <= places[-1]]
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel(curves[0].x_label)
    elif all(float(x).is_integer() for x in places):
        whole_numbers(axes, curves[0].x_label)
    else:
        axes.set_xlabel(curves[0].x_label)


def _histograms(report: EvaluationReport) -> Iterator[Panel]:
    labels = {score.name: score.label for score in report.scores}
    for place, (metric, by_item) in enumerate(sorted(report.values.items())):
        values = list(by_item.values())
        hidden = report.distributions is not None and metric not in report.distributions
        if hidden or len(set(values)) < _FEWEST_VALUES:
            continue
        label = labels.get(metric, metric.replace("_", " "))

        def draw(axes: Axes, values: Sequence[float] = values) -> None:
            edges = np.histogram_bin_edges(values, bins=_BINS)
            draw_histogram(axes, values, edges, color=BLUE)
            mean = float(np.mean(values))
            axes.axvline(mean, color=ORANGE, linestyle=DASHED, linewidth=1.4)
            axes.text(
                mean, 1.02, "mean", transform=axes.get_xaxis_transform(), color=ORANGE, weight="bold", ha="center",
                fontsize=9.5,
            )  # fmt: skip
            axes.set_xlabel("value of one item")

        caption = f"Fraction of the {len(values):,} items in each bin."
        yield Panel(f"values-{_file_name(metric, place)}", f"{label}, item by item", caption, draw)


def _is_share(curves: Sequence[Curve]) -> bool:
    drawn = (number for curve in curves for one in curve.y for number in (one.value, one.low, one.high))
    return all(0 <= number <= 1 for number in drawn if number is not None)


def _file_name(text: str, place: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or f"figure-{place}"


def _plain(text: str) -> str:
    """Text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")
