"""A straight line through points."""

from collections.abc import Sequence

import numpy as np

from larpo_lib.statistics.estimates import Floats, pairs


def intercept(y: Sequence[float] | Floats, x: Sequence[float] | Floats) -> float | None:
    """The value at x = 0 of the line with the least squares: the mean of y where all x are 0.

    Args:
        y: values.
        x: where they are; as many.

    Returns:
        None where all x are one and the same other number, so that nothing tells a line.
    """
    values, places = pairs(y, x)
    centred = places - places.mean()
    spread = float(centred @ centred)
    if not spread or np.ptp(places) == 0:
        return None if np.any(places) else float(values.mean())
    return float(values.mean() - places.mean() * (centred @ values) / spread)
