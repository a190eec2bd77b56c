"""Measures against calculations done by hand and, for RouteLLM's, done another way on its own data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from routewright.evaluate import metrics
from tests.shared_data import shared_table


def test_oracle_takes_the_cheapest_of_the_best() -> None:
    quality = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.2, 0.1, 0.3]])
    cost = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 9.0]])
    assert metrics.oracle(quality, cost).tolist() == [1, 2, 2]


def test_per_task_oracle() -> None:
    quality = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert metrics.per_task(quality, np.ones((3, 2)), ("a", "a", "b")).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("accuracy", "usd_per_thousand", "score"),
    [(0.75, 0.10, 74.6), (0.75, 1.0, 71.6), (0.75, 10.0, 65.0), (0.70, 0.30, 69.0), (0.80, 0.30, 77.7)],
)
def test_arena_score_matches_published_readings(accuracy: float, usd_per_thousand: float, score: float) -> None:
    assert 100 * metrics.arena_score(accuracy, usd_per_thousand / 1000) == pytest.approx(score, abs=0.06)


def test_entropy_and_information() -> None:
    assert metrics.entropy_bits(np.array([0.5, 0.5])) == 1.0
    assert metrics.entropy_bits(np.array([1.0, 0.0])) == 0.0
    a = np.array([0, 0, 1, 1])
    assert metrics.information_bits(a, a) == pytest.approx(1.0)
    assert metrics.information_bits(a, np.array([0, 1, 0, 1])) == pytest.approx(0.0)
    # The same choice for a query in every refit: all of the entropy is the query's. A coin per refit: none of it.
    assert metrics.query_information_bits(np.array([a, a])) == pytest.approx(1.0)
    assert metrics.query_information_bits(np.array([[0, 0, 0, 0], [1, 1, 1, 1]])) == pytest.approx(0.0)


WEAK = np.array([1.0, 0.0, 0.0, 1.0, 0.0])
STRONG = np.array([1.0, 1.0, 1.0, 0.0, 1.0])


def test_two_model_measures_by_hand() -> None:
    # Mean weak 2/5, strong 4/5. Sending queries 1, 2, 4, 0, 3 in this order to the strong model gives
    # 2/5, 3/5, 4/5, 5/5, 5/5, 4/5.
    preference = np.array([1.0, 5.0, 4.0, 0.0, 3.0])
    assert metrics.strong_curve(WEAK, STRONG, preference).tolist() == pytest.approx([0.4, 0.6, 0.8, 1.0, 1.0, 0.8])
    assert metrics.pgr(0.6, 0.4, 0.8) == pytest.approx(0.5)
    assert metrics.cpt(WEAK, STRONG, preference, 0.5) == pytest.approx(1 / 5)
    assert metrics.cpt(WEAK, STRONG, preference, 1.0) == pytest.approx(2 / 5)
    # Trapezoids of width 1/5: (0.4/2 + 0.6 + 0.8 + 1 + 1 + 0.8/2) / 5 = 0.8; APGR = (0.8 - 0.4) / 0.4 = 1.
    assert metrics.apgr(WEAK, STRONG, preference, thresholds=5) == pytest.approx(1.0)


def test_a_straight_line_has_half() -> None:
    weak, strong = np.zeros(10), np.ones(10)
    assert metrics.apgr(weak, strong, np.arange(10.0)) == pytest.approx(0.5)
    assert metrics.cpt(weak, strong, np.arange(10.0), 0.5) == pytest.approx(0.5)
    assert metrics.cpt(weak, strong, np.arange(10.0), 0.8) == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["routellm_mmlu", "routellm_gsm8k"])
def test_routellm_definitions_on_its_own_outcomes(name: str) -> None:
    """The published definitions, spelt out query by query in plain Python on the recorded outcomes."""
    from routewright.outcomes import load

    path: Path = shared_table(name)
    data = load(path)
    strong = int(data.quality[:, 1].mean() > data.quality[:, 0].mean())
    rows = [
        (float(w), float(s), -len(q.text))  # any fixed score of a query will do; here the shorter the stronger
        for q, w, s in zip(data.queries, data.quality[:, 1 - strong], data.quality[:, strong], strict=True)
    ]
    n = len(rows)
    weak_mean = sum(r[0] for r in rows) / n
    strong_mean = sum(r[1] for r in rows) / n
    ranked = sorted(rows, key=lambda r: -r[2])

    def quality_at(calls: int) -> float:
        return (sum(r[1] for r in ranked[:calls]) + sum(r[0] for r in ranked[calls:])) / n

    area = 0.0
    for i in range(10):
        left, right = i / 10 * n, (i + 1) / 10 * n

        def between(x: float) -> float:
            low = int(x)
            share = x - low
            return quality_at(low) if share == 0 else (1 - share) * quality_at(low) + share * quality_at(low + 1)

        area += (between(left) + between(right)) / 2 / 10
    by_hand = (area - weak_mean) / (strong_mean - weak_mean)
    preference = np.array([r[2] for r in rows], dtype=np.float64)
    weak, strong_quality = data.quality[:, 1 - strong], data.quality[:, strong]
    assert metrics.apgr(weak, strong_quality, preference) == pytest.approx(by_hand, abs=1e-9)
    for wanted in (0.5, 0.8):
        needed, right = 0, weak_mean * n
        while (right / n - weak_mean) / (strong_mean - weak_mean) < wanted - 1e-12:
            right += ranked[needed][1] - ranked[needed][0]
            needed += 1
        assert metrics.cpt(weak, strong_quality, preference, wanted) == pytest.approx(needed / n)
