"""Which queries to ask a new model: one after the other, each the one that says most given those before.

With p[q] the forecast, w[q] = p (1 - p), a[q] a query's loads and P the covariance of the belief, an answer to q takes from P

    P a[q] a[q]' P  *  w[q] / (1 + w[q] a[q]' P a[q])

- adaptive: the query that takes most from the summed variance of the forecasts of all queries, sum_j w[j]^2 a[j]' P a[j],
  and from that of their mean (I-optimal design). Of every three probes one is drawn at random: loads are estimates, and
  the ones that look largest are too large; random probes are what the rest is checked on.
- information: the query that takes most from log det P (D-optimal design).
- random, stratified: without looking; stratified deals over the tasks in proportion.

After every batch of answers the belief is brought up to date, and so are p and P: that is the adaptive part.

Called by `onboard` and by the recipe that measures it. Reference: Chaloner & Verdinelli 1995 (Bayesian experimental design).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from scipy.special import expit as sigmoid

from routewright.errors import UnknownName
from routewright.profiles.abilities import Abilities, Belief
from routewright.types import Bools, Floats, Ints

Design = Literal["adaptive", "information", "random", "stratified"]
_RANDOM_EVERY = 3  # of `adaptive`


def choose_probes(
    known: Abilities,
    belief: Belief,
    free: Bools,
    n: int,
    design: Design,
    rng: np.random.Generator,
    strata: Sequence[str] = (),
) -> Ints:
    """The next probes, best first.

    Args:
        known: The queries' side, [Q].
        belief: What is believed of the new model now.
        free: [Q] the queries that may still be asked.
        n: How many; fewer come back if fewer are free.
        design: See the module.
        rng: For what is random, ties included.
        strata: [Q] task of each query, for `stratified`.
    """
    if design not in get_args(Design):
        raise UnknownName("design", design, get_args(Design))
    open_ = rng.permutation(np.flatnonzero(free))
    n = min(n, len(open_))
    if design == "random":
        return open_[:n].astype(np.int64)
    if design == "stratified":
        return _dealt(open_, np.asarray(strata), n)
    return _greedy(known, belief, open_, n, design == "adaptive", rng)


def _dealt(order: Ints, strata: Floats | np.ndarray, n: int) -> Ints:
    """The first n of a shuffled order, tasks in proportion to their size."""
    _, label = np.unique(strata[order], return_inverse=True)
    size = np.bincount(label)
    rank = np.empty(len(order))
    for task in range(len(size)):
        of = np.flatnonzero(label == task)
        rank[of] = (np.arange(len(of)) + 0.5) / size[task]
    return order[np.argsort(rank, kind="stable")[:n]].astype(np.int64)


def _greedy(known: Abilities, belief: Belief, open_: Ints, n: int, mean_too: bool, rng: np.random.Generator) -> Ints:
    a = known.loads
    p = sigmoid(known.easy + a @ belief.theta)
    w = np.maximum(p * (1 - p), 1e-4)
    slopes = a * w[:, None]
    total = slopes.sum(axis=0)
    wanted = slopes.T @ slopes + np.outer(total, total) / len(a)  # [K, K] what variance of theta costs
    cov = belief.cov.copy()
    at, weight = a[open_], w[open_]
    left = np.ones(len(open_), dtype=bool)
    chosen = []
    for i in range(n):
        if mean_too and i % _RANDOM_EVERY == _RANDOM_EVERY - 1:
            pick = int(np.flatnonzero(left)[0])  # the order is shuffled
        else:
            ahead = at @ cov
            seen = weight * (ahead * at).sum(axis=1)
            gain = np.einsum("qi,ij,qj->q", ahead, wanted, ahead) * weight / (1 + seen) if mean_too else seen
            pick = int(np.where(left, gain, -1.0).argmax())
        left[pick] = False
        chosen.append(int(open_[pick]))
        turned = cov @ at[pick]
        cov -= np.outer(turned, turned) * weight[pick] / (1 + weight[pick] * (at[pick] @ turned))
    return np.asarray(chosen, dtype=np.int64)
