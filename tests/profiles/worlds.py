"""Made models of known abilities."""

from __future__ import annotations

import numpy as np

from routewright.outcomes import Outcomes
from routewright.types import Query


def made(n_queries: int = 240, n_models: int = 24, seed: int = 0, loads: float = 1.2) -> Outcomes:
    """Right-or-wrong answers by sigmoid(b + a theta); a call costs more the abler the model, with some luck."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(n_models)
    easy, load = rng.normal(0.3, 1.2, n_queries), np.abs(rng.normal(loads, 0.5, n_queries))
    quality = (rng.random((n_queries, n_models)) < 1 / (1 + np.exp(-easy[:, None] - load[:, None] * theta))).astype(
        float
    )
    cost = np.exp(rng.normal(0, 0.2, (n_queries, n_models)) + 0.8 * theta + rng.normal(0, 0.3, n_models)) * 1e-3
    nothing = np.full((n_queries, n_models), np.nan)
    queries = tuple(Query(f"query {i} of kind {i % 3}", f"q{i}", f"t{i % 3}", "made") for i in range(n_queries))
    models = tuple(f"m{i:02d}" for i in range(n_models))
    return Outcomes("made", queries, models, quality, cost, nothing, nothing, nothing, "correct")


def without(whole: Outcomes, m: int) -> Outcomes:
    """The others."""
    return whole.with_models([name for i, name in enumerate(whole.models) if i != m])
