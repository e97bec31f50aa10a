"""Where a user's own function stands, and what is said of one that cannot be loaded."""

import hashlib
from pathlib import Path

import pytest

from larpo_lib.errors import ConfigError
from larpo_lib.targets import load_target, parse_target


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("my_rewards.py:brevity", ("my_rewards.py", "brevity")),
        ("/a folder/x-1.py:f", ("/a folder/x-1.py", "f")),
        ("s3://bucket/r.py:f", ("s3://bucket/r.py", "f")),
        ("package.module:f", ("package.module", "f")),
    ],
)
def test_a_target_is_a_file_or_a_module_and_a_name(text: str, parts: tuple[str, str]) -> None:
    assert parse_target(text) == parts


@pytest.mark.parametrize(
    "text", ["brevity", "my_rewards.py", ":f", "r.py:", "r.py:f()", "a/b.txt:f", "a-b:f", "a..b:f"]
)
def test_another_text_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no function\. Give it as my_file\.py:function"):
        parse_target(text)


def test_a_file_is_run_as_it_is_now(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    for value in (1, 2):  # of one length, within one second: Python's cache of compiled files would not tell them apart
        file.write_text(f"def f(): return {value}")
        found = load_target(str(file), "f")
        assert found.function() == value
        assert (found.shown, found.digest) == ("mine.py:f", hashlib.sha256(file.read_bytes()).hexdigest())
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_can_hold_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: int\ndef f(): return A(3).x\n"
    )
    assert load_target(str(tmp_path / "mine.py"), "f").function() == 3


def test_a_module_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "larpo_test_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "rewards.py").write_text("def f(): return 5")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = load_target("larpo_test_package.rewards", "f")
    assert (found.function(), found.shown, found.file) == (5, "larpo_test_package.rewards:f", package / "rewards.py")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (None, r"mine\.py: no such file\. Give a path from the folder that larpo is started in"),
        ("def g(): ...", r"mine\.py: has no function 'f'"),
        ("f = 3", r"mine\.py: has no function 'f'"),
        ("x = 1\ndef f(:", r"mine\.py, line 2: SyntaxError: invalid syntax"),
        ("\n\n1 / 0", r"mine\.py, line 3: ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found", r"mine\.py, line 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("raise SystemExit(1)", r"mine\.py, line 1: SystemExit: 1"),
    ],
)
def test_what_cannot_be_loaded_is_told_with_its_line(tmp_path: Path, source: str | None, told: str) -> None:
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    with pytest.raises(ConfigError, match=told):
        load_target(str(tmp_path / "mine.py"), "f")


@pytest.mark.parametrize("module", ["nowhere_to_be_found", "nowhere_to_be_found.below", "math"])
def test_a_module_without_source_is_refused(module: str) -> None:
    with pytest.raises(ConfigError, match=rf"{module}"):
        load_target(module, "sqrt")
