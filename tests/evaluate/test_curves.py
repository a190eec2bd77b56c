"""The curves by hand: hulls, mixtures, gain over the line, AIQ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routewright.evaluate.curves import Curves, aiq, gain_over_line, hull, log_targets, mixtures

PRICES = np.array([1.0, 2.0, 4.0, 8.0])


def test_hull_leaves_out_what_a_mixture_beats() -> None:
    # The point at cost 2 lies below the chord from (1, .2) to (4, .8); the one at 8 is dearer and worse.
    assert hull(PRICES, np.array([0.2, 0.3, 0.8, 0.7])).tolist() == [0, 2]
    # With .5 at cost 2 it lies above the chord (.4 there) and stays.
    assert hull(PRICES, np.array([0.2, 0.5, 0.8, 0.7])).tolist() == [0, 1, 2]


def test_hull_of_equal_costs_keeps_the_better() -> None:
    assert hull(np.array([1.0, 1.0]), np.array([0.3, 0.6])).tolist() == [1]


def test_hull_of_a_cheapest_model_that_is_best_is_one_point() -> None:
    assert hull(np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.9, 0.5])).tolist() == [1]


@given(
    arrays(np.float64, 7, elements=st.floats(0.01, 10)),
    arrays(np.float64, 7, elements=st.floats(0, 1)),
    st.floats(0.01, 10),
)
def test_no_point_lies_above_the_hull(cost: np.ndarray, quality: np.ndarray, target: float) -> None:
    weights = mixtures(cost, quality, np.array([target]))[0]
    assert weights.sum() == pytest.approx(1.0)
    assert weights.min() >= 0
    affordable = quality[cost <= target]
    if len(affordable):
        assert weights @ quality >= affordable.max() - 1e-9


def test_a_mixture_costs_its_target() -> None:
    cost, quality = np.array([1.0, 3.0]), np.array([0.0, 1.0])
    weights = mixtures(cost, quality, np.array([0.5, 1.0, 1.5, 3.0, 9.0]))
    assert (weights @ cost).tolist() == pytest.approx([1.0, 1.0, 1.5, 3.0, 3.0])


def test_gain_by_hand() -> None:
    # Line from (1, 0) to (100, 1) in linear cost; the router is one point: quality 1 at cost 1, then flat.
    # Over log cost u in [0, 2]: 1 - (10^u - 1) / 99, averaged = 1 - (99 / ln 10 / 2 - 1) / 99.
    costs = np.linspace(1, 100, 2000)
    line = Curves(costs, (costs - 1) / 99)
    router = Curves(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    expected = 1 - (99 / np.log(100) - 1) / 99
    assert gain_over_line(router, line) == pytest.approx(expected, abs=2e-3)


def test_the_line_gains_nothing_over_itself() -> None:
    targets = log_targets(1.0, 50.0)
    line = Curves(targets, np.sqrt(targets))
    assert gain_over_line(line, line) == pytest.approx(0.0, abs=1e-12)
    assert gain_over_line(Curves(line.cost, line.quality + 0.02), line) == pytest.approx(0.02)


def test_gain_where_the_cheapest_is_best_is_the_difference_there() -> None:
    line = Curves(np.full(3, 2.0), np.full(3, 0.7))
    assert gain_over_line(Curves(np.array([1.0, 3.0]), np.array([0.6, 0.9])), line) == pytest.approx(0.05)


def test_aiq_by_hand() -> None:
    # Router's quality rises from 0 to 1 linearly over the line's range [1, 5]: area 1/2 of the range.
    line = Curves(np.array([1.0, 5.0]), np.array([0.0, 0.4]))
    assert aiq(Curves(np.array([1.0, 5.0]), np.array([0.0, 1.0])), line) == pytest.approx(0.5)
    # A curve that falls again counts as staying: it need not spend more.
    falling = Curves(np.array([1.0, 3.0, 5.0]), np.array([0.0, 1.0, 0.0]))
    assert aiq(falling, line) == pytest.approx(0.75, abs=1e-3)


def test_batches_of_curves_equal_single_ones() -> None:
    rng = np.random.default_rng(0)
    cost, quality = np.sort(rng.random((4, 5)), axis=1) + 0.1, rng.random((4, 5))
    line = Curves(np.array([0.1, 1.0]), np.array([0.2, 0.8]))
    lines = Curves(np.tile(line.cost, (4, 1)), np.tile(line.quality, (4, 1)))
    together = gain_over_line(Curves(cost, quality), lines)
    apart = [float(gain_over_line(Curves(c, q), line)) for c, q in zip(cost, quality, strict=True)]
    assert together.tolist() == pytest.approx(apart)
