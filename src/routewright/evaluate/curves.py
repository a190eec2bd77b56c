"""Curves of quality against cost: hulls, mixing, and reading one curve at the cost of another.

Mixing two operating points at random is free, so what can be reached from a set of points is their upper concave
hull. Which points are mixed, and how, is decided on validation queries; the mixture is then applied to test queries.
A hull drawn through the test points themselves would be biased upwards for everything that has many points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routewright.types import Floats, Ints

TARGETS = 33  # costs at which a curve is followed, evenly spaced in log cost
GRID = 65  # costs at which two curves are compared


def hull(cost: Floats, quality: Floats) -> Ints:
    """Indices of the upper concave hull, from the cheapest point to the best one, by rising cost.

    Args:
        cost: [P], quality: [P].

    >>> hull(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.6, 0.5])).tolist()
    [0, 2]
    """
    order = np.lexsort((-quality, cost))
    kept: list[int] = []
    for i in order:
        if kept and quality[i] <= quality[kept[-1]]:
            continue
        while len(kept) >= 2:
            a, b = kept[-2], kept[-1]
            if (quality[b] - quality[a]) * (cost[i] - cost[a]) <= (quality[i] - quality[a]) * (cost[b] - cost[a]):
                kept.pop()
            else:
                break
        if kept and cost[i] <= cost[kept[-1]]:
            kept.pop()
        kept.append(int(i))
    return np.array(kept, dtype=np.int64)


def mixtures(cost: Floats, quality: Floats, targets: Floats) -> Floats:
    """[G, P] weights of the mixture on the hull that costs each target; the hull's ends beyond its ends."""
    vertices = hull(cost, quality)
    weights = np.zeros((len(targets), len(cost)))
    position = np.interp(targets, cost[vertices], np.arange(len(vertices), dtype=np.float64))
    left = np.floor(position).astype(np.int64)
    right = np.minimum(left + 1, len(vertices) - 1)
    share = position - left
    rows = np.arange(len(targets))
    weights[rows, vertices[left]] += 1 - share
    weights[rows, vertices[right]] += share
    return weights


def log_targets(low: float, high: float, n: int = TARGETS) -> Floats:
    """[n] costs evenly spaced in log cost from `low` to `high` (USD)."""
    tiny = 1e-12  # a free model has no logarithm
    return np.geomspace(max(low, tiny), max(high, low, tiny), n)


@dataclass(frozen=True)
class Curves:
    """Many curves of G points each, by cost: `cost` and `quality` are [..., G]."""

    cost: Floats
    quality: Floats

    def at(self, targets: Floats) -> Floats:
        """[..., T] quality at the costs `targets` [..., T] or [T]; flat beyond a curve's ends."""
        lead = self.cost.shape[:-1]
        wanted = np.broadcast_to(targets, (*lead, targets.shape[-1])).reshape(-1, targets.shape[-1])
        cost = self.cost.reshape(-1, self.cost.shape[-1])
        quality = self.quality.reshape(-1, self.quality.shape[-1])
        order = np.argsort(cost, axis=-1, kind="stable")
        cost, quality = np.take_along_axis(cost, order, -1), np.take_along_axis(quality, order, -1)
        rows = [np.interp(t, c, q) for t, c, q in zip(wanted, cost, quality, strict=True)]
        return np.stack(rows).reshape(*lead, targets.shape[-1])


def gain_over_line(router: Curves, line: Curves) -> Floats:
    """Quality above the line at equal cost, averaged over log cost.

        gain = 1 / (log c1 - log c0) * integral from c0 to c1 of  [ Q_router(c) - Q_line(c) ]  d log c

    c0 and c1 are the line's ends: the cheapest and the best single model. Where they coincide it is the difference at
    that cost. A router cheaper than c1 throughout keeps its last quality up to c1: spending less is allowed.

    Returns:
        [...], in units of score.
    """
    low, high = line.cost.min(axis=-1, keepdims=True), line.cost.max(axis=-1, keepdims=True)
    step = np.linspace(0.0, 1.0, GRID)
    targets = np.exp(np.log(np.maximum(low, 1e-12)) * (1 - step) + np.log(np.maximum(high, 1e-12)) * step)
    difference = router.at(targets) - line.at(targets)
    return np.asarray(np.trapezoid(difference, step, axis=-1))


def aiq(router: Curves, line: Curves) -> Floats:
    """Average improvement in quality: the area under the curve over cost, divided by the range of cost.

        AIQ = 1 / (c1 - c0) * integral from c0 to c1 of  Q~(c)  dc           Q~: non-decreasing

    Reference: Hu et al. 2024 (RouterBench), arXiv:2403.12031. The cost range [c0, c1] is from the cheapest to the best
    single model. Differs: the paper's code divides by c1 alone; the hull is chosen on validation queries.
    """
    low, high = line.cost.min(axis=-1, keepdims=True), line.cost.max(axis=-1, keepdims=True)
    step = np.linspace(0.0, 1.0, GRID)
    return np.asarray(np.trapezoid(np.maximum.accumulate(router.at(low + (high - low) * step), axis=-1), step, axis=-1))
