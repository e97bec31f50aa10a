"""A small artifact to make, and how to look at it."""

from pathlib import Path

from larpo_lib.artifacts import Metrics, WorkDir
from larpo_lib.config import Section


class OneSetting(Section):
    value: int = 1


class Settings(OneSetting):
    inner: dict[str, int] = {}  # noqa: RUF012 - pydantic copies it


def double(work: WorkDir) -> Metrics:
    (work.data / "deep").mkdir()
    (work.data / "deep" / "number.txt").write_text("2", "utf-8")
    (work.data / "text.txt").write_text("two", "utf-8")
    return {"rows": 2, "share": 0.5, "undefined": None}


def never(work: WorkDir) -> Metrics:
    raise AssertionError("this work was done already")


def content(directory: Path) -> dict[str, bytes]:
    found = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def beside(output: Path) -> set[str]:
    return {path.name for path in output.parent.iterdir()} - {f".{output.name}.lock", "source.txt"}
