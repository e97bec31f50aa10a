"""Pages as one HTML file that needs nothing else (no script, no font, no network), and their Markdown forms."""

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from larpo_lib import __version__
from larpo_lib.reporting import drawing, gate
from larpo_lib.reporting.content import Report
from larpo_lib.reporting.drawing import Panel
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.reporting.hacking_advice import LEAST
from larpo_lib.reporting.hacking_policies import shown
from larpo_lib.reporting.scores import comparison, headline, score_text, uncertainty, value_text, with_spans
from larpo_lib.reporting.table import UNDEFINED, count, number


def render(report: Report, panels: Mapping[str, Sequence[Panel]]) -> str:
    """The page of a run, with the `panels` of each section as inline SVG. Equal input gives equal text."""
    demands = {"head": gate.HEAD, "note": gate.NOTE, "rows": gate.rows((report.promotion or {}).get("tests", ()))}
    figures = {name: drawn(group) for name, group in panels.items()}
    return fill("report.html.j2", report=report, figures=figures, demands=demands, least=LEAST)


def render_benchmark(report: EvaluationReport, panels: Sequence[Panel]) -> str:
    """The page of a benchmark, with its `panels` as inline SVG. Equal input gives equal text."""
    return fill(
        "benchmark.html.j2",
        report=report,
        headline=headline(report),
        scores=with_spans(report.scores),
        figures=drawn(panels),
        comparison=comparison(report),
        undefined=UNDEFINED,
        version=__version__,
    )


def fill(template: str, **values: Any) -> str:
    """A template of this folder filled in, with one line break at its end.

    Args:
        template: its file; what ends in .html.j2 is escaped, Markdown has no escapes.
        values: what it names; a name that is missing is an error.
    """
    environment = Environment(
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: resources.files("larpo_lib.reporting").joinpath(name).read_text("utf-8")),
    )
    environment.filters.update(
        number=_typeset(number),
        count=_typeset(count),
        share=_share,
        shown=shown,
        signed=_signed,
        value=_typeset(lambda score: value_text(score.estimate.value, score.unit)),
        score=_typeset(score_text),
        uncertainty=_typeset(uncertainty),
    )
    return environment.get_template(template).render(**values).rstrip() + "\n"


def drawn(panels: Sequence[Panel]) -> list[tuple[Panel, Markup]]:
    """Each panel with its figure for a page."""
    return [(panel, Markup(drawing.svg(panel))) for panel in panels]  # noqa: S704 - drawn here, text escaped


def _typeset(write: Callable[..., str]) -> Callable[..., str]:
    """Numbers with a real minus sign."""
    return lambda *values: write(*values).replace("-", "\N{MINUS SIGN}")


def _share(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.1%}".replace("%", "\u2009%")


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _typeset(number)(value)
