"""Writes what the documents say of benchmarks from their declarations: `python docs/generate_benchmarks.py`.

`evaluation.md` has a table of them, and the `README.md` of each one's folder a table of its numbers; both between the
comments `<!-- generated -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from larpo_lib.evaluation import benchmarks
from larpo_lib.evaluation.benchmark import Benchmark

ROOT = Path(__file__).parents[1]
FOLDERS = ROOT / "larpo_lib" / "evaluation"


def pages() -> Iterator[tuple[Path, str]]:
    """Each page and what it should be."""
    yield _filled(ROOT / "docs" / "evaluation.md", _overview())
    for name, one in benchmarks().items():
        yield _filled(FOLDERS / name / "README.md", _numbers(one))


def _filled(page: Path, text: str) -> tuple[Path, str]:
    """The page with `text` between its two comments."""
    start, end = "<!-- generated -->\n", "\n<!-- end -->"
    return page, re.sub(f"(?<={start}).*?(?={end})", lambda _: f"\n{text}", page.read_text("utf-8"), flags=re.DOTALL)


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


def _table(head: str, rows: list[str]) -> str:
    columns = head.count("|") + 1
    return "\n".join([f"| {head} |", "|---" * columns + "|", *(f"| {row} |" for row in rows), ""])


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*_", r"\*_")


if __name__ == "__main__":
    for page, text in pages():
        page.write_text(text, "utf-8")
