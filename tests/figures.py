"""Figures that are drawn into their axes, and saved in name: what saving costs is a third of a tiny run."""

from typing import Any, BinaryIO
from unittest import mock

from matplotlib.figure import Figure

_FILES = {"png": b"\x89PNG", "svg": b'<svg viewBox="0 0 1 1" width="1pt"></svg>'}
_SAVE = Figure.savefig


def saved_in_name() -> Any:
    """A patch for the runs of tests that do not look at their figures."""
    return mock.patch.object(Figure, "savefig", _save_in_name)


def saved() -> Any:
    """A patch for those that do."""
    return mock.patch.object(Figure, "savefig", _SAVE)


def _save_in_name(_figure: Figure, file: BinaryIO, *, format: str, **_look: Any) -> None:  # noqa: A002 - matplotlib's
    file.write(_FILES[format])
