"""How every figure is drawn: one style, direct labels, the same bytes on every machine."""

import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from larpo_lib.reporting.table import number
from larpo_lib.statistics.estimates import Estimate, Floats

INK, MUTED, GRID, GREY, BLUE, ORANGE = "#1b2733", "#5d6b79", "#dde3e9", "#76838f", "#0072b2", "#c44e00"
_CSS_NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", GREY: "grey", BLUE: "blue", ORANGE: "orange"}

DASHED, SOLID = (0, (4, 1.5)), "-"

_WIDTH, _HEIGHT = 4.6, 3.1  # of a panel; these and what follows in inches
_LEFT, _RIGHT, _LABELS, _TOP, _BOTTOM = 0.53, 0.14, 1.15, 0.51, 0.48
_ROW, _CHARACTER, _LEAST = 0.25, 0.067, 2.6  # height of a named row; a letter of its name; width beside the names
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "lines.linewidth": 2.0,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "larpo",
}
_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 200, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
}
"""Kinds of files, and how they are written: without what differs from one time to the next."""


@dataclass(frozen=True)
class Panel:
    """One figure.

    Attributes:
        name: of its PNG file, and the prefix of its ids on the page.
        caption: what the reader must know to read it rightly.
        draw: draws it into empty axes.
        direct_labels: lines carry their names at their right end, which takes room.
        rows: names of its rows, which stand at its left; such a panel is as high and as wide as they need.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Axes], None]
    direct_labels: bool = False
    rows: Sequence[str] = ()

    @property
    def left(self) -> float:
        """Inches left of the axes."""
        return max([_LEFT, *(0.24 + _CHARACTER * len(name) for name in self.rows)])

    @property
    def width(self) -> float:
        """In inches."""
        return max(_WIDTH, self.left + _LEAST + _RIGHT)

    @property
    def height(self) -> float:
        """In inches."""
        return max(_HEIGHT, _TOP + _BOTTOM + _ROW * len(self.rows))


def svg(panel: Panel) -> str:
    """The panel as an `<svg>` element whose colours are the page's CSS variables and whose ids are its own."""
    text = _saved("svg", panel, transparent=True).decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]+;? ?", "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{panel.name}-", text)
    for colour, name in _CSS_NAMES.items():
        text = text.replace(colour, f"var(--{name})")
    label = html.escape(panel.title)
    return re.sub(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>', rf'<svg \1 role="img" aria-label="{label}">', text, count=1)


def png(panel: Panel) -> bytes:
    """The panel on white."""
    return _saved("png", panel, facecolor="white")


def sheet(panels: Sequence[Panel]) -> dict[str, bytes]:
    """The panels side by side on white, as files of their own: the content by suffix, `png` and `svg`."""
    return {kind: _saved(kind, *panels, facecolor="white") for kind in _FORMATS}


def _saved(kind: str, *panels: Panel, **look: Any) -> bytes:
    """The panels side by side, all as high as the highest, as a file of a kind."""
    buffer = io.BytesIO()
    wide, high = sum(panel.width for panel in panels), max(panel.height for panel in panels)
    with style.context("default"), matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(wide, high))
        start = 0.0
        for panel in panels:
            width = panel.width - panel.left - (_LABELS if panel.direct_labels else _RIGHT)
            place = (start + panel.left) / wide, _BOTTOM / high, width / wide, (high - _BOTTOM - _TOP) / high
            figure.text((start + 0.09) / wide, 1 - 0.17 / high, panel.title, weight="bold", fontsize=12)
            panel.draw(figure.add_axes(place))
            start += panel.width
        figure.savefig(buffer, format=kind, **_FORMATS[kind], **look)
    return buffer.getvalue()


@dataclass(frozen=True)
class Dot:
    """A row of a panel: a value with its interval, and values of its parts, such as seeds."""

    name: str
    estimate: Estimate
    parts: Sequence[float] = ()

    @property
    def label(self) -> str:
        """Its name and value."""
        return f"{self.name}  {number(self.estimate.value)}"


