"""A study for people: a table for the terminal, a figure, one page, and all numbers as JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from larpo_lib.reporting import drawing
from larpo_lib.reporting.benchmark_figures import curve_panels
from larpo_lib.reporting.drawing import BLUE, GREY, Dot, Panel
from larpo_lib.reporting.machine import made_on
from larpo_lib.reporting.publication import made, publish
from larpo_lib.reporting.table import aligned, difference, interval, number
from larpo_lib.studies import by_n
from larpo_lib.studies.results import BOOTSTRAP, Results, Row
from larpo_lib.studies.study import Study

_LIBRARIES = ("torch", "transformers", "numpy")
_NAMES = {
    "accuracy": "accuracy",
    "greedy_accuracy": "greedy accuracy",
    "reward": "mean reward",
    "lc_win_rate": "LC win rate",
    "win_rate": "win rate",
    "mixeval": "MixEval",
    "mixeval_hard": "MixEval-Hard",
    "gsm8k_accuracy": "GSM8K accuracy",
}


def write(study: Study, results: Results, provenance: Mapping[str, Any], directory: Path) -> str:
    """Write the results for people, and all numbers; returns the table.

    Args:
        study: as `results`: what was run, and what it came to.
        provenance: `command`, `scale` and `seeds`, the `settings` of each cell, and what the `search` found, or None.
        directory: to write to.
    """
    told, table = {**provenance, **made(_LIBRARIES)}, "\n".join(aligned(_rows(study, results)))
    publish(
        directory,
        "study",
        numbers={"study": study.name, **told, **results.to_json()},
        table=table,
        panels=panels(study, results),
        context=_context(study, results, told),
    )
    return table


def panels(study: Study, results: Results) -> list[Panel]:
    """One panel for each of the first two measures; of measures at several N, one for the curves of each kind."""
    if study.layout == "by_n":
        return list(curve_panels(by_n.curves(results), BOOTSTRAP.confidence))
    return [_panel(study, results, measure) for measure in results.measures[:2]]


def _panel(study: Study, results: Results, measure: str) -> Panel:
    name = _name(measure)
    title = name[0].upper() + name[1:]
    caption = f"{BOOTSTRAP.confidence:.0%} intervals over seeds and prompts. Dashed: the starting policy."
    place = f"{study.name}-{measure}".replace("_", "-")
    if study.layout == "curve":
        return Panel(place, title, caption, lambda axes: _curve(axes, study, results, measure))
    dots = [
        Dot(" · ".join(row.labels), row.estimates[measure], [*row.by_seed[measure].values()]) for row in results.rows
    ]

    def draw(axes: Axes) -> None:
        drawing.draw_dots(axes, dots)
        for value in (row.estimates[measure].value for row in results.starts):
            if value is not None:
                axes.axvline(value, color=GREY, linestyle=drawing.DASHED, linewidth=1.4)

    return Panel(place, title, caption, draw, rows=[dot.label for dot in dots])


def _curve(axes: Axes, study: Study, results: Results, measure: str) -> None:
    places = {variant.label: variant.x for variant in study.axes[-1].variants}
    found = [(float(places[row.labels[-1]] or 0), row.estimates[measure]) for row in results.rows]
    drawing.draw_band(axes, [place for place, _ in found], [one for _, one in found], color=BLUE, marker="o")
    if (start := results.start[measure].value) is not None:
        axes.axhline(start, color=GREY, linestyle=drawing.DASHED, linewidth=1.4)
    axes.set_xticks([place for place, _ in found], [row.labels[-1] for row in results.rows])
    axes.set_xlabel(study.axes[-1].name)
    axes.margins(y=0.15)


def _rows(study: Study, results: Results) -> list[list[str]]:
    if study.layout == "by_n":
        return by_n.rows(by_n.curves(results))
    columns = list(dict.fromkeys(name for row in (*results.starts, *results.rows) for name in row.published))
    head = [*_axes(study, results), *map(_name, results.measures), *(f"paper: {_name(name)}" for name in columns)]
    body = [
        [
            *row.labels,
            *(interval(row.estimates[name]) for name in results.measures),
            *(number(row.published.get(name)) for name in columns),
        ]
        for row in _with_starts(results)
    ]
    return [head, *body]


def _with_starts(results: Results) -> list[Row]:
    """The rows, each group of them below the policy that its runs begin with."""
    groups = {row.labels[:-1]: [row] for row in results.starts}
    for row in results.rows:
        groups[row.labels[:-1]].append(row)
    return [row for group in groups.values() for row in group]


def _context(study: Study, results: Results, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What the page and its Markdown form tell."""
    head, *body = _rows(study, results)
    search = provenance["search"] or {"cells": []}
    tried = sorted({value for cell in search["cells"] for value in cell["tried"]}, key=float)
    return {
        "study": study,
        "head": head,
        "body": body,
        "axes": _axes(study, results),
        "group": _axes(study, results)[:-1],
        "compared": [*_axes(study, results), *map(_name, results.measures)],
        "differences": _differences(results),
        "orderings": [
            (*one.group, f"{one.better} above {one.worse}", difference(one.difference), one.verdict)
            for one in results.found
        ],
        "tried": tried,
        "searched": [
            [*cell["labels"], *(number(cell["tried"][value]) for value in tried), f"{cell['chosen']:g}"]
            for cell in search["cells"]
        ],
        "choices": study.scale(provenance["scale"]).choices,
        "provenance": provenance,
        "made_on": made_on(provenance["machine"], provenance["versions"]),
    }


def _differences(results: Results) -> list[list[str]]:
    return [
        [*row.labels, *(difference(row.differences[name]) for name in results.measures)]
        for row in results.rows
        if row.differences
    ]


def _axes(study: Study, results: Results) -> list[str]:
    names = [axis.name for axis in study.axes]
    return [axis.name for axis in study.paper.axes][: len(results.rows[0].labels) - len(names)] + names


def _name(measure: str) -> str:
    if measure.startswith("pass_at_"):
        return f"Pass@{measure.removeprefix('pass_at_')}"
    return _NAMES.get(measure, measure.replace("_", " "))
