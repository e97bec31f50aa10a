"""What installed packages register by entry points, one group for each kind, such as `larpo.objectives`."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@dataclass(frozen=True)
class Registered:
    """An object that a package registers.

    Attributes:
        group: of entry points.
        name: of the entry point.
        package: the distribution, with its version.
        value: the object; None where it could not be loaded.
        problem: why it cannot be used; empty: it can.
    """

    group: str
    name: str
    package: str
    value: Any = None
    problem: str = ""


@cache
def registered(group: str) -> tuple[Registered, ...]:
    """What packages register in a group, in the order of packages and names. One that cannot be loaded is told so."""
    found = [_load(group, point) for point in entry_points(group=group)]
    return tuple(sorted(found, key=lambda one: (one.package, one.name)))


def _load(group: str, point: EntryPoint) -> Registered:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
    try:
        return Registered(group, point.name, package, point.load())
    except (Exception, SystemExit) as error:  # a package's own code, which must not stop what does not need it
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return Registered(group, point.name, package, problem=f"cannot be loaded ({line})")
