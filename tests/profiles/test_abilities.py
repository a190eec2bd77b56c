"""Abilities: what is fitted, what a price and probes say."""

from __future__ import annotations

import numpy as np
import pytest

from routewright.errors import RoutewrightError
from routewright.profiles.abilities import Abilities, Belief, fit_abilities, prior, update
from routewright.scorers.adam import sigmoid
from tests.profiles.worlds import made, without


def test_fitted_abilities_are_standard_and_rank_the_models() -> None:
    whole = made()
    at = fit_abilities(whole.quality, 1)
    assert np.abs(at.theta[:, 0].mean()) < 1e-9
    assert np.cov(at.theta[:, 0], bias=True) == pytest.approx(1.0)
    mean = whole.quality.mean(axis=0)
    assert np.corrcoef(at.theta[:, 0], mean)[0, 1] > 0.95
    said = sigmoid(at.easy[:, None] + at.loads @ at.theta.T)
    assert ((whole.quality - said) ** 2).mean() < ((whole.quality - mean) ** 2).mean()


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_too_little_to_fit(shape: tuple[int, int]) -> None:
    with pytest.raises(RoutewrightError, match="at least 2"):
        fit_abilities(np.zeros(shape))


@pytest.mark.parametrize("scores", [np.zeros((30, 6)), np.ones((30, 6))])
def test_a_table_without_differences_stays_finite(scores: np.ndarray) -> None:
    at = fit_abilities(scores, 2)
    told = update(prior(at), at, scores[:, 0])
    assert np.isfinite(told.quality(at)).all()


def test_a_dear_model_is_expected_to_be_abler_where_dear_models_are() -> None:
    whole = made()
    at = fit_abilities(whole.quality, 1)
    cost = whole.cost_usd.mean(axis=0)
    cheap, dear = (prior(at, cost, usd) for usd in (cost.min(), cost.max()))
    assert dear.quality(at).mean() > cheap.quality(at).mean() + 0.1
    blank = prior(at)
    assert dear.cov[0, 0] < blank.cov[0, 0]
    assert np.allclose(prior(at, cost, None).theta, blank.theta)


def test_the_update_is_at_the_top_of_the_posterior() -> None:
    rng = np.random.default_rng(3)
    at = Abilities(rng.standard_normal(40), rng.standard_normal((40, 3)), np.zeros((5, 3)))
    start = Belief(np.array([0.2, -0.1, 0.0]), np.diag([1.0, 0.5, 0.2]))
    score = (rng.random(40) < 0.6).astype(float)
    told = update(start, at, score)
    p = sigmoid(at.easy + at.loads @ told.theta)
    slope = at.loads.T @ (p - score) + np.linalg.solve(start.cov, told.theta - start.theta)
    assert np.abs(slope).max() < 1e-4
    assert np.linalg.det(told.cov) < np.linalg.det(start.cov)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_model_that_is_always_wrong_or_right(score: float) -> None:
    whole = made()
    at = fit_abilities(whole.quality, 2)
    told = update(prior(at), at, np.full(len(whole), score))
    assert abs(told.quality(at).mean() - score) < 0.2
    assert np.isfinite(told.cov).all()


def test_probes_foretell_better_than_the_mean() -> None:
    whole = made()
    ours, blind = [], []
    for m in range(8):
        rest, truth = without(whole, m), whole.quality[:, m]
        at = fit_abilities(rest.quality, 1)
        rows = np.random.default_rng(m).permutation(len(whole))[:40]
        left = np.ones(len(whole), dtype=bool)
        left[rows] = False
        told = update(prior(at), at.take(rows), truth[rows])
        ours.append(((told.quality(at) - truth)[left] ** 2).mean())
        blind.append(((truth[rows].mean() - truth)[left] ** 2).mean())
    assert np.mean(ours) < np.mean(blind) - 0.02  # seen: 0.147 against 0.206
