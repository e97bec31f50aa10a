"""The result as Markdown, ready for `docs/benchmarks.md`."""

from collections.abc import Mapping
from typing import Any

_OWN = {"what", "value", "unit", "ok"}


def markdown(found: Mapping[str, Any]) -> str:
    """One table: a row for each number, and for each part what became of it; below it what it was measured on."""
    lines = ["| part | what | value | right |", "|---|---|---|---|"]
    for report in found["parts"]:
        ended = report["state"] if "why" not in report else f"{report['state']}: {report['why']}"
        lines.append(_cells(f"**{report['name']}**", report["shows"], f"{ended} ({report['seconds']:.0f} s)", ""))
        lines += [_cells("", row["what"], _value(row), _right(row)) for row in report["rows"]]
    return "\n".join([*lines, "", f"{found['date']}, `{found['command']}`: {made_on(found)}.", ""])


def made_on(found: Mapping[str, Any]) -> str:
    """GPU, driver and versions, as the part `machine` found them."""
    rows = [row for report in found["parts"] if report["name"] == "machine" for row in report["rows"]]
    told = [f"{row['what']} {row['value']}" for row in rows if row["unit"] == "" and row["value"] is not None]
    dry = "a dry run on a CPU with stand-in models; " if found["dry_run"] else ""
    return dry + ("; ".join(told) or "no machine was found")


def summary(report: Mapping[str, Any]) -> str:
    """A part in one line."""
    wrong = sum(row.get("ok") is False for row in report["rows"])
    parts = [f"{report['name']}: {report['state']} in {report['seconds']:.0f} s, {len(report['rows'])} rows"]
    parts += [f"{wrong} of them WRONG"] if wrong else []
    parts += [report["why"]] if "why" in report else []
    return ", ".join(parts)


def _value(row: Mapping[str, Any]) -> str:
    value = row["value"]
    if value is None:
        return "unknown"
    if isinstance(value, float):
        value = f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    elif isinstance(value, int):
        value = f"{value:,}"
    more = [
        f"{name.replace('_', ' ')} {figure:,}" if isinstance(figure, int) else f"{name.replace('_', ' ')} {figure}"
        for name, figure in row.items()
        if name not in _OWN
    ]
    return "; ".join([f"{value} {row['unit']}".strip().replace(" ,", ","), *more])


def _right(row: Mapping[str, Any]) -> str:
    return {True: "yes", False: "**no**"}.get(row.get("ok"), "")  # type: ignore[arg-type]


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
