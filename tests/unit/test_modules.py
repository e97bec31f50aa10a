"""What pytest needs of the tests' files: modules of one name are one module to it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_two_test_modules_have_one_name() -> None:
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name not in ("conftest.py", "__init__.py"))
    assert len(names) > 100
    assert [name for name, times in names.items() if times > 1] == []
