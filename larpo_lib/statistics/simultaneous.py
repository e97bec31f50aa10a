"""Which of many systems differ: intervals of all their differences that hold together."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from larpo_lib.statistics.estimates import Bootstrap, Estimate, Floats, checked, pairs

KeyT = TypeVar("KeyT", bound=Hashable)


def all_differences(
    values: Mapping[str, Sequence[Sequence[float]]], bootstrap: Bootstrap
) -> dict[tuple[str, str], Estimate]:
    """The difference of every two systems, with intervals that all hold at once with the stated confidence.

    As `Bootstrap.mean_of_groups`, groups are resampled, and items within them, the same ones for all systems. Intervals
    are a difference plus or minus a number of its standard errors that is the same for all; it is the quantile of the
    largest deviation, in standard errors, among all differences of a resample. So the best system may be picked by the
    same values, and all others compared with it. Of normal means it is Tukey's method.

    Args:
        values: system to its values by group and item, such as seed and prompt; all systems have the same items.
        bootstrap: how resamples are drawn.

    Returns:
        Of every ordered pair the first system's mean minus the second's.

    Source: single-step max-t of Westfall and Young (1993), and Romano and Wolf (2005).
    """
    names = [*values]
    data = [np.stack([checked(values[name][group]) for name in names]) for group in range(len(values[names[0]]))]
    means = np.mean([group.mean(axis=1) for group in data], axis=0)
    drawn = _resampled(data, bootstrap)
    pairs = [*itertools.combinations(range(len(names)), 2)]
    centre = np.array([means[i] - means[j] for i, j in pairs])
    moved = np.stack([drawn[:, i] - drawn[:, j] for i, j in pairs], axis=1) - centre
    errors, wide = _together(moved, bootstrap.confidence)
    found = {}
    for (i, j), value, width, error in zip(pairs, centre, wide, errors, strict=True):
        for first, second, sign in ((i, j, 1.0), (j, i, -1.0)):
            low, high = sign * value - width, sign * value + width
            found[names[first], names[second]] = Estimate(sign * float(value), float(low), float(high), float(error))
    return found


def differences_from(
    system: KeyT, values: Mapping[KeyT, Sequence[float]], bootstrap: Bootstrap
) -> dict[KeyT, Estimate]:
    """The difference of every other system and one, with intervals that all hold at once with the stated confidence.

    As `all_differences`, of fewer pairs, so that intervals are narrower. So the system that differs most from the one
    may be picked by the same values. Of normal means it is Dunnett's method.

    Args:
        system: the one.
        values: system to its values by item, such as prompt; all systems have the same items.
        bootstrap: how items are drawn.

    Returns:
        By the other systems, in their order, the one's mean minus theirs.
    """
    differences = {name: np.subtract(*pairs(values[system], other)) for name, other in values.items() if name != system}
    centre = np.array([one.mean() for one in differences.values()])
    moved = np.stack([bootstrap.resampled_means(one) for one in differences.values()], axis=1) - centre
    errors, wide = _together(moved, bootstrap.confidence)
    return {
        name: Estimate(float(value), float(value - width), float(value + width), float(error))
        for name, value, width, error in zip(differences, centre, wide, errors, strict=True)
    }


def _together(moved: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Standard errors of differences, and how far their intervals reach if they are to hold at once.

    Args:
        moved: (resamples, differences) resampled differences minus the real ones.
        confidence: that all intervals hold.
    """
    errors = moved.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.abs(moved) / errors
    largest = np.nan_to_num(deviations, nan=0.0, posinf=0.0).max(axis=1)  # equal systems have no error
    return errors, errors * np.quantile(largest, confidence)


def _resampled(data: Sequence[Floats], bootstrap: Bootstrap) -> Floats:
    """(resamples, systems) means of group means."""
    random = np.random.default_rng(bootstrap.seed)
    by_group = []
    for group in data:
        places = random.integers(group.shape[1], size=(bootstrap.resamples, group.shape[1]))
        by_group.append(np.stack([system[places].mean(axis=1) for system in group], axis=1))
    drawn = random.integers(len(data), size=(bootstrap.resamples, len(data)))
    means: Floats = np.stack(by_group)[drawn, np.arange(bootstrap.resamples)[:, None]].mean(axis=1)
    return means
