"""Forecasts of a new model, how far they are to be trusted, and what a pool gains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routewright.errors import RoutewrightError
from routewright.outcomes import Outcomes
from routewright.profiles.abilities import fit_abilities
from routewright.profiles.newcomer import Newcomer, calibrate, card_usd, forecast, pool_gain, trade_offs
from routewright.types import ModelCard
from tests.profiles.worlds import made, without

WHOLE = made()


def joined(m: int, n: int, whole: Outcomes = WHOLE, scale: float = 1.0, seed: int = 0) -> Newcomer:
    rest = without(whole, m)
    rows = np.random.default_rng(seed).permutation(len(whole))[:n]
    card = float(whole.cost_usd[:, m].mean())
    at = fit_abilities(rest.quality, 1)
    return forecast(rest, at, rows, whole.quality[rows, m], whole.cost_usd[rows, m], card, scale)


def test_what_was_asked_is_what_is_forecast() -> None:
    new = joined(3, 30)
    assert (new.quality[new.probed] == WHOLE.quality[new.probed, 3]).all()
    assert new.cost_usd.mean() == pytest.approx(WHOLE.cost_usd[:, 3].mean(), rel=0.15)
    everything = joined(3, len(WHOLE)).mean()
    assert everything["mean"] == pytest.approx(WHOLE.quality[:, 3].mean())
    assert everything["high"] - everything["low"] < 1e-6


def test_nothing_known_is_refused() -> None:
    rest = without(WHOLE, 0)
    none = np.zeros(0)
    with pytest.raises(RoutewrightError, match="price"):
        forecast(rest, fit_abilities(rest.quality, 1), none.astype(np.int64), none, none)


def test_intervals_of_the_mean_hold_and_narrow() -> None:
    trust = calibrate(WHOLE, 30)
    inside, width = [], {}
    for n in (10, 30, 100):
        told = [joined(m, n, scale=trust.scale, seed=m).mean() for m in range(len(WHOLE.models))]
        width[n] = np.mean([t["high"] - t["low"] for t in told])
        if n == 30:
            truth = WHOLE.quality.mean(axis=0)
            inside = [t["low"] <= x <= t["high"] for t, x in zip(told, truth, strict=True)]
    assert np.mean(inside) >= 0.85  # of 24; seen: 1.0
    assert width[10] > width[30] > width[100]


def test_calibration_says_what_leaving_models_out_shows() -> None:
    trust = calibrate(WHOLE, 30)
    assert trust.error < trust.blind_error
    assert trust.scale >= 1
    assert trust.dimensions == 1  # what the world was made with
    noise = made(loads=0.0)
    coin = np.random.default_rng(0).random(noise.quality.shape) < 0.5
    flat = calibrate(replace(noise, quality=coin.astype(float)), 30)
    assert flat.error > 0.24  # a coin can not be foretold, and it is not claimed


def test_two_known_models_are_too_few() -> None:
    with pytest.raises(RoutewrightError, match="at least 3"):
        calibrate(WHOLE.with_models(WHOLE.models[:2]), 10)


def vectors(n: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, 8)).astype(np.float32)


def test_a_better_and_cheaper_model_pays_and_a_useless_one_does_not() -> None:
    pool = WHOLE.with_models(WHOLE.models[:4])
    at = fit_abilities(pool.quality, 1)
    every = np.arange(len(pool))
    price = np.full(len(pool), float(pool.cost_usd.mean(axis=0).min()) / 10)
    star = forecast(pool, at, every, np.ones(len(pool)), price)
    dud = forecast(pool, at, every, np.zeros(len(pool)), price)
    values = trade_offs(pool)
    assert values == sorted(values)
    for good, bad in zip(
        pool_gain(pool, star, vectors(len(pool)), values), pool_gain(pool, dud, vectors(len(pool)), values), strict=True
    ):
        assert good.gain["low"] > 0
        assert good.share == 1.0
        assert 1 <= good.break_even_low <= good.break_even
        assert bad.gain["mean"] <= 0
        assert bad.break_even == 0 or bad.share > 0  # at the lowest value even a wrong answer saves money


def test_the_break_even_price_is_where_the_gain_ends() -> None:
    pool = WHOLE.with_models(WHOLE.models[:4])
    at = fit_abilities(pool.quality, 1)
    every = np.arange(len(pool))
    x = vectors(len(pool))
    value = trade_offs(pool)[2]

    def at_price(usd: float) -> Newcomer:
        return forecast(pool, at, every, np.ones(len(pool)), np.full(len(pool), usd))

    price = float(pool.cost_usd.mean())
    (one,) = pool_gain(pool, at_price(price), x, [value])
    edge = one.break_even * price
    (below,) = pool_gain(pool, at_price(0.8 * edge), x, [value])
    (above,) = pool_gain(pool, at_price(1.3 * edge), x, [value])
    assert below.gain["mean"] > 0.001 > above.gain["mean"]


def test_prices_need_token_counts() -> None:
    card = ModelCard("new", 1.0, 2.0)
    assert card_usd(card, WHOLE) is None
    counted = replace(
        WHOLE, tokens_in=np.full(WHOLE.quality.shape, 100.0), tokens_out=np.full(WHOLE.quality.shape, 50.0)
    )
    assert card_usd(card, counted) == pytest.approx(200e-6)
