"""Writes the documents' tables from what they are about: `python docs/generate_tables.py`.

The guide has tables of objectives, rerankers and samplers, `evaluation.md` one of benchmarks, and the `README.md` of
each benchmark's folder one of its numbers: each between a comment of its own, such as `<!-- rerankers -->`, and
`<!-- end -->`. `parameters.md` is made from the forms of the pipelines, as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from larpo_lib.config.kinds import ObjectiveConfig, RerankerConfig, SamplerConfig
from larpo_lib.config.registry import Kind
from larpo_lib.evaluation import benchmarks
from larpo_lib.evaluation.benchmark import Benchmark
from larpo_lib.pipeline.form import FORMS

DOCS = Path(__file__).parent
BENCHMARKS = DOCS.parent / "larpo_lib" / "evaluation"
TYPES = {str: "text", int: "whole number", dict: "object", list: "list"}
PARAMETERS = """\
# Parameters of the pipelines

Written by `docs/generate_tables.py`. "As the settings say" means: the preset, with `settings` over it. What a
setting means stands in [the configuration](configuration.md); how parameters, settings and presets meet, in
[pipelines](pipelines.md#parameters-settings-presets).
"""


def pages() -> dict[Path, str]:
    """Each page as it should be."""
    found = {
        DOCS / "guide.md": guide(),
        DOCS / "parameters.md": parameters(),
        DOCS / "evaluation.md": _filled(DOCS / "evaluation.md", {"generated": _overview()}),
    }
    for name, one in benchmarks().items():
        page = BENCHMARKS / name / "README.md"
        found[page] = _filled(page, {"generated": _numbers(one)})
    return found


def guide() -> str:
    """The guide as it should be."""
    tables = {
        "objectives": _kind("`type` | in words | when | settings (default)", ObjectiveConfig, settings=True),
        "rerankers": _kind("`type` | scores | take it when", RerankerConfig),
        "samplers": _kind("`type` | draws | take it when", SamplerConfig),
    }
    return _filled(DOCS / "guide.md", tables)


def parameters() -> str:
    """The page of the pipelines' parameters."""
    tables = {
        name: _table(
            "parameter | type | default | meaning",
            (
                f"`{field.name}` | {TYPES[field.kind]} | `{json.dumps(field.default)}` | {_escaped(field.meaning)}"
                for field in form
            ),
        )
        for name, form in FORMS.items()
    }
    return PARAMETERS + "".join(f"\n## `{name}`\n\n{table}" for name, table in tables.items())


def _filled(page: Path, tables: dict[str, str]) -> str:
    """The page with each table behind the comment of its name."""
    text = page.read_text("utf-8")
    for name, table in tables.items():
        pattern = f"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)"
        text = re.sub(pattern, lambda _, table=table: f"\n{table}\n", text, count=1, flags=re.DOTALL)
    return text


def _kind(head: str, kind: type[Kind], *, settings: bool = False) -> str:
    rows = [
        f"`{name}` | {entry.does}{_reads_no_reference(entry)} | {entry.when}"
        + (f" | {_settings(entry)}" if settings else "")
        for name, entry in kind.entries().items()
    ]
    return _table(head, rows)


def _reads_no_reference(entry: type[Kind]) -> str:
    return "; no reference" if issubclass(entry, ObjectiveConfig) and not entry.needs_reference else ""


def _settings(entry: type[Kind]) -> str:
    defaults = {name: field.default for name, field in entry.model_fields.items() if name != "type"}
    return ", ".join(f"`{name}` ({_text(value)})" for name, value in defaults.items())


def _text(value: object) -> str:
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value)


def _overview() -> str:
    rows = [
        f"[{one.title}](../larpo_lib/evaluation/{name}/README.md) | `larpo benchmark {one.step.command_name}`"
        f" | {one.judged_by} | {one.needs}"
        for name, one in benchmarks().items()
    ]
    evaluation = "held-out prompts | `larpo evaluate` ([guide](guide.md#evaluation)) | the reranker; a check of final"
    return _table("benchmark | command | who judges | needs", [f"{evaluation} numbers | nothing else", *rows])


def _numbers(one: Benchmark) -> str:
    rows = [
        f"{', '.join(f'`{part}`' for part in name.split(', '))} | {_escaped(meaning)}"
        for name, meaning in one.explanations().items()
    ]
    return f"{_table('number | what it says', rows)}\nDo not compare {one.compare}\n"


def _table(head: str, rows: Iterable[str]) -> str:
    return "\n".join([f"| {head} |", "|---" * (head.count("|") + 1) + "|", *(f"| {row} |" for row in rows), ""])


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*_", r"\*_")


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, "utf-8")
