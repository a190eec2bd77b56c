"""Known answers for the default scorer: a planted signal is found, noise is not, saving loses nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from routewright.outcomes.arrays import Outcomes
from routewright.scorers import build_scorer
from routewright.scorers.base import restore_scorer
from routewright.scorers.choose import sweep
from routewright.scorers.forest import grow, means, out_of_bag
from routewright.types import Floats, Query


def table(quality: Floats, cost_usd: Floats, texts: list[str], tasks: list[str] | None = None) -> Outcomes:
    n, m = quality.shape
    nothing = np.full((n, m), np.nan)
    queries = tuple(Query(text, str(i), tasks[i] if tasks else "", "made") for i, text in enumerate(texts))
    names = tuple(f"model {i}" for i in range(m))
    return Outcomes("made", queries, names, quality, cost_usd, nothing, nothing, nothing, "correct")


def two_clusters(n: int, seed: int, tasks: bool = False) -> tuple[Outcomes, Floats, Floats]:
    """Two kinds of query; model 0 is right on nine of ten of the first and two of ten of the second, model 1 turned
    round, model 2 on half of all. Vectors [n, 20]: the kind in the first column, noise elsewhere."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=n)
    chance = np.array([[0.9, 0.2, 0.5], [0.2, 0.9, 0.5]])[kind]
    quality = (rng.random((n, 3)) < chance).astype(np.float64)
    x = 0.2 * rng.standard_normal((n, 20))
    x[:, 0] += 2.0 * kind - 1.0
    cost = np.full((n, 3), 0.001) * rng.lognormal(0, 0.1, (n, 3))
    labels = [str(k) for k in kind] if tasks else None
    return table(quality, cost, [f"query {i}" for i in range(n)], labels), x.astype(np.float32), chance


def noise(n: int, m: int, seed: int) -> tuple[Outcomes, Floats]:
    rng = np.random.default_rng(seed)
    quality = (rng.random((n, m)) < 0.6).astype(np.float64)
    cost = 0.001 * np.arange(1, m + 1) * rng.lognormal(0, 0.5, (n, m))
    x = rng.standard_normal((n, 40)).astype(np.float32)
    return table(quality, cost, [f"query {i}" for i in range(n)]), x


@pytest.mark.parametrize("tasks", [False, True])
def test_finds_a_planted_signal(tasks: bool) -> None:
    outcomes, x, _ = two_clusters(600, 0, tasks)
    scorer = build_scorer("routewright")
    scorer.fit(outcomes, x)
    fresh, fresh_x, chance = two_clusters(400, 1)  # labels only ever come with training queries
    forecast = scorer.forecast(fresh.queries, fresh_x)
    assert np.abs(forecast.quality - chance).mean() < 0.06  # measured 0.045 without and 0.038 with tasks
    picks = sweep(forecast, np.array([np.inf]))[0]
    assert (picks == chance.argmax(axis=1)).mean() > 0.99  # measured 1.0


def test_noise_ends_at_the_mean() -> None:
    outcomes, x = noise(800, 8, 0)
    scorer = build_scorer("routewright")
    scorer.fit(outcomes, x)
    fresh, fresh_x = noise(400, 8, 1)
    forecast = scorer.forecast(fresh.queries, fresh_x)
    differences = forecast.quality - forecast.quality.mean(axis=1, keepdims=True)
    assert differences.std(axis=0).max() < 0.01  # between queries; measured 0, outcomes deviate by 0.49
    assert np.abs(forecast.quality.mean(axis=0) - outcomes.quality.mean(axis=0)).max() < 0.01


def test_spread_is_honest() -> None:
    outcomes, x, _ = two_clusters(600, 2)
    scorer = build_scorer("routewright")
    scorer.fit(outcomes, x)
    fresh, fresh_x, _ = two_clusters(2000, 3)
    forecast = scorer.forecast(fresh.queries, fresh_x)
    error = (fresh.quality - forecast.quality) / forecast.quality_std
    assert 0.9 < np.sqrt((error**2).mean()) < 1.1  # one if deviations are as large as stated


def test_saving_and_seed() -> None:
    outcomes, x, _ = two_clusters(300, 4, tasks=True)
    first, second = build_scorer("routewright", seed=3), build_scorer("routewright", seed=3)
    first.fit(outcomes, x)
    second.fit(outcomes, x)
    arrays, meta = first.state()
    restored = restore_scorer("routewright", arrays, json.loads(json.dumps(meta)))
    want = first.forecast(outcomes.queries, x)
    for scorer in (second, restored):
        got = scorer.forecast(outcomes.queries, x)
        np.testing.assert_array_equal(got.quality, want.quality)
        np.testing.assert_array_equal(got.quality_std, want.quality_std)
        np.testing.assert_array_equal(got.cost_usd, want.cost_usd)


def test_repeated_texts_are_no_evidence() -> None:
    """Each query four times: a twin left in would make memory look like foresight, and noise be trusted."""
    once, x = noise(200, 4, 5)
    four = np.tile(np.arange(200), 4)
    scorer = build_scorer("routewright")
    scorer.fit(once.take(four), x[four])
    fresh, fresh_x = noise(300, 4, 6)
    quality = scorer.forecast(fresh.queries, fresh_x).quality
    differences = quality - quality.mean(axis=1, keepdims=True)
    assert differences.std(axis=0).max() < 0.01  # measured 0


def test_tiny_tables() -> None:
    for n, m in ((2, 1), (3, 2), (12, 3)):
        outcomes, x = noise(n, m, 7)
        scorer = build_scorer("routewright")
        scorer.fit(outcomes, x)
        assert np.isfinite(scorer.forecast(outcomes.queries, x).quality).all()
        assert scorer.forecast((), x[:0]).quality.shape == (0, m)


def test_forest_reads_as_it_was_grown() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5))
    y = (x[:, :1] > 0) + 0.01 * rng.standard_normal((300, 1))
    forest, drawn = grow(x, y, n_trees=20, min_leaf=5, share=1.0, seed=0)
    leaf = forest.leaves(x)
    assert leaf.shape == (300, 20)
    assert np.bincount(leaf.ravel(), weights=drawn.ravel()).min() >= 5  # what min_leaf promises, in rows drawn
    by_hand = np.mean([[drawn_mean(leaf, drawn, y, t, i) for t in range(20)] for i in range(10)], axis=1)
    got = forest.mean(x[:10], means(leaf, forest.n_leaves, y, drawn))
    np.testing.assert_allclose(got[:, 0], by_hand, atol=1e-6)
    assert ((out_of_bag(leaf, forest.n_leaves, y, drawn) - y) ** 2).mean() < 0.15 * y.var()  # measured 0.09


def drawn_mean(leaf: Floats, drawn: Floats, y: Floats, tree: int, row: int) -> float:
    same = leaf[:, tree] == leaf[row, tree]
    return float((y[same, 0] * drawn[same, tree]).sum() / drawn[same, tree].sum())
