"""A study for people: a table for the terminal, a figure, one page, and all numbers as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from larpo_lib.reporting import drawing
from larpo_lib.reporting.benchmark_figures import curve_panels
from larpo_lib.reporting.drawing import BLUE, GREY, Dot, Panel
from larpo_lib.reporting.machine import made_on
from larpo_lib.reporting.publication import made, publish
from larpo_lib.reporting.table import aligned, difference, interval, number
from larpo_lib.statistics.estimates import Estimate
from larpo_lib.studies import by_n
from larpo_lib.studies.results import BOOTSTRAP, Labels, Results, Row
from larpo_lib.studies.study import Study, slug

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
    "other_rules": "other rules",
    "kl": "KL to the start",
}


def write(study: Study, results: Results, provenance: Mapping[str, Any], directory: Path) -> str:
    """Write the results for people, and all numbers; returns the table.

    Args:
        study: as `results`: what was run, and what it came to.
        provenance: `command`, `scale` and `seeds`, `notes` for the page, the `settings` of each cell, and what the
            `search` found, or None.
        directory: to write to.
    """
    axes = [axis.name for axis in (*study.scale(provenance["scale"]).axes, *study.axes)]
    told, table = {**provenance, **made(_LIBRARIES)}, "\n".join(aligned(_rows(study, results, axes)))
    publish(
        directory,
        "study",
        numbers={"study": study.name, **told, **results.to_json()},
        table=table,
        panels=panels(study, results),
        context=_context(study, results, axes, told),
    )
    return table


def panels(study: Study, results: Results) -> list[Panel]:
    """One panel for each of the first two measures; of measures at several N, one for the curves of each kind."""
    if study.layout == "by_n":
        return list(curve_panels(by_n.curves(results), BOOTSTRAP.confidence))
    groups = list(dict.fromkeys(row.labels[:-1] for row in results.rows))
    return [_panel(study, results, measure, group) for measure in results.measures[:2] for group in groups]


def _panel(study: Study, results: Results, measure: str, group: Labels) -> Panel:
    """One measure of the cells that differ on the last axis alone."""
    rows = [row for row in results.rows if row.labels[:-1] == group]
    starts = [row.estimates[measure] for row in results.starts if row.labels[:-1] == group]
    name = _name(measure)
    title = " · ".join([name[0].upper() + name[1:], *group])
    caption = f"{BOOTSTRAP.confidence:.0%} intervals over seeds and prompts. Dashed: the starting policy."
    place = "-".join([study.name, measure.replace("_", "-"), *map(slug, group)])
    if study.layout == "curve":
        return Panel(place, title, caption, lambda axes: _curve(axes, study, rows, starts, measure))
    dots = [Dot(row.labels[-1], row.estimates[measure], [*row.by_seed[measure].values()]) for row in rows]

    def draw(axes: Axes) -> None:
        drawing.draw_dots(axes, dots)
        for start in starts:
            if start.value is not None:
                axes.axvline(start.value, color=GREY, linestyle=drawing.DASHED, linewidth=1.4)

    return Panel(place, title, caption, draw, rows=[dot.label for dot in dots])


def _curve(axes: Axes, study: Study, rows: Sequence[Row], starts: Sequence[Estimate], measure: str) -> None:
    places = {variant.label: variant.x for variant in study.axes[-1].variants}
    found = [(float(places[row.labels[-1]] or 0), row.estimates[measure]) for row in rows]
    drawing.draw_band(axes, [place for place, _ in found], [one for _, one in found], color=BLUE, marker="o")
    for start in (one.value for one in starts):
        if start is not None:
            axes.axhline(start, color=GREY, linestyle=drawing.DASHED, linewidth=1.4)
    axes.set_xticks([place for place, _ in found], [row.labels[-1] for row in rows])
    axes.set_xlabel(study.axes[-1].name)
    axes.margins(y=0.15)


def _rows(study: Study, results: Results, axes: Sequence[str]) -> list[list[str]]:
    if study.layout == "by_n":
        return by_n.rows(by_n.curves(results))
    columns = list(dict.fromkeys(name for row in (*results.starts, *results.rows) for name in row.published))
    head = [*axes, *map(_name, results.measures), *(f"paper: {_name(name)}" for name in columns)]
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


def _context(study: Study, results: Results, axes: Sequence[str], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What the page and its Markdown form tell."""
    head, *body = _rows(study, results, axes)
    search = provenance["search"] or {"cells": []}
    tried = sorted({value for cell in search["cells"] for value in cell["tried"]}, key=float)
    return {
        "study": study,
        "head": head,
        "body": body,
        "axes": axes,
        "group": axes[:-1],
        "compared": [*axes, *map(_name, results.measures)],
        "differences": _differences(results),
        "orderings": [
            (*one.group, f"{one.better} above {one.worse}", _name(one.measure), difference(one.difference), one.verdict)
            for one in results.found
        ],
        "tried": tried,
        "searched": [
            [*cell["labels"], *(number(cell["tried"][value]) for value in tried), f"{cell['chosen']:g}"]
            for cell in search["cells"]
        ],
        "choices": [*study.scale(provenance["scale"]).choices, *provenance["notes"]],
        "published": any(row.published for row in (*results.rows, *results.starts)),
        "provenance": provenance,
        "made_on": made_on(provenance["machine"], provenance["versions"]),
    }


def _differences(results: Results) -> list[list[str]]:
    return [
        [*row.labels, *(difference(row.differences[name]) for name in results.measures)]
        for row in results.rows
        if row.differences
    ]


def _name(measure: str) -> str:
    if measure.startswith("pass_at_"):
        return f"Pass@{measure.removeprefix('pass_at_')}"
    return _NAMES.get(measure, measure.replace("_", " "))
