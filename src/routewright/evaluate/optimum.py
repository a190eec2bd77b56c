"""What the best possible router would gain on the simulated table, whose probabilities are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from routewright.evaluate.curves import Curves, gain_over_line, log_targets, mixtures
from routewright.outcomes.simulated import POOL, TABLE
from routewright.types import Floats


def optimum(path: Path = TABLE) -> float:
    """Gain over the line, in units of score, of a router that knows every probability and expected cost."""
    frame = pl.read_parquet(path, columns=["query_id", "model", "score", "cost_usd", "true_quality", "true_cost_usd"])

    def grid(column: str) -> Floats:
        wide = frame.pivot(on="model", index="query_id", values=column).select(list(POOL))
        return wide.to_numpy().astype(np.float64)

    quality, cost, p, c = (grid(name) for name in ("score", "cost_usd", "true_quality", "true_cost_usd"))
    rows = np.arange(len(p))
    best, low = int(p.mean(axis=0).argmax()), int(c.mean(axis=0).argmin())
    targets = log_targets(c[:, low].mean(), c[:, best].mean())
    line = mixtures(c.mean(axis=0), p.mean(axis=0), targets)
    picks = [(value * p - c).argmax(axis=1) for value in np.logspace(-6, 3, 200)]
    points_q, points_c = (np.array([x[rows, k].mean() for k in picks]) for x in (p, c))
    mine = mixtures(points_c, points_q, targets)
    got_q, got_c = (np.array([x[rows, k].mean() for k in picks]) for x in (quality, cost))
    return float(
        gain_over_line(
            Curves(mine @ got_c, mine @ got_q), Curves(line @ cost.mean(axis=0), line @ quality.mean(axis=0))
        )
    )
