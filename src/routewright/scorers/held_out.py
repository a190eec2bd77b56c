"""What a scorer forecasts for queries it has not seen, for every query of a table: policies are fitted on these.

A policy that learns when to trust a forecast must not learn it on forecasts for the scorer's own training queries,
which are better than any it will meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.split import folds
from routewright.scorers.base import build_scorer
from routewright.types import Forecast, Vectors

PARTS = 4


def out_of_sample(
    kind: str, outcomes: Outcomes, vectors: Vectors, seed: int = 0, options: Mapping[str, Any] | None = None
) -> Forecast:
    """[Q, M] each query's forecast by a scorer that was fitted without the queries of its part.

    Parts are dealt over groups of equal text, as folds are.
    """
    fold = folds(outcomes.groups, outcomes.strata, PARTS, seed)
    quality, std, cost = (np.zeros(outcomes.quality.shape) for _ in range(3))
    allowed = np.ones(outcomes.quality.shape, dtype=bool)
    for k in range(PARTS):
        seen, rows = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        scorer = build_scorer(kind, options, seed)
        scorer.fit(outcomes.take(seen), vectors[seen])
        made = scorer.forecast(outcomes.take(rows).queries, vectors[rows])
        quality[rows], std[rows], cost[rows] = made.quality, made.quality_std, made.cost_usd
        if made.allowed is not None:
            allowed[rows] = made.allowed
    return Forecast(outcomes.models, quality, std, cost, None, None if allowed.all() else allowed)
