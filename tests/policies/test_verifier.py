"""The verifier: its regression finds the minimum, its probabilities are calibrated, its two faces see the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from routewright.episodes.batched import Batch
from routewright.episodes.recorded import world_of
from routewright.outcomes.arrays import Outcomes
from routewright.policies.thresholds import some_lists
from routewright.policies.verifier import (
    Fitted,
    Verifier,
    calibration_error,
    fit_verifier,
    logistic,
    seen_after,
    seen_of,
    sigmoid,
)
from routewright.types import Floats, Query


def simulated(n: int, seed: int, m: int = 5) -> tuple[Outcomes, Floats]:
    """Right replies agree with one another, wrong ones seldom; harder queries get longer replies. And the difficulty."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=(n, 1))
    right = rng.random((n, m)) < sigmoid(np.linspace(0.2, 1.8, m) - hard)
    keys = np.where(right, 0, rng.integers(1, 6, (n, m)))
    keys[rng.random((n, m)) < 0.03] = -1
    tokens = np.exp(4 + 0.3 * hard + 0.3 * rng.normal(size=(n, m)))
    names = tuple(f"m{i}" for i in range(m))
    queries = tuple(Query(f"question {i} of {seed}", f"q{i}") for i in range(n))
    quality = (right & (keys >= 0)).astype(float)
    cost = np.broadcast_to(np.geomspace(1e-4, 1e-2, m), (n, m)).copy()
    return Outcomes("s", queries, names, quality, cost, tokens, tokens, tokens, "correct", keys=keys), hard


def fitted(n: int = 600, seed: int = 0, forecast: Floats | None = None) -> tuple[Fitted, Outcomes]:
    outcomes, _ = simulated(n, seed)
    columns = np.arange(5)
    return fit_verifier(outcomes, forecast, columns, some_lists(columns, 0), np.arange(n) % 5), outcomes


def test_newton_reaches_the_minimum_of_a_general_solver() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([np.ones((80, 1)), rng.normal(size=(80, 3))], axis=1)
    y = rng.random(80)

    def loss(w: Floats) -> float:
        z = x @ w
        return float(np.logaddexp(0, z).sum() - y @ z + 0.5 * 1.5 * (w[1:] @ w[1:]))

    found = minimize(loss, np.zeros(4), tol=1e-12)
    np.testing.assert_allclose(logistic(x, y, 1.5), found.x, atol=1e-4)


def test_newton_survives_separable_data() -> None:
    x = np.array([[1.0, -1.0], [1.0, 1.0]] * 10)
    w = logistic(x, np.array([0.0, 1.0] * 10), 0.0)
    assert np.isfinite(w).all()
    assert (sigmoid(x @ w) > 0.5).tolist() == [False, True] * 10


def test_probabilities_are_calibrated_on_new_queries() -> None:
    """Over seeds 0 to 9 the error on 2,000 new queries was at most 0.069, 0.075, 0.044 after 1, 2, 3 replies, and right
    answers got at least 0.07, 0.23, 0.42 more than wrong ones."""
    fit, _ = fitted()
    new, _ = simulated(2000, 99)
    rows = np.arange(len(new))
    for asked, margin, apart in (([0], 0.08, 0.05), ([0, 1], 0.08, 0.2), ([2, 0, 1], 0.05, 0.4)):
        seen = seen_after(new, asked)
        p = fit.verifier.probability(seen, None)
        right = new.quality[rows, seen.answer]
        assert calibration_error(p, right) < margin
        assert p[right == 1].mean() > p[right == 0].mean() + apart


def test_agreement_raises_and_disagreement_lowers_the_chance() -> None:
    fit, outcomes = fitted()
    one, two = seen_after(outcomes, [0]), seen_after(outcomes, [0, 4])
    assert outcomes.keys is not None
    agree = (outcomes.keys[:, 0] == outcomes.keys[:, 4]) & (outcomes.keys[:, 0] >= 0)
    p = fit.verifier.probability(two, None)
    assert p[agree].mean() > fit.verifier.probability(one, None)[agree].mean()
    assert p[agree].min() > np.median(p[~agree])


def test_a_forecast_helps_where_it_knows_something() -> None:
    outcomes, hard = simulated(600, 0)
    forecast = np.broadcast_to(sigmoid(1 - hard), outcomes.quality.shape).copy()
    columns = np.arange(5)
    part = np.arange(600) % 5
    knowing = fit_verifier(outcomes, forecast, columns, some_lists(columns, 0), part).verifier
    blind = fit_verifier(outcomes, None, columns, some_lists(columns, 0), part).verifier
    new, hard = simulated(2000, 99)
    right = new.quality[:, 0]
    seen = seen_after(new, [0])

    def log_loss(p: Floats) -> float:
        return float(-(right * np.log(p) + (1 - right) * np.log(1 - p)).mean())

    told = np.broadcast_to(sigmoid(1 - hard), new.quality.shape)
    assert log_loss(knowing.probability(seen, told)) < log_loss(blind.probability(seen, None)) - 0.02


def test_the_batched_world_shows_it_what_the_fit_saw() -> None:
    fit, outcomes = fitted(200)
    batch = Batch(world_of(outcomes), np.arange(200), 1.0)
    asked = [3, 1, 0, 2]
    for i, m in enumerate(asked):
        batch.step(np.full(200, m))
        here, there = seen_of(batch.observation()), seen_after(outcomes, asked[: i + 1])
        np.testing.assert_array_equal(here.answer, there.answer)
        np.testing.assert_allclose(fit.verifier.features(here, None), fit.verifier.features(there, None))


def test_held_out_probabilities_come_from_the_fellow_that_did_not_see_the_query() -> None:
    fit, outcomes = fitted(300)
    seen, part = seen_after(outcomes, [0, 1]), np.arange(300) % 5
    p = fit.held_out(seen, None, part)
    for k in range(5):
        np.testing.assert_allclose(p[part == k], fit.without[k].probability(seen, None)[part == k])
    assert not np.allclose(p, fit.verifier.probability(seen, None), atol=1e-4)


def test_it_is_saved_whole() -> None:
    fit, outcomes = fitted(200)
    again = Verifier.of(fit.verifier.arrays())
    seen = seen_after(outcomes, [2, 1])
    np.testing.assert_array_equal(again.probability(seen, None), fit.verifier.probability(seen, None))


@pytest.mark.parametrize(("p", "y", "error"), [([0.5] * 4, [0, 1, 0, 1], 0.0), ([0.9] * 4, [0, 0, 0, 0], 0.9)])
def test_calibration_error_by_hand(p: list[float], y: list[float], error: float) -> None:
    assert calibration_error(np.array(p), np.array(y, dtype=float), bins=1) == pytest.approx(error)
