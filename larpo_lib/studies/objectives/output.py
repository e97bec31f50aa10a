"""The study's results for people: which objectives are the best, tables, a figure, a page, and everything as JSON."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from larpo_lib.config.kinds import ObjectiveConfig
from larpo_lib.files import file_digest
from larpo_lib.reporting import drawing
from larpo_lib.reporting.drawing import DASHED, GREY, Dot, Panel
from larpo_lib.reporting.machine import made_on
from larpo_lib.reporting.publication import made, publish
from larpo_lib.reporting.table import aligned, difference, interval, number
from larpo_lib.statistics.estimates import mean
from larpo_lib.studies.objectives.results import Comparison, Row, to_json
from larpo_lib.studies.objectives.search import Searched
from larpo_lib.studies.objectives.study import ObjectivesStudy, around, strength_of
from larpo_lib.studies.results import BOOTSTRAP

_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")

Rows = list[list[str]]


def write(study: ObjectivesStudy, found: Sequence[Comparison], command: str, out: Path) -> str:
    """Write the results for people, and all numbers; returns the tables."""
    assert study.prepare is not None
    source = Path(study.prepare.source)
    told = {
        "study": study.name,
        "command": command,
        "seeds": study.seeds,
        "confidence": BOOTSTRAP.confidence,
        "source": {"name": source.name, "sha256": file_digest(source)},
        "settings": study.model_dump(mode="json", exclude={"prepare": {"source"}}),
        **made(_LIBRARIES),
    }
    numbers = {**told, "found": {one.about.name: to_json(one) for one in found}}
    tables = [("\n".join([one.about.title, *sentences(one)]), table(one)) for one in found]
    text = "\n\n".join("\n".join([title, *aligned(rows)]) for title, rows in tables)
    context = {
        "told": told,
        "study": study,
        "overview": overview(found),
        "parts": [_part(study, one) for one in found],
        "made_on": made_on(told["machine"], told["versions"]),
    }
    publish(out, "objectives", numbers=numbers, table=text, panels=[_panel(one) for one in found], context=context)
    return text


def overview(found: Sequence[Comparison]) -> Rows:
    """What each objective does, and where it is among the best; those that are nowhere below the best come first."""
    verdicts = [{row.setting.objective: row.verdict for row in one.rows} for one in found]
    entries = ObjectiveConfig.entries()
    body = [[name, entries[name].does, *(one[name] for one in verdicts)] for name in verdicts[0]]
    bad = ("below the best", "broke down")
    body.sort(key=lambda row: sum(verdict in bad for verdict in row[2:]))
    return [["objective", "what it does", *(one.about.title.lower() for one in found)], *body]


def sentences(found: Comparison) -> list[str]:
    """The verdict in words."""
    told = [
        ("The best", found.named("the best")),
        ("Not distinguishable from it", found.named("not distinguishable")),
        ("Below it beyond noise", found.named("below the best")),
        ("Training broke down", found.named("broke down")),
    ]
    lines = [f"{what}: {', '.join(names)}." for what, names in told if names]
    fell = [row.setting.objective for row in found.rows if row.fell]
    before = found.about.before
    return [
        *lines,
        f"Below {before} for a seed: {', '.join(fell)}." if fell else f"None is below {before} for any seed.",
    ]


def table(found: Comparison) -> Rows:
    """A row for each objective, best first."""
    about = found.about
    head = [
        "objective",
        *about.measures.values(),
        f"above {about.before}",
        "least of a seed",
        "difference from the best",
        "verdict",
        "learning rate",
        "strength",
    ]
    start = [about.before, *(interval(found.before[name]) for name in about.measures), *[""] * 6]
    return [head, start, *(_row(row, found) for row in found.rows)]


def _row(row: Row, found: Comparison) -> list[str]:
    strength, _ = strength_of(row.setting.objective)
    return [
        row.setting.objective,
        *(interval(row.estimates[name]) for name in found.about.measures),
        difference(row.gain),
        number(row.least_gain),
        difference(row.from_best),
        row.verdict,
        f"{row.setting.learning_rate:g}",
        f"{strength} {row.setting.strength:g}",
    ]


def _part(study: ObjectivesStudy, found: Comparison) -> dict[str, Any]:
    about = found.about
    rates = [around(about.learning_rate, study.learning_rate_ratio, place) for place in found.rates.line.places]
    factors = [f"{study.strength_ratio**place:g} times" for place in found.strengths.line.places]
    return {
        "title": about.title,
        "sentences": sentences(found),
        "table": table(found),
        "searches": [
            ("Learning rate", _searched(found.rates, [f"{rate:g}" for rate in rates]), found.rates.at_end),
            ("Strength", _searched(found.strengths, factors), found.strengths.at_end),
        ],
        "measure": about.measures[about.main],
        "seed": about.search_seed,
        "reach": about.reach,
        "trials": len(rates) + len(factors) - 1,  # the strength in the middle was tried with the learning rates
    }


def _searched(found: Searched, columns: Sequence[str]) -> Rows:
    def cells(name: str) -> Iterator[str]:
        for place in found.line.places:
            values = found.tried[name][place]
            yield number(mean([*values.values()]) if values else None)

    body = [[name, *cells(name), columns[best - found.line.low]] for name, best in found.best.items()]
    return [["objective", *columns, "chosen"], *body]


def _panel(found: Comparison) -> Panel:
    """The main measure, best first."""
    about = found.about
    start = found.before[about.main].value
    dots = [
        Dot(row.setting.objective, row.estimates[about.main], [*row.by_seed.values()])
        for row in found.rows
        if row.by_seed
    ]

    def draw(axes: Axes) -> None:
        drawing.draw_dots(axes, dots)
        if start is not None:
            axes.axvline(start, color=GREY, linestyle=DASHED, linewidth=1.4)

    name = about.measures[about.main]
    caption = (
        f"{BOOTSTRAP.confidence:.0%} intervals of each objective alone, over seeds and held-out prompts; marks: seeds. "
        f"Dashed: {about.before}. Whether two differ, the table says, which compares prompt by prompt."
    )
    title = f"{about.title}: {name}"
    return Panel(f"objectives-{about.name}", title, caption, draw, rows=[dot.label for dot in dots])
