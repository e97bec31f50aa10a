"""Which of many systems differ: intervals of all their differences that hold together."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from larpo_lib.statistics.estimates import Bootstrap, Estimate, Floats, checked


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
    errors = moved.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = np.nan_to_num(np.abs(moved) / errors, nan=0.0).max(axis=1)  # equal systems have no error
    wide = errors * np.quantile(largest, bootstrap.confidence)
    found = {}
    for (i, j), value, width, error in zip(pairs, centre, wide, errors, strict=True):
        for first, second, sign in ((i, j, 1.0), (j, i, -1.0)):
            low, high = sign * value - width, sign * value + width
            found[names[first], names[second]] = Estimate(sign * float(value), float(low), float(high), float(error))
    return found


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
