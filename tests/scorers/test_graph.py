"""`graph`: its gradient, and that a model joins without training."""

from __future__ import annotations

import numpy as np
import pytest

from routewright.errors import RoutewrightError
from routewright.outcomes import Outcomes
from routewright.scorers.base import build_scorer
from routewright.scorers.graph import Graph, gradient, loss
from routewright.types import Floats, Query

STEP = 1e-6


def test_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    x, y, hidden, wanted = rng.normal(size=(9, 5)), rng.random((9, 3)), rng.normal(size=(7, 5)), rng.random((7, 3))
    p = {"p": rng.normal(size=(5, 4)), "c": rng.normal(size=(4, 4))}
    for name, slope in gradient(p, x, y, hidden, wanted, 2.0, 0.3).items():
        for at in np.ndindex(slope.shape):
            up, down = ({k: v.copy() for k, v in p.items()} for _ in range(2))
            up[name][at] += STEP
            down[name][at] -= STEP
            numeric = (loss(up, x, y, hidden, wanted, 2.0, 0.3) - loss(down, x, y, hidden, wanted, 2.0, 0.3)) / (
                2 * STEP
            )
            assert slope[at] == pytest.approx(numeric, abs=1e-6), (name, at)


def specialists() -> tuple[Floats, Floats]:
    """600 queries of two kinds in 6 dimensions, and five models of which each is good at one kind: right 9 times in 10."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], 600)
    x = rng.normal(size=(600, 6))
    x[:, 0] = 2 * sign
    good = np.where(sign[:, None] == np.array([1, -1, 1, -1, 1]), 0.9, 0.1)
    return x, (rng.random(good.shape) < good).astype(float)


def test_a_model_joins_from_forty_outcomes() -> None:
    """Its own mean errs by 0.25 (squared); the best anyone can do is 0.09. The bound is halfway."""
    x, y = specialists()
    known = y[:, 1:]
    nothing = np.full(known.shape, np.nan)
    queries = tuple(Query(str(i), str(i)) for i in range(len(x)))
    table = Outcomes(
        "toy", queries, tuple("bcde"), known, np.ones(known.shape), nothing, nothing, nothing, "correct"
    ).take(range(400))
    scorer = build_scorer("graph")
    assert isinstance(scorer, Graph)
    scorer.fit(table, x[:400].astype(np.float32))
    forecast = scorer.newcomer(x[:40], y[:40, 0], x[400:])
    assert ((forecast - y[400:, 0]) ** 2).mean() < 0.17
    shuffled = scorer.newcomer(x[:40], np.random.default_rng(1).permutation(y[:40, 0]), x[400:])
    assert ((shuffled - y[400:, 0]) ** 2).mean() > 0.2, "outcomes that say nothing must not help"


def test_newcomers_need_a_fit_and_outcomes(outcomes: Outcomes) -> None:
    scorer = build_scorer("graph")
    assert isinstance(scorer, Graph)
    with pytest.raises(RoutewrightError, match="graph is not fitted"):
        scorer.newcomer(np.ones((1, 3)), np.ones(1), np.ones((1, 3)))
    few = outcomes.take(range(20))
    scorer.fit(few, np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32))
    for probed, scores in ((np.ones((2, 3)), np.ones(1)), (np.ones((0, 3)), np.ones(0))):
        with pytest.raises(RoutewrightError, match="expected one each, and at least one"):
            scorer.newcomer(probed, scores, np.ones((1, 3)))
