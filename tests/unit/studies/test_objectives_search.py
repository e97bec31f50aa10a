"""The search that every objective of the study `objectives` gets: pure parts, and the same places for all."""

from collections.abc import Sequence

import pytest

from larpo_lib.studies.objectives.search import Line, best_place, search
from larpo_lib.studies.objectives.study import compared


def around(value: float, spread: float = 0.0) -> dict[str, float]:
    """Values of four prompts with a mean, which differ from those of others by the same amount at every prompt."""
    return {f"p{i}": value + spread * (-1) ** i for i in range(4)}


@pytest.mark.parametrize(
    ("line", "best", "wider"),
    [
        (Line(-1, 1), [0, 0], Line(-1, 1)),
        (Line(-1, 1), [0, 1], Line(-1, 2)),
        (Line(-1, 1), [-1, 1], Line(-2, 2)),
        (Line(-2, 3), [3, -1], Line(-2, 3)),  # as far as it may go
        (Line(-3, 1), [-3], Line(-3, 1)),
        (Line(-2, 1), [0, -1, 1], Line(-2, 2)),
    ],
)
def test_a_line_gets_a_place_at_each_end_where_a_best_one_lies(line: Line, best: list[int], wider: Line) -> None:
    assert line.widened(best, reach=3) == wider


def test_the_best_place_has_the_highest_mean() -> None:
    assert best_place({-1: around(0.1), 0: around(0.2), 1: around(0.3), 2: around(0.1)}) == 1
    assert best_place({-1: around(0.1), 0: around(0.2), 1: around(0.3)}) == 1
    assert best_place({-1: around(0.2), 0: around(0.2), 1: around(0.2)}) == 0


def test_an_end_is_the_best_only_beyond_one_standard_error() -> None:
    # Differences 0.1 +- 0.1 at four prompts: their standard deviation is 0.1155, and the standard error 0.0577.
    assert best_place({-1: around(0.0), 0: around(0.2), 1: around(0.3, spread=0.1)}) == 1
    # Differences 0.05 +- 0.1: below the same standard error.
    assert best_place({-1: around(0.0), 0: around(0.2), 1: around(0.25, spread=0.1)}) == 0


def test_where_training_broke_down_nothing_is_best() -> None:
    assert best_place({-1: around(0.1), 0: around(0.2), 1: None}) == 0
    assert best_place({-1: around(0.1), 0: None, 1: None}) == -1
    assert best_place({-1: None, 0: None, 1: None}) == 0


def test_every_objective_of_the_library_is_tried_at_the_same_places() -> None:
    names = compared()
    optima = {name: place % 6 - 2 for place, name in enumerate(names)}  # from -2 to 3
    asked: list[tuple[str, int]] = []

    def attempt(ones: Sequence[tuple[str, int]]) -> list[dict[str, float]]:
        asked.extend(ones)
        return [around(-((place - optima[name]) ** 2)) for name, place in ones]

    found = search(names, 5, attempt)
    assert len(names) == 20
    assert found.best == optima
    assert found.line == Line(-3, 4)
    assert found.at_end == []
    assert len(asked) == len({*asked})
    assert all({*tried} == {*range(-3, 5)} for tried in found.tried.values())


def test_what_is_still_at_an_end_is_told() -> None:
    found = search(["up", "flat"], 2, lambda asked: [around(place if name == "up" else 0) for name, place in asked])
    assert found.line == Line(-1, 2)
    assert found.at_end == ["up"]
    assert found.best == {"up": 2, "flat": 0}
