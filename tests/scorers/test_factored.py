"""The gradients of `mf` and `irt` against finite differences, and what the penalty is for."""

from __future__ import annotations

import numpy as np
import pytest

from routewright.scorers.adam import PENALTIES, Parameters, cross_entropy, penalised
from routewright.scorers.base import build_scorer
from routewright.scorers.factored import Factored

STEP = 1e-6


@pytest.mark.parametrize("kind", ["mf", "irt"])
def test_gradient_is_that_of_the_penalised_loss(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, y, penalty = rng.normal(size=(12, 5)), rng.random((12, 3)), 0.2
    scorer = build_scorer(kind)
    assert isinstance(scorer, Factored)
    p = {k: v + rng.normal(0, 0.3, v.shape) for k, v in scorer._start(rng.normal(size=3), 5, rng).items()}
    penalised_names = {"mf": ("p", "v"), "irt": ("a", "b")}[kind]

    def loss(q: Parameters) -> float:
        # Summed over models, averaged over rows: what the gradient is the gradient of.
        fit = 3 * cross_entropy(scorer.formula(q, x), y)
        return fit + penalty / 2 * sum(float((q[name] ** 2).sum()) for name in penalised_names)

    for name, slope in scorer.gradient(p, x, y, penalty).items():
        for at in list(np.ndindex(slope.shape))[:6]:
            up, down = ({k: v.copy() for k, v in p.items()} for _ in range(2))
            up[name][at] += STEP
            down[name][at] -= STEP
            assert slope[at] == pytest.approx((loss(up) - loss(down)) / (2 * STEP), abs=1e-6), (name, at)


def test_noise_asks_for_the_largest_penalty_and_signal_for_less() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 20)) / np.sqrt(20)

    def ridge_like(a: np.ndarray, b: np.ndarray, penalty: float):  # type: ignore[no-untyped-def]
        weights = np.linalg.solve(a.T @ a / len(a) + penalty * np.eye(20), a.T @ (b - 0.5) / len(a))
        return lambda rows: np.clip(rows @ weights + 0.5, 0.01, 0.99)

    noise = (rng.random((300, 2)) < 0.5).astype(float)
    signal = (x[:, :2] > 0).astype(float)
    assert penalised(ridge_like, x, noise, 0) == PENALTIES[-1]
    assert penalised(ridge_like, x, signal, 0) < PENALTIES[-1]
