"""Writes the guide's tables of objectives, rerankers and samplers from their modules: `python docs/generate_tables.py`.

Each stands between a comment of its own, such as `<!-- rerankers -->`, and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from larpo_lib.config.kinds import ObjectiveConfig, RerankerConfig, SamplerConfig
from larpo_lib.config.registry import Kind

GUIDE = Path(__file__).with_name("guide.md")


def document() -> str:
    """The guide as it should be."""
    tables = {
        "objectives": _table("`type` | in words | when | settings (default)", ObjectiveConfig, settings=True),
        "rerankers": _table("`type` | scores | take it when", RerankerConfig),
        "samplers": _table("`type` | draws | take it when", SamplerConfig),
    }
    text = GUIDE.read_text("utf-8")
    for name, table in tables.items():
        pattern = f"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)"
        text = re.sub(pattern, f"\n{table}\n".replace("\\", r"\\"), text, count=1, flags=re.DOTALL)
    return text


def _table(head: str, kind: type[Kind], *, settings: bool = False) -> str:
    rows = [
        f"| `{name}` | {entry.does}{_reads_no_reference(entry)} | {entry.when} |"
        + (f" {_settings(entry)} |" if settings else "")
        for name, entry in kind.entries().items()
    ]
    return "\n".join([f"| {head} |", "|---" * (head.count("|") + 1) + "|", *rows, ""])


def _reads_no_reference(entry: type[Kind]) -> str:
    return "; no reference" if issubclass(entry, ObjectiveConfig) and not entry.needs_reference else ""


def _settings(entry: type[Kind]) -> str:
    defaults = {name: field.default for name, field in entry.model_fields.items() if name != "type"}
    return ", ".join(f"`{name}` ({_text(value)})" for name, value in defaults.items())


def _text(value: object) -> str:
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    GUIDE.write_text(document(), "utf-8")
