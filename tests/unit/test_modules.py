"""What holds for all modules: what pytest needs of the tests' files, and how long the house lets files be."""

import ast
import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_two_test_modules_have_one_name() -> None:
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name not in ("conftest.py", "__init__.py"))
    assert len(names) > 100
    assert [name for name, times in names.items() if times > 1] == []


ROOT = TESTS.parent
MOST_LINES, MOST_FUNCTION_LINES = 300, 50  # as CONTRIBUTING.md has them
SOURCES = [
    path
    for folder in ("larpo_lib", "components", "pipelines", "benchmarks", "docs", "docker", "requirements")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return lines - (first.end_lineno - first.lineno + 1 if is_docstring else 0)


def test_files_and_functions_are_as_short_as_contributing_says() -> None:
    assert len(SOURCES) > 200
    sources = {path.relative_to(ROOT): path.read_text("utf-8") for path in SOURCES}
    assert [str(path) for path, source in sources.items() if len(source.splitlines()) > MOST_LINES] == []
    functions = {
        f"{path}:{node.name}": length(node)
        for path, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: size for name, size in functions.items() if size > MOST_FUNCTION_LINES} == {}


def test_what_make_runs_is_there() -> None:
    named = set(re.findall(r"\b(?:tests|docs|docker|requirements)/[\w./-]+", (ROOT / "Makefile").read_text("utf-8")))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name.rstrip(".")).exists()] == []
