"""The study's results for people: a table, a figure, a page, and everything as JSON."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from larpo_lib.files import file_digest
from larpo_lib.reporting import drawing
from larpo_lib.reporting.drawing import DASHED, GREY, MUTED, Dot, Panel
from larpo_lib.reporting.machine import made_on
from larpo_lib.reporting.publication import made, publish
from larpo_lib.reporting.table import aligned, difference, interval, number
from larpo_lib.statistics.estimates import Estimate
from larpo_lib.studies.preferences.results import MAIN
from larpo_lib.studies.preferences.study import PreferenceStudy

HEADS = {
    "kendall_tau": "Kendall's tau",
    "ndcg": "nDCG",
    "pair_accuracy": "pair accuracy",
    "pair_accuracy_similar_length": "pair accuracy, similar length",
    "kendall_tau_given_length": "tau given length",
    "kendall_tau_given_model": "tau given model",
}
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
_DRAWN = ("kendall_tau", "kendall_tau_given_length", "pair_accuracy_similar_length")
_LINES = ("length", "model identity")
_NOTHING = {"kendall_tau": 0.0, "kendall_tau_given_length": 0.0, "pair_accuracy_similar_length": 0.5}

Rows = list[list[str]]


def write(
    study: PreferenceStudy, search: Mapping[str, Any], results: Mapping[str, Any], command: str, out: Path
) -> str:
    """Write the results for people, and all numbers; returns the tables."""
    told = {**provenance(study, search, command), **results}
    text = "\n\n".join("\n".join([title, *aligned(rows)]) for title, rows in tables(results))
    publish(out, "preferences", numbers=_plain(told), table=text, panels=panels(results), context=_context(told))
    return text


def provenance(study: PreferenceStudy, search: Mapping[str, Any], command: str) -> dict[str, Any]:
    """What the results were made from, with, on and when."""
    source = Path(study.prepared.source)
    return {
        "study": study.name,
        "command": command,
        "source": {"name": source.name, "sha256": file_digest(source)},
        "settings": study.model_dump(mode="json", exclude={"prepare": {"source"}}),
        "search": {"seed": study.search_seed, "measure": MAIN, "objectives": dict(search)},
        "objective_settings": {
            name: study.train_config(name, search[name]["learning_rate"], 0).objective.model_dump()
            for name in study.trained
        },
        **made(_LIBRARIES),
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
            _row(name, one["differences"][other], difference)
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
        (name, value)
        for name in _LINES
        if (value := results["baselines"][name]["estimates"][measure].value) is not None
    ]
    told = f"Dashed: {', '.join(name for name, _ in lines)}. " if lines else ""
    caption = f"{results['confidence']:.0%} intervals over seeds and held-out prompts. {told}Solid line: chance."

    dots = [
        Dot(name, one["estimates"][measure], [*one["by_seed"][measure].values()])
        for name, one in results["objectives"].items()
        if one["estimates"][measure].value is not None
    ]

    def draw(axes: Axes) -> None:
        drawing.draw_dots(axes, dots)
        axes.axvline(_NOTHING[measure], color=GREY, linewidth=1)
        for place, (name, value) in enumerate(lines):  # names one above the other, for lines may be close
            axes.axvline(value, color=GREY, linestyle=DASHED, linewidth=1.4)
            look: dict[str, Any] = {
                "transform": axes.get_xaxis_transform(),
                "ha": "right",
                "fontsize": 7.5,
                "color": MUTED,
            }
            axes.text(value, 1.012 + 0.04 * place, name, **look)

    title = HEADS[measure][0].upper() + HEADS[measure][1:]
    return Panel(f"preferences-{measure}".replace("_", "-"), title, caption, draw, rows=[dot.label for dot in dots])


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


def _row(name: str, estimates: Mapping[str, Estimate], write: Callable[[Estimate], str] = interval) -> list[str]:
    return [name, *(write(estimates[measure]) for measure in HEADS)]


def _plain(value: Any) -> Any:
    """What JSON can hold; where a seed has no value a measure is not defined, and its estimate is null."""
    if isinstance(value, Estimate):
        return None if value.value is None else value.as_mean()
    return {name: _plain(part) for name, part in value.items()} if isinstance(value, Mapping) else value
