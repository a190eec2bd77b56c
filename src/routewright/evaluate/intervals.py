"""Paired bootstrap over queries and seeds, and Holm's correction.

A draw takes the groups of equal query text with replacement, and the seeds with replacement; every policy of a table sees
the same draw, so differences between policies are paired. An interval is the 2.5% and 97.5% quantile of the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routewright.types import Floats, Ints

_BLOCK = 8192  # queries multiplied at once


@dataclass(frozen=True)
class Draws:
    """B bootstrap draws over Q queries and S seeds of one table."""

    weight: NDArray[np.uint8]  # [B, Q] how often each query is in each draw
    total: Floats  # [B] queries in each draw
    seeds: Ints  # [B, S]

    @classmethod
    def make(cls, groups: Ints, n_seeds: int, n_draws: int, key: Sequence[int]) -> Draws:
        """Draw; `key` decides the random numbers."""
        rng = np.random.default_rng(list(key))
        _, group = np.unique(groups, return_inverse=True)
        n = int(group.max()) + 1
        weight = np.empty((n_draws, len(groups)), dtype=np.uint8)
        for b in range(n_draws):
            weight[b] = np.minimum(np.bincount(rng.integers(0, n, n), minlength=n), 255)[group]
        total = np.zeros(n_draws)
        for at in range(0, len(groups), _BLOCK):
            total += weight[:, at : at + _BLOCK].sum(axis=1)
        return cls(weight, total, rng.integers(0, n_seeds, (n_draws, n_seeds)))

    def means(self, columns: Floats) -> Floats:
        """[B, K] mean of each column [K, Q] in each draw."""
        out = np.zeros((len(self.weight), len(columns)))
        for at in range(0, columns.shape[1], _BLOCK):
            block = self.weight[:, at : at + _BLOCK].astype(np.float32)
            out += block @ columns[:, at : at + _BLOCK].T.astype(np.float32)
        return out / self.total[:, None]

    def over_seeds(self, values: Floats) -> Floats:
        """[B] mean over the seeds of each draw of values [S, B]."""
        picked = values[self.seeds.T, np.arange(values.shape[1])[None]]
        out: Floats = picked.mean(axis=0)
        return out


def interval(mean: float, draws: Floats) -> dict[str, float]:
    """{mean, low, high}: the value on all queries and the 95% bootstrap interval."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def p_above(draws: Floats, bound: float = 0.0) -> float:
    """One-sided bootstrap p-value of "the true value is above `bound`", never below 1 / (B + 1)."""
    return float((np.sum(draws <= bound) + 1) / (len(draws) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(order)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
