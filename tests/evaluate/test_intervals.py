"""The bootstrap against known sampling errors, and Holm's correction by hand."""

from __future__ import annotations

import numpy as np
import pytest

from routewright.evaluate.intervals import Draws, holm, interval, p_above


def test_interval_has_the_textbook_width() -> None:
    # The mean of 400 coin flips has standard error 0.5 / 20 = 0.025; the 95% interval is 4 x 0.0245 wide.
    rng = np.random.default_rng(1)
    flips = (rng.random(400) < 0.5).astype(float)
    draws = Draws.make(np.arange(400), 1, 2000, (0, 0))
    found = interval(flips.mean(), draws.means(flips[None])[:, 0])
    assert found["high"] - found["low"] == pytest.approx(0.098, abs=0.008)  # measured 0.0975


def test_equal_texts_are_drawn_together() -> None:
    # 100 groups of 4 equal queries carry the information of 100, not 400: the interval is twice as wide.
    rng = np.random.default_rng(2)
    value = np.repeat((rng.random(100) < 0.5).astype(float), 4)
    groups = np.repeat(np.arange(100), 4)
    together = Draws.make(groups, 1, 2000, (0, 0)).means(value[None])[:, 0].std()
    apart = Draws.make(np.arange(400), 1, 2000, (0, 0)).means(value[None])[:, 0].std()
    assert together / apart == pytest.approx(2.0, abs=0.15)  # measured 1.95


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.random.default_rng(3).random((3, 50))
    whole = Draws.make(np.arange(50), 2, 30, (4, 5))
    monkeypatch.setattr("routewright.evaluate.intervals._BLOCK", 7)
    parts = Draws.make(np.arange(50), 2, 30, (4, 5))
    assert np.allclose(whole.means(columns), parts.means(columns))


def test_over_seeds_averages_the_drawn_seeds() -> None:
    draws = Draws(np.ones((2, 1), dtype=np.uint8), np.ones(2), np.array([[0, 0], [0, 1]]))
    assert draws.over_seeds(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [1.0, 3.0]


def test_holm_by_hand() -> None:
    # Sorted .01 .03 .04: times 3, 2, 1, made non-decreasing.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_p_value_is_never_zero() -> None:
    assert p_above(np.full(99, 1.0)) == pytest.approx(0.01)
    assert p_above(np.full(99, -1.0)) == 1.0
