"""Whether a forecast quality of 0.7 comes true 7 times in 10: reliability and expected calibration error, before and after.

    n, f, y [B]     forecasts in each of B fine bins of [0, 1]; their sum; the sum of what came out
    error = sum over 10 bins of  n / N * | f / n - y / n |

All (query, model) pairs of a table count alike. *After* is isotonic regression of the outcome on the forecast, fitted for each
test part on the validation forecasts of the other parts, none of which had seen its query or the test part; so both are out of
fold. Fine bins stand for the pairs in them, which bounds a forecast's rounding at 1 / B.

Called by `crossfit.py` (counting), `replay.py` (calibrating) and `judge.py` (the block of the report).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routewright.types import Floats

FINE, BINS = 100, 10


def count(forecast: Floats, outcome: Floats) -> Floats:
    """[3, FINE] pairs, summed forecast and summed outcome in each fine bin; arguments of any one shape."""
    f, y = np.clip(forecast, 0.0, 1.0).ravel(), outcome.ravel()
    at = np.minimum((f * FINE).astype(np.int64), FINE - 1)
    return np.stack([np.bincount(at, weight, FINE) for weight in (np.ones(len(f)), f, y)])


def calibrated(seen: Floats, told: Floats) -> Floats:
    """[3, FINE] `told` with its forecasts put right by what was `seen`; counted again by the new forecast."""
    from sklearn.isotonic import IsotonicRegression

    there = seen[0] > 0
    if not there.any():
        return told
    right = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    right.fit(seen[1, there] / seen[0, there], seen[2, there] / seen[0, there], sample_weight=seen[0, there])
    mine = told[0] > 0
    now = np.clip(right.predict(told[1, mine] / told[0, mine]), 0.0, 1.0)
    at = np.minimum((now * FINE).astype(np.int64), FINE - 1)
    n, y = told[0, mine], told[2, mine]
    return np.stack([np.bincount(at, weight, FINE) for weight in (n, n * now, y)])


def block(counts: Sequence[Floats]) -> dict[str, object] | None:
    """Error and the diagram's points, over seeds; None where nothing was forecast."""
    total = np.sum(counts, axis=0) if len(counts) else np.zeros((3, FINE))
    n, f, y = total.reshape(3, BINS, -1).sum(axis=2)
    there = n > 0
    if not there.any():
        return None
    return {
        "error": float(np.abs(f - y).sum() / n.sum()),
        "points": [
            {"forecast": float(f[b] / n[b]), "outcome": float(y[b] / n[b]), "share": float(n[b] / n.sum())}
            for b in np.flatnonzero(there)
        ],
    }
