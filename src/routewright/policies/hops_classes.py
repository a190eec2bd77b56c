"""Classes of queries: how likely each model's reply is to be right, and whom it will agree with.

A query belongs to one of K hidden classes; given the class, models answer independently. A reply takes one of four
parts, known for recorded queries from scores and answer keys:

    A  the group of equal answers that holds the most right replies      (the truth, as far as anybody told it)
    B  the largest other group                                          (the mistake that several make)
    U  an answer of its own
    N  no answer that could be compared

    P(parts of a query) = sum_z share[z] * prod_m chance[z, m, part[m]]

The classes make replies dependent: who fails on a hard query fails in company. With them one can say, from who agrees
with whom and nothing else, how likely every distinct answer is right and what the next model will say: everything a
policy has to know to plan (`hops_tree.py`), from a few hundred numbers that every query helps to fit.

Fitted by expectation maximisation for several K, averaged: a mixture of mixtures is one with more classes. Shares of
parts are drawn towards the model's own means, by `smoothing` queries. A score is expected by model and part (`right`),
since equal answers are not scored alike everywhere.

Reference: Dempster, Laird & Rubin 1977, and Lazarsfeld & Henry 1968 (latent class analysis); Dawid & Skene 1979 fit the
like to find the truth. Differs: the truth is recorded, so what is hidden is the difficulty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays
from routewright.outcomes.arrays import Outcomes
from routewright.types import Floats, Ints

TRUTH, MISTAKE, OWN, NONE = range(4)  # A, B, U, N
PARTS = 4
_STEPS = 60
_PRIOR = 2.0  # replies by which a model's expected score in a part is drawn to all models'
_CELLS = 20_000_000  # comparisons held at once


@dataclass(frozen=True)
class Classes:
    """K classes over M models.

    `share` [K] sums to one; `chance` [K, M, 4] of each part; `right` [M, 4] expected score of a reply by part;
    `cost_usd` [K, M] mean cost.
    """

    share: Floats
    chance: Floats
    right: Floats
    cost_usd: Floats

    def take(self, columns: Ints) -> Classes:
        """The same for some models."""
        return Classes(self.share, self.chance[:, columns], self.right[columns], self.cost_usd[:, columns])

    def log_likelihood(self, parts: Ints) -> Floats:
        """[Q] of the parts [Q, M]."""
        logs = self._joint(parts)
        top = logs.max(axis=1)
        return np.asarray(top + np.log(np.exp(logs - top[:, None]).sum(axis=1)))

    def posterior(self, parts: Ints) -> Floats:
        """[Q, K] of each query's class, given everybody's parts."""
        logs = self._joint(parts)
        raw = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))

    def _joint(self, parts: Ints) -> Floats:
        flat = np.log(self.chance).reshape(len(self.share), -1)
        return np.asarray(np.log(self.share) + _one_hot(parts) @ flat.T)

    def arrays(self) -> Arrays:
        return {f"classes.{name}": getattr(self, name) for name in _FIELDS}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Classes:
        return cls(*(arrays[f"classes.{name}"] for name in _FIELDS))


_FIELDS = ("share", "chance", "right", "cost_usd")


def parts_of(quality: Floats, keys: Ints) -> Ints:
    """[Q, M] the part of every recorded reply.

    Args:
        quality: [Q, M] scores; from 0.5 on a reply counts as right.
        keys: [Q, M] equal within a row where two replies say the same, -1: nothing comparable.
    """
    n, m = keys.shape
    out = np.empty((n, m), dtype=np.int64)
    step = max(1, _CELLS // (m * m))
    for at in range(0, n, step):
        rows = slice(at, at + step)
        out[rows] = _parts(quality[rows] >= 0.5, keys[rows])
    return out


def _parts(right: NDArray[np.bool_], keys: Ints) -> Ints:
    m = keys.shape[1]
    keyed = keys >= 0
    same = (keys[:, :, None] == keys[:, None]) & keyed[:, :, None]
    size, hits = same.sum(axis=2), (same & right[:, None]).sum(axis=2)
    lead = np.where(keyed & (hits > 0), hits * (m + 1) + size, -1)
    truth = (
        np.take_along_axis(same, lead.argmax(axis=1)[:, None, None], axis=1)[:, 0] & (lead.max(axis=1) >= 0)[:, None]
    )
    rest = np.where(keyed & ~truth, size, -1)
    several = rest.max(axis=1) >= 2
    mistake = np.take_along_axis(same, rest.argmax(axis=1)[:, None, None], axis=1)[:, 0] & several[:, None]
    return np.select([~keyed, truth, mistake], [NONE, TRUTH, MISTAKE], OWN)


def _one_hot(parts: Ints) -> Floats:
    """[Q, 4 M]."""
    return np.asarray((parts[..., None] == np.arange(PARTS)).reshape(len(parts), -1), dtype=np.float64)


def fit_classes(outcomes: Outcomes, sizes: Sequence[int], smoothing: float) -> Classes:
    """Fit the classes of a table with answer keys.

    Args:
        outcomes: Q queries by M models.
        sizes: How many classes each of the averaged mixtures has; cut to a tenth of the queries.
        smoothing: Queries' worth of each model's own means in every class.
    """
    assert outcomes.keys is not None
    parts = parts_of(outcomes.quality, outcomes.keys)
    seen = _one_hot(parts)
    most = max(1, len(outcomes) // 10)
    usual_cost = outcomes.cost_usd.mean(axis=0)
    shares, chances, costs = [], [], []
    for k in sorted({min(size, most) for size in sizes}):
        share, chance, posterior = _maximise(parts, seen, k, smoothing)
        shares.append(share)
        chances.append(chance)
        weight = posterior.sum(axis=0)[:, None]
        costs.append((posterior.T @ outcomes.cost_usd + smoothing * usual_cost) / (weight + smoothing))
    return Classes(
        np.concatenate(shares) / len(shares), np.concatenate(chances), _scores(outcomes, parts), np.concatenate(costs)
    )


def _maximise(parts: Ints, seen: Floats, k: int, smoothing: float) -> tuple[Floats, Floats, Floats]:
    """[K] shares, [K, M, 4] chances and [Q, K] posterior of one mixture; begun with queries by how many got them right."""
    n, m = parts.shape
    usual = (seen.sum(axis=0).reshape(m, PARTS) + 0.5) / (n + 0.5 * PARTS)
    rank = np.argsort(np.argsort((parts == TRUTH).mean(axis=1), kind="stable"), kind="stable")
    posterior = np.full((n, k), 0.02)
    posterior[np.arange(n), rank * k // n] = 1.0
    posterior /= posterior.sum(axis=1, keepdims=True)
    share, chance = np.ones(k) / k, np.ones((k, m, PARTS)) / PARTS
    for _ in range(_STEPS):
        share = (posterior.sum(axis=0) + 1.0) / (n + k)
        chance = (posterior.T @ seen).reshape(k, m, PARTS) + smoothing * usual
        chance /= chance.sum(axis=2, keepdims=True)
        logs = np.log(share) + seen @ np.log(chance).reshape(k, -1).T
        posterior = np.exp(logs - logs.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
    return share, chance, posterior


def _scores(outcomes: Outcomes, parts: Ints) -> Floats:
    """[M, 4] expected score of a model's reply by its part."""
    right = np.zeros((len(outcomes.models), PARTS))
    for part in range(PARTS):
        here = parts == part
        count = here.sum(axis=0)
        total = np.where(here, outcomes.quality, 0.0).sum(axis=0)
        usual = total.sum() / max(1, int(count.sum()))
        right[:, part] = (total + _PRIOR * usual) / (count + _PRIOR)
    return right
