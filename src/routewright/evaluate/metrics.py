"""Measures of a routing policy, each with its formula.

Not here: gain over the line and AIQ (`curves.py`), intervals (`intervals.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routewright.types import Floats, Ints

_ARENA_BETA = 0.1
_ARENA_DEAR, _ARENA_CHEAP = 200.0, 0.0044  # USD per 1,000 queries: the scale's ends


def oracle(quality: Floats, cost: Floats) -> Ints:
    """[Q] the cheapest of the models that do best on each query; cheapest of all where none is right."""
    best = quality >= quality.max(axis=1, keepdims=True) - 1e-9
    return np.asarray(np.where(best, cost, np.inf).argmin(axis=1), dtype=np.int64)


def per_task(quality: Floats, cost: Floats, strata: tuple[str, ...]) -> Ints:
    """[Q] the best model of each query's task, chosen on these same queries: an oracle."""
    names, label = np.unique(np.asarray(strata), return_inverse=True)
    best = [
        int(np.lexsort((cost[label == i].mean(axis=0), -quality[label == i].mean(axis=0)))[0])
        for i in range(len(names))
    ]
    return np.asarray(best, dtype=np.int64)[label]


def arena_score(accuracy: float, cost_usd: float) -> float:
    """RouterArena's score, in [0, 1].

        S = (1 + b) A C / (b A + C),   b = 0.1
        C = (log2 200 - log2 c) / (log2 200 - log2 0.0044),   c in USD per 1,000 queries, C clipped to [0, 1]

    Args:
        accuracy: A, a fraction.
        cost_usd: USD per query.

    Reference: Lu et al. 2025 (RouterArena), arXiv:2510.00202.

    >>> round(arena_score(0.75, 0.10 / 1000), 3)
    0.746
    """
    per_thousand = max(cost_usd * 1000, 1e-12)
    c = (np.log2(_ARENA_DEAR) - np.log2(per_thousand)) / (np.log2(_ARENA_DEAR) - np.log2(_ARENA_CHEAP))
    c = float(np.clip(c, 0.0, 1.0))
    below = _ARENA_BETA * accuracy + c
    return (1 + _ARENA_BETA) * accuracy * c / below if below > 0 else 0.0


def entropy_bits(share: Floats) -> float:
    """-sum p log2 p over the shares of calls, in bits; 0 if one model gets everything."""
    p = share[share > 0]
    return float(-(p * np.log2(p)).sum()) + 0.0


def information_bits(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    """Plug-in mutual information of two labellings of the same rows, in bits: H(a) + H(b) - H(a, b)."""

    def h(labels: NDArray[np.integer]) -> float:
        counts = np.unique(labels, return_counts=True)[1].astype(np.float64)
        return entropy_bits(counts / counts.sum())

    joint = a.astype(np.int64) * (int(b.max(initial=0)) + 1) + b
    return max(0.0, h(a) + h(b) - h(joint))


def query_information_bits(choices: NDArray[np.integer]) -> float:
    """How much of the choice the query decides: H(choice) - H(choice | query), in bits.

    `choices` [S, Q] are those of S refits; what varies between refits of the same query is not decided by it. With one
    refit this is the entropy of the choice, unless every query gets the same.
    """
    models = np.unique(choices)
    share = np.stack([(choices == m).mean(axis=0) for m in models])  # [M, Q]
    with np.errstate(divide="ignore", invalid="ignore"):
        within = -np.where(share > 0, share * np.log2(share), 0.0).sum(axis=0).mean()
    return max(0.0, entropy_bits(share.mean(axis=1)) - float(within))


def pgr(quality: Floats | float, weak: float, strong: float) -> Floats | float:
    """Performance gap recovered: (r - r_weak) / (r_strong - r_weak). Reference: RouteLLM, arXiv:2406.18665."""
    return (quality - weak) / (strong - weak)


def strong_curve(weak: Floats, strong: Floats, preference: Floats) -> Floats:
    """[Q + 1] mean quality when the 0, 1, ... Q queries with the highest `preference` go to the strong model."""
    order = np.argsort(-preference, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    curve: Floats = weak.mean() + gained / len(weak)
    return curve


def apgr(weak: Floats, strong: Floats, preference: Floats, thresholds: int = 10) -> float:
    """Average performance gap recovered over the share of strong calls.

        APGR = (AUC_router - AUC_weak) / (AUC_strong - AUC_weak)

    with trapezoids between 0, 1/thresholds, ... 1 of the calls going to the strong model. A router that orders the
    queries at random has 0.5.

    Args:
        weak, strong: [Q] quality of either model.
        preference: [Q] the larger, the rather strong.
    """
    curve = strong_curve(weak, strong, preference)
    at = np.linspace(0, len(weak), thresholds + 1)
    router = np.interp(at, np.arange(len(curve)), curve)
    area = float(np.trapezoid(router, dx=1 / thresholds))
    return (area - float(weak.mean())) / (float(strong.mean()) - float(weak.mean()))


def cpt(weak: Floats, strong: Floats, preference: Floats, wanted: float) -> float:
    """Call-performance threshold: the least share of strong calls at which PGR reaches `wanted` (a fraction)."""
    curve = strong_curve(weak, strong, preference)
    reached = pgr(curve, float(weak.mean()), float(strong.mean()))
    return int(np.argmax(reached >= wanted - 1e-12)) / len(weak)