def draw_dots(axes: Axes, dots: Sequence[Dot]) -> None:
    """A line a row with its interval, its parts as small marks, and the highest value in another colour."""
    best = max((dot.estimate.value for dot in dots if dot.estimate.value is not None), default=None)
    for place, dot in enumerate(dots):
        color = ORANGE if dot.estimate.value == best else BLUE
        low, value, high = numbers([dot.estimate])
        axes.plot([*low, *high], [-place, -place], color=color, linewidth=2)
        axes.plot(value, [-place], marker="o", color=color)
        axes.plot(dot.parts, [-place] * len(dot.parts), "|", color=MUTED, markersize=7)
    axes.set_yticks([-place for place in range(len(dots))], [dot.label for dot in dots], color=INK, fontsize=8.5)
    axes.set_ylim(-len(dots) + 0.4, 0.6)
    axes.margins(x=0.08)


def whole_numbers(axes: Axes, label: str) -> None:
    """Label the horizontal axis with whole numbers only."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def draw_band(axes: Axes, places: Sequence[float], estimates: Sequence[Estimate], *, color: str, **look: Any) -> None:
    """A line through the values, and a band over the intervals; what is not defined is left out."""
    low, value, high = numbers(estimates)
    axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(places, value, color=color, **look)


def draw_histogram(axes: Axes, values: Sequence[float], edges: Floats, *, color: str, linestyle: Any = SOLID) -> None:
    """The share of the values in each bin."""
    shares = np.histogram(values, edges)[0] / max(1, len(values))
    axes.stairs(shares, edges, fill=True, color=color, alpha=0.16)
    axes.stairs(shares, edges, color=color, linestyle=linestyle, linewidth=1.6)
    axes.set_ylim(bottom=0)


def numbers(estimates: Sequence[Estimate]) -> Iterator[Floats]:
    """Lower bounds, values and upper bounds as arrays; what is not defined is NaN, which is not drawn."""
    return (np.array([getattr(one, name) for one in estimates], dtype=float) for name in ("low", "value", "high"))


def label_ends(axes: Axes, gap: float = 0.185) -> None:
    """Name each line and its last value at its right end, pushed `gap` of the height apart where lines meet."""
    bottom, top = axes.get_ylim()
    ends = []
    for line in axes.get_lines():
        values = np.asarray(line.get_ydata(), dtype=float)
        if np.isfinite(values).any():
            ends.append((float(values[np.isfinite(values)][-1]), line))
    ends.sort(key=lambda end: end[0])
    places = _apart([(value - bottom) / (top - bottom) for value, _ in ends], gap)
    look: dict[str, Any] = {"transform": axes.transAxes, "va": "center", "weight": "bold", "fontsize": 9.5}
    for (value, line), place in zip(ends, places, strict=True):
        axes.text(1.03, place, f"{line.get_label()}\n{number(value)}", color=line.get_color(), **look)


def label_outlines(axes: Axes, outlines: Sequence[tuple[str, str, str]]) -> None:
    """Name outlines above the axes, where a histogram leaves no free end: stroke, name and colour of each."""
    for place, (stroke, name, colour) in enumerate(outlines):
        axes.text(
            0.3 * place, 1.03, f"{stroke} {name}", transform=axes.transAxes, color=colour, weight="bold", fontsize=9.5
        )


def draw_steps(axes: Axes, segments: Sequence[Sequence[float | None]]) -> None:
    """One series over the optimiser steps of all iterations, with a moving average where an iteration has many."""
    start = 0
    for place, segment in enumerate(segments):
        steps, values = np.arange(start + 1, start + len(segment) + 1), np.array(segment, dtype=float)
        width = len(segment) // 20
        smooth = width > 2
        axes.plot(steps, values, color=BLUE, linewidth=0.8 if smooth else 1.8, alpha=0.35 if smooth else 1.0)
        if smooth:
            average = np.convolve(values, np.full(width, 1 / width), "valid")
            axes.plot(steps[width // 2 :][: len(average)], average, color=BLUE, linewidth=1.8)
        if place:
            axes.axvline(start + 0.5, color=GRID, linewidth=1)
        if len(segments) <= 8:
            name = f"iteration {place + 1}" if len(segments) <= 4 else f"{place + 1}"
            middle = start + (len(segment) + 1) / 2
            axes.text(middle, 1.03, name, transform=axes.get_xaxis_transform(), ha="center", color=MUTED, fontsize=9)
        start += len(segment)
    axes.set_xlim(0.5, start + 0.5)
    whole_numbers(axes, "optimiser step")


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending `places` in [0, 1] up, and all of them down where that overshoots, until they are `gap` apart."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    excess = max(0.0, moved[-1] - 1.0) if moved else 0.0
    return [place - excess for place in moved]
