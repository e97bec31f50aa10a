"""The benchmark's results for people: a table, a figure, a page, and everything as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from benchmarks.preferences.settings import Settings
from larpo_lib import __version__
from larpo_lib.artifacts import file_digest, write_json
from larpo_lib.config import Section
from larpo_lib.reporting import drawing
from larpo_lib.reporting.drawing import DASHED, GREY, MUTED, Dot, Panel
from larpo_lib.reporting.machine import machine, made_on
from larpo_lib.reporting.table import UNDEFINED, aligned, difference, interval, number
from larpo_lib.reporting.templates import render
from larpo_lib.statistics.estimates import Estimate

HEADS = {
    "kendall_tau": "Kendall's tau",
    "ndcg": "nDCG",
    "pair_accuracy": "pair accuracy",
    "pair_accuracy_similar_length": "pair accuracy, similar length",
    "kendall_tau_given_length": "tau given length",
    "kendall_tau_given_model": "tau given model",
}
_OF_THE_MOMENT = ("threads", "load")
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
_DRAWN = ("kendall_tau", "kendall_tau_given_length", "pair_accuracy_similar_length")
_LINES = ("length", "model identity")
_NOTHING = {"kendall_tau": 0.0, "kendall_tau_given_length": 0.0, "pair_accuracy_similar_length": 0.5}

Rows = list[list[str]]


def write(
    settings: Settings, search: Mapping[str, Any], results: Mapping[str, Any], source: Path, command: str, out: Path
) -> str:
    """Write the tables, the figure, a page and its Markdown form, and all numbers as JSON; returns the tables."""
    out.mkdir(parents=True, exist_ok=True)
    told = {**provenance(settings, search, source, command), **results}
    write_json(out / "results.json", told)
    text = "\n\n".join("\n".join([title, *aligned(rows)]) for title, rows in tables(results))
    (out / "table.txt").write_text(text + "\n", "utf-8")
    drawn = panels(results)
    for suffix, content in drawing.sheet(drawn).items():
        (out / f"figure.{suffix}").write_bytes(content)
    context = _context(told)
    (out / "page.html").write_text(_page(context, drawn), "utf-8")
    (out / "README.md").write_text(_rendered("page.md.j2", context, escaped=False), "utf-8")
    return text


def provenance(settings: Settings, search: Mapping[str, Any], source: Path, command: str) -> dict[str, Any]:
    """What the results were made from, with, on and when."""
    stated = {
        name: value.model_dump() if isinstance(value, Section) else value for name, value in _fields(settings).items()
    }
    return {
        "benchmark": "preferences",
        "command": command,
        "source": {"name": source.name, "sha256": file_digest(source)},
        "settings": stated,
        "search": {"seed": settings.search_seed, "measure": "kendall_tau", "objectives": dict(search)},
        "objective_settings": {
            name: settings.train(name, search[name]["learning_rate"], 0).objective.model_dump()
            for name in settings.objectives
        },
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {name: value for name, value in machine().items() if name not in _OF_THE_MOMENT},
        "versions": {"larpo": __version__, **{name: metadata.version(name) for name in _LIBRARIES}},
    }


def tables(results: Mapping[str, Any]) -> list[tuple[str, Rows]]:
    """Titles and cells: what everybody ranks by the same score, differences, and objectives by their own score."""
    objectives, known = results["objectives"], results["baselines"]
    head = ["ranked by", *HEADS.values()]
    main = [head, *(_row(name, one["estimates"]) for name, one in known.items())]
    main += [_row(name, one["estimates"]) for name, one in objectives.items()]
    found = [("Held-out agreement with the published preferences; objectives by their implicit reward", main)]
    for other in ("length", "model identity", "dpo"):
        rows = [
            _row(name, one["differences"][other], signed=True)
            for name, one in objectives.items()
            if other in one["differences"]
        ]
        if rows:
            found.append((f"Difference from {other}, prompt by prompt", [head, *rows]))
    own = [
        _row(f"{name} ({one['own_score'].replace('_', ' ')})", one["by_own_score"]["estimates"])
        for name, one in objectives.items()
        if one["own_score"] != "implicit_reward"
    ]
    return [*found, ("By the score that the objective itself trains", [head, *own])] if own else found


def panels(results: Mapping[str, Any]) -> list[Panel]:
    """One panel for each of the measures that are drawn."""
    return [_panel(results, name) for name in _DRAWN]


def _panel(results: Mapping[str, Any], measure: str) -> Panel:
    lines = [
        (name, results["baselines"][name]["estimates"][measure]["mean"])
        for name in _LINES
        if results["baselines"][name]["estimates"][measure] is not None
    ]
    told = f"Dashed: {', '.join(name for name, _ in lines)}. " if lines else ""
    caption = (
        f"{results['confidence']:.0%} intervals over seeds and held-out prompts. {told}Solid line: knowing nothing."
    )

    dots = [
        Dot(name, _estimate(value), [*one["by_seed"][measure].values()])
        for name, one in results["objectives"].items()
        if (value := one["estimates"][measure]) is not None
    ]

    def draw(axes: Axes) -> None:
        drawing.draw_dots(axes, dots)
        axes.axvline(_NOTHING[measure], color=GREY, linewidth=1)
        for place, (name, value) in enumerate(lines):  # names one above the other, for lines may be close
            axes.axvline(value, color=GREY, linestyle=DASHED, linewidth=1.4)
            look = {"transform": axes.get_xaxis_transform(), "ha": "right", "fontsize": 7.5, "color": MUTED}
            axes.text(value, 1.012 + 0.04 * place, name, **look)

    title = HEADS[measure][0].upper() + HEADS[measure][1:]
    return Panel(f"preferences-{measure}".replace("_", "-"), title, caption, draw, rows=[dot.label for dot in dots])


def _page(context: Mapping[str, Any], drawn: Sequence[Panel]) -> str:
    style = resources.files("larpo_lib.reporting").joinpath("style.css").read_text("utf-8")
    figures = [(panel, Markup(drawing.svg(panel))) for panel in drawn]  # noqa: S704 - drawn here
    return _rendered("page.html.j2", {**context, "style": Markup(style), "figures": figures}, escaped=True)  # noqa: S704 - our own file


def _rendered(template: str, context: Mapping[str, Any], *, escaped: bool) -> str:
    return render((Path(__file__).parent / template).read_text("utf-8"), context, escaped=escaped)


def _context(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the page and its Markdown form tell."""
    search = told["search"]["objectives"]
    rates = sorted({rate for one in search.values() for rate in one["tried"]}, key=float)
    return {
        "told": told,
        "tables": tables(told),
        "made_on": made_on(told["machine"], told["versions"]),
        "tried": rates,
        "searched": [
            [name, *(number(one["tried"][rate]) for rate in rates), f"{one['learning_rate']:g}"]
            for name, one in search.items()
        ],
    }


def _row(name: str, estimates: Mapping[str, Mapping[str, float] | None], *, signed: bool = False) -> list[str]:
    return [name, *(_interval(estimates[measure], signed=signed) for measure in HEADS)]


def _interval(value: Mapping[str, float] | None, *, signed: bool) -> str:
    if value is None:
        return UNDEFINED
    return (difference if signed else interval)(_estimate(value))


def _estimate(value: Mapping[str, float]) -> Estimate:
    return Estimate(value["mean"], value["low"], value["high"])


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in asdict(settings)}
