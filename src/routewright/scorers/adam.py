"""Full-batch Adam, and an L2 penalty chosen on held-out rows, for the few scorers that need gradient descent.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   p <- p - rate * mhat / (sqrt(vhat) + eps)

Reference: Kingma & Ba 2015, arXiv:1412.6980. The penalty matters more than anything else here: with recorded outcomes of
a thousand queries an unpenalised factorisation is worse than no router.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from routewright.types import Floats

Parameters = dict[str, Floats]
PENALTIES = (0.003, 0.01, 0.03, 0.1)
_FIRST, _SECOND, _EPS = 0.9, 0.999, 1e-8
_CHOOSE_ON = 3000  # rows, at most
_HELD_OUT = 0.2


def sigmoid(z: Floats) -> Floats:
    out: Floats = 1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))
    return out


def cross_entropy(p: Floats, y: Floats) -> float:
    """Mean of -y log p - (1 - y) log(1 - p); y may be a fraction."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def descend(start: Parameters, gradient: Callable[[Parameters], Parameters], *, steps: int, rate: float) -> Parameters:
    """Follow the gradient for a number of steps; `start` is not changed."""
    p = {k: v.copy() for k, v in start.items()}
    first = {k: np.zeros_like(v) for k, v in p.items()}
    second = {k: np.zeros_like(v) for k, v in p.items()}
    for t in range(1, steps + 1):
        for k, g in gradient(p).items():
            first[k] = _FIRST * first[k] + (1 - _FIRST) * g
            second[k] = _SECOND * second[k] + (1 - _SECOND) * g**2
            step = first[k] / (1 - _FIRST**t) / (np.sqrt(second[k] / (1 - _SECOND**t)) + _EPS)
            p[k] = p[k] - rate * step
    return p


def penalised(
    fit: Callable[[Floats, Floats, float], Callable[[Floats], Floats]], x: Floats, y: Floats, seed: int
) -> float:
    """The penalty of `PENALTIES` with the lowest cross-entropy on a fifth of the rows.

    Chosen on at most 3,000 rows; for more, the penalty shrinks as the rows grow, since the loss is a mean over rows.

    Args:
        fit: (x [N, D], y [N, M], penalty) -> a function from x to forecast quality.
    """
    rows = np.random.default_rng(seed).permutation(len(x))[:_CHOOSE_ON]
    cut = min(max(1, int(len(rows) * _HELD_OUT)), len(rows) - 1)
    held, train = rows[:cut], rows[cut:]
    losses = [cross_entropy(fit(x[train], y[train], penalty)(x[held]), y[held]) for penalty in PENALTIES]
    return PENALTIES[int(np.argmin(losses))] * min(1.0, _CHOOSE_ON / len(x))
