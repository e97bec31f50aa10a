"""The same search for all: the places of a line, which is longer for all as soon as one's best is at its end. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from larpo_lib.statistics.estimates import Values, paired, standard_error

Tried = Mapping[int, Values | None]
"""Place to what was measured there, by item; None: training broke down."""


@dataclass(frozen=True)
class Line:
    """Places in a row; 0 is the one in the middle that a search begins around."""

    low: int = -1
    high: int = 1

    @property
    def places(self) -> range:
        """From the lowest to the highest."""
        return range(self.low, self.high + 1)

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest."""
        return self.low, self.high

    def widened(self, best: Iterable[int], reach: int) -> "Line":
        """With one place more at each end where one of the best lies, but none further than `reach` from the middle."""
        found = {*best}
        low = max(-reach, self.low - 1) if self.low in found else self.low
        high = min(reach, self.high + 1) if self.high in found else self.high
        return replace(self, low=low, high=high)


@dataclass(frozen=True)
class Searched:
    """What a search came to.

    Attributes:
        line: all places that every name was tried at.
        tried: name to what was measured.
        best: name to its place.
    """

    line: Line
    tried: Mapping[str, Tried]
    best: Mapping[str, int]

    @property
    def at_end(self) -> list[str]:
        """Names whose best place is at an end of the line, where a better one may lie beyond."""
        return [name for name, place in self.best.items() if place in self.line.ends]


def search(
    names: Sequence[str], reach: int, attempt: Callable[[Sequence[tuple[str, int]]], Sequence[Values | None]]
) -> Searched:
    """Try every name at the same places, and at more of them until no best place is at an end.

    Args:
        names: of what is compared.
        reach: how far from the middle places may be.
        attempt: tries names at places; it is given each of them once.
    """
    line, tried = Line(), {name: dict[int, Values | None]() for name in names}
    while True:
        asked = [(name, place) for place in line.places for name in names if place not in tried[name]]
        for (name, place), values in zip(asked, attempt(asked), strict=True):
            tried[name][place] = values
        best = {name: best_place(found) for name, found in tried.items()}
        wider = line.widened(best.values(), reach)
        if wider == line:
            return Searched(line, tried, best)
        line = wider


def best_place(tried: Tried) -> int:
    """The place with the highest mean; of equal ones that nearest the middle, and of such the lower one.

    Where it is at an end, but by no more than one standard error of the paired difference above the best place between
    the ends, the latter is taken: noise alone is to make no line longer (the rule of one standard error, Breiman et al.
    1984). Where training broke down everywhere it is the middle.
    """
    means = {place: fmean(values.values()) for place, values in tried.items() if values}
    inside = [place for place in means if min(tried) < place < max(tried)]
    if not means:
        return 0

    def highest(places: Iterable[int]) -> int:
        return max(places, key=lambda place: (means[place], -abs(place), -place))

    best = highest(means)
    if best in inside or not inside:
        return best
    other = highest(inside)
    better, worse = tried[best], tried[other]
    assert better is not None, "it has a mean"
    assert worse is not None, "it has a mean"
    gaps = paired(better, worse)
    error = standard_error(gaps) or 0.0
    return other if fmean(gaps) <= error else best
