"""Full-batch Adam with early stopping, for the few scorers that need gradient descent.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   p <- p - rate * mhat / (sqrt(vhat) + eps) - rate * decay * p

Reference: Kingma & Ba 2015, arXiv:1412.6980; decoupled decay after Loshchilov & Hutter 2019, arXiv:1711.05101.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from routewright.types import Floats, Ints

Parameters = dict[str, Floats]
_FIRST, _SECOND, _EPS = 0.9, 0.999, 1e-8


def sigmoid(z: Floats) -> Floats:
    out: Floats = 1.0 / (1.0 + np.exp(-np.clip(z, -30, 30)))
    return out


def cross_entropy(p: Floats, y: Floats) -> float:
    """Mean of -y log p - (1 - y) log(1 - p); y may be a fraction."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def descend(
    start: Parameters,
    gradient: Callable[[Parameters], Parameters],
    held_out_loss: Callable[[Parameters], float],
    *,
    steps: int,
    rate: float,
    decay: dict[str, float],
    check: int = 10,
    patience: int = 4,
) -> Parameters:
    """Follow the gradient; keep the parameters with the lowest loss on held-out rows.

    Args:
        start: Initial parameters by name; not changed.
        gradient: Parameters to their gradient on the training rows.
        held_out_loss: Parameters to the loss on rows the gradient does not see.
        steps: At most this many.
        rate: Step size.
        decay: Decoupled weight decay by parameter name; 0 where absent.
        check: Steps between looks at the held-out loss.
        patience: Looks without improvement before stopping.
    """
    p = {k: v.copy() for k, v in start.items()}
    first = {k: np.zeros_like(v) for k, v in p.items()}
    second = {k: np.zeros_like(v) for k, v in p.items()}
    best, lowest, waited = dict(p), held_out_loss(p), 0
    for t in range(1, steps + 1):
        for k, g in gradient(p).items():
            first[k] = _FIRST * first[k] + (1 - _FIRST) * g
            second[k] = _SECOND * second[k] + (1 - _SECOND) * g**2
            step = first[k] / (1 - _FIRST**t) / (np.sqrt(second[k] / (1 - _SECOND**t)) + _EPS)
            p[k] = p[k] - rate * step - rate * decay.get(k, 0.0) * p[k]
        if t % check == 0:
            loss = held_out_loss(p)
            if loss < lowest - 1e-6:
                best, lowest, waited = dict(p), loss, 0
            else:
                waited += 1
                if waited >= patience:
                    break
    return best


def hold_out(n: int, seed: int, share: float = 0.15) -> tuple[Ints, Ints]:
    """Row indices to train on and to hold out, at least one each."""
    order = np.random.default_rng(seed).permutation(n)
    cut = min(max(1, int(n * share)), n - 1)
    return order[cut:], order[:cut]
