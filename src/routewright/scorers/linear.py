"""Ridge regression with its strength chosen by leave-one-out, for many outputs at once.

    W = (X'X + a I)^-1 X'(Y - mean Y)           X [N, D] centred, Y [N, K]
    loo[n] = (y[n] - yhat[n]) / (1 - h[n])      h: diagonal of X (X'X + a I)^-1 X' + 1/N

One decomposition of X serves every strength `a` and every output (Hastie, Tibshirani & Friedman 2009, section 7.10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routewright.types import Floats

STRENGTHS = tuple(float(a) for a in np.logspace(-1.5, 3.5, 11))


@dataclass(frozen=True)
class Linear:
    """A fitted map: y = (x - centre) @ weights + offset."""

    centre: Floats  # [D]
    weights: Floats  # [D, K]
    offset: Floats  # [K]
    loo: Floats  # [N, K] leave-one-out predictions of the training rows

    def __call__(self, x: Floats) -> Floats:
        out: Floats = (x - self.centre) @ self.weights + self.offset
        return out


def decompose(x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Centre of x [N, D] and the thin singular value decomposition U, s, V' of what is left."""
    centre = x.mean(axis=0)
    a = x - centre
    # By the smaller Gram matrix: far quicker than an SVD of a tall matrix, exact enough above the cut.
    tall = a.shape[0] >= a.shape[1]
    values, vectors = np.linalg.eigh(a.T @ a if tall else a @ a.T)
    good = values > 1e-10 * max(float(values[-1]), 1e-30)
    s, vectors = np.sqrt(values[good]), vectors[:, good]
    if tall:
        return centre, (a @ vectors) / s, s, vectors.T
    return centre, vectors, s, (vectors.T @ a) / s[:, None]


def ridge(
    parts: tuple[Floats, Floats, Floats, Floats],
    y: Floats,
    each: bool = False,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Linear:
    """Fit y [N, K] on decomposed rows; one strength for all outputs, or `each` its own."""
    centre, u, s, vt = parts
    n = len(u)
    offset = y.mean(axis=0)
    inside = u.T @ (y - offset)
    best: Floats | None = None
    chosen = np.full(y.shape[1], strengths[-1])
    loo = np.repeat(offset[None], n, axis=0)
    for a in strengths:
        d = s**2 / (s**2 + a)
        h = np.minimum((u**2) @ d + 1 / n, 0.999)
        out = y - (y - offset - u @ (d[:, None] * inside)) / (1 - h)[:, None]
        error = ((y - out) ** 2).sum(axis=0)
        if not each:
            error = np.full_like(error, error.sum())
        better = np.ones(len(error), dtype=bool) if best is None else error < best
        best = error if best is None else np.where(better, error, best)
        chosen[better] = a
        loo[:, better] = out[:, better]
    weights = vt.T @ (s[:, None] / (s[:, None] ** 2 + chosen) * inside)
    return Linear(centre, weights, offset, loo)
