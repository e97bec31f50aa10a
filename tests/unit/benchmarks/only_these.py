"""Hides installed packages from a process and those it starts: `sitecustomize` of a folder on their PYTHONPATH."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

_HIDE = '''
import sys
from importlib.machinery import PathFinder

SHOWN = {shown!r}
NAMES = {names!r}
PLACES = {places!r}


class Shown:
    """Finds what is shown, and what no package has brought: the standard library and the checkout."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        found = PathFinder.find_spec(name, path, target)
        top = name.partition(".")[0]
        outside = found is None or not any(str(found.origin or "").startswith(place) for place in PLACES)
        return found if outside or top in SHOWN else None

    @staticmethod
    def find_distributions(context):
        """Their metadata likewise."""
        found = PathFinder.find_distributions(context)
        return (each for each in found if each.metadata["Name"].lower().replace("_", "-") in NAMES)


sys.meta_path = [Shown if finder is PathFinder else finder for finder in sys.meta_path]
'''


def hide_all_but(packages: Iterable[str], folder: Path, but_not: Iterable[str] = ()) -> None:
    """Write a `sitecustomize` that shows only these packages and what they need, without those in `but_not`."""
    names = _with_needs(packages) - set(but_not)
    shown = {module for module, owners in packages_distributions().items() if names & {_plain(o) for o in owners}}
    places = sorted({str(distribution(name).locate_file("")).rstrip("/") for name in packages})
    (folder / "sitecustomize.py").write_text(_HIDE.format(shown=shown, names=names, places=places), "utf-8")


def _with_needs(packages: Iterable[str]) -> set[str]:
    found: set[str] = set()
    left = [_plain(name) for name in packages]
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:  # of another platform
            continue
        found.add(name)
        requirements = [Requirement(need) for need in needs]
        left += [_plain(r.name) for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
