"""What a study leaves for people: tables, a figure, one page and its Markdown form, and all numbers as JSON."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from larpo_lib import __version__
from larpo_lib.files import write_json
from larpo_lib.reporting import drawing
from larpo_lib.reporting.drawing import Panel
from larpo_lib.reporting.machine import machine
from larpo_lib.reporting.page import drawn, fill

PAGE, NUMBERS = "study.html", "results.json"
_OF_THE_MOMENT = ("threads", "load")


def publish(
    directory: Path,
    template: str,
    *,
    numbers: Mapping[str, Any],
    table: str,
    panels: Sequence[Panel],
    context: Mapping[str, Any],
) -> None:
    """Write `results.json`, `table.txt`, `figure.png` and `.svg`, `study.html` and the same as `README.md`.

    Args:
        directory: is made if it is not there.
        template: name of the page's templates, of which one is for HTML and one for Markdown.
        numbers: of `results.json`.
        table: for the terminal.
        panels: of the figure; the page has them one by one.
        context: what the templates name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / NUMBERS, numbers)
    (directory / "table.txt").write_text(table + "\n", "utf-8")
    for suffix, content in drawing.sheet(panels).items():
        (directory / f"figure.{suffix}").write_bytes(content)
    (directory / PAGE).write_text(fill(f"{template}.html.j2", **context, figures=drawn(panels)), "utf-8")
    (directory / "README.md").write_text(fill(f"{template}.md.j2", **context), "utf-8")


def made(libraries: Sequence[str]) -> dict[str, Any]:
    """When something was made, on what machine, and with which versions of the libraries that decide it."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {name: value for name, value in machine().items() if name not in _OF_THE_MOMENT},
        "versions": {"larpo": __version__, **{name: metadata.version(name) for name in libraries}},
    }
