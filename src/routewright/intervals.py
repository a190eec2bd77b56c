"""Intervals of shares, for every room that counts right answers."""

from __future__ import annotations

import math

Z = 1.96  # of a 95% interval


def wilson(mean: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share; wider than need be for scores between 0 and 1.

        centre (p + z^2 / 2n) / (1 + z^2 / n)          half width z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n)

    >>> [round(x, 3) for x in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    wide = 1 + Z * Z / n
    centre = (mean + Z * Z / (2 * n)) / wide
    half = Z * math.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n)) / wide
    return max(0.0, centre - half), min(1.0, centre + half)
