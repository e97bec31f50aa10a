"""The report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from larpo_lib.reporting import drawing
from larpo_lib.reporting.content import Report
from larpo_lib.reporting.drawing import Panel
from larpo_lib.reporting.table import UNDEFINED, count, number


def render(report: Report, panels: Mapping[str, Sequence[Panel]]) -> str:
    """The page of `report`, with the `panels` of each section as inline SVG. Equal input gives equal text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=_typeset(number), count=_typeset(count), share=_share, signed=_signed)
    source = resources.files("larpo_lib.reporting").joinpath("report.html.j2").read_text("utf-8")
    figures = {
        section: [(panel, Markup(drawing.svg(panel))) for panel in group]  # noqa: S704 - drawn here, text escaped
        for section, group in panels.items()
    }
    return environment.from_string(source).render(report=report, figures=figures) + "\n"


def _typeset(write: Callable[..., str]) -> Callable[..., str]:
    """Numbers with a real minus sign."""
    return lambda *values: write(*values).replace("-", "\N{MINUS SIGN}")


def _share(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.1%}".replace("%", "\u2009%")


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _typeset(number)(value)
