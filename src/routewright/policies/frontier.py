"""The frontier of a cascade: for every trade-off the list to ask, and what choosing so gives on unseen queries.

The best of a million lists on some queries looks better there than it is. So the queries are dealt into parts, and for
every trade-off v on a grid

    pick(v)     = argmax over lists of  v * quality - cost       on all queries
    pick_k(v)   = the same without part k
    honest(v)   = sum_k weight_k * (quality, cost) of pick_k(v) on part k

At decision time the entry of largest value_usd * quality - cost_usd is taken, with the numbers of `pick`; a quality or a
mean cost that somebody asks for is compared with `honest`, which no choice has flattered. That the choice itself trusts
the flattered numbers was measured: choosing by `honest`, by a lower confidence bound, the cheapest list within a
standard error, or the most frequent winner of bootstrap draws was never better out of fold (docs/concepts/cascades.md).

Here too: which models are worth the longest lists. The best list of three or fewer through every model is known
(`search.evaluate_lists` sees all of them); models are taken in turn, trade-off by trade-off, best first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays
from routewright.errors import RoutewrightError
from routewright.policies.search import DEEPEST, NOBODY, Lists, evaluate_lists
from routewright.types import Floats, Ints

MOST_MODELS = 60  # lists of three are tried over the whole pool up to here; a larger one is thinned by single models


def trade_offs() -> Floats:
    """[V] the values a frontier is chosen for, USD per unit of score: 0, six a decade from 1e-7 to 1e3, and 1e6."""
    return np.concatenate([[0.0], np.logspace(-7, 3, 61), [1e6]])


@dataclass(frozen=True)
class Frontier:
    """E entries: a list, its thresholds, what it is worth.

    `members` [E, 4] columns of the pool, padded with -1. `thresholds` [E, 3]: after reply s the list stops if the
    answer's chance of being right is at least that; NaN: it stops if two replies agree. `quality` and `cost_usd` [E]
    are means per query as seen by the choice, `honest_quality` and `honest_usd` [E] as the module says.
    """

    members: Ints
    thresholds: Floats
    quality: Floats
    cost_usd: Floats
    honest_quality: Floats
    honest_usd: Floats

    def __len__(self) -> int:
        return len(self.members)

    def arrays(self) -> Arrays:
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Frontier:
        return cls(*(arrays[name] for name in _FIELDS))

    def take(self, rows: Ints) -> Frontier:
        return Frontier(*(getattr(self, name)[rows] for name in _FIELDS))

    def meeting(self, target_quality: float | None, budget_usd: float | None) -> int:
        """The one entry that fixed aims leave, by the honest numbers.

        Within the mean cost asked for, the cheapest entry of the quality asked for, or the best one if none has it or
        no quality is asked for.

        Raises:
            RoutewrightError: No entry is as cheap as that.
        """
        fits = np.ones(len(self), dtype=bool) if budget_usd is None else self.honest_usd <= budget_usd
        if not fits.any():
            raise RoutewrightError(
                f"No list costs {budget_usd:.3g} USD a query or less on average; the cheapest costs "
                f"{self.honest_usd.min():.3g}. Raise cascade.budget_usd."
            )
        enough = fits & (self.honest_quality >= (np.inf if target_quality is None else target_quality))
        if enough.any():
            return int(np.where(enough, self.honest_usd, np.inf).argmin())
        return int(np.where(fits, self.honest_quality, -np.inf).argmax())


_FIELDS = ("members", "thresholds", "quality", "cost_usd", "honest_quality", "honest_usd")


def choose(quality: NDArray[Any], cost_usd: NDArray[Any], weight: NDArray[Any], values: Floats) -> tuple[Ints, Floats]:
    """For every trade-off the best candidate, and what choosing so gives on queries it did not choose on.

    Args:
        quality: [F, L] mean score of L candidates on each of F parts.
        cost_usd: [F, L] mean cost.
        weight: [F] share of the queries in each part.
        values: [V] USD per unit of score.

    Returns:
        [V] the candidate, and [V, 2] the honest quality and cost.
    """
    total_q, total_c = weight @ quality, weight @ cost_usd
    picks = np.array([int((v * total_q - total_c).argmax()) for v in values])
    honest = np.zeros((len(values), 2))
    if len(weight) == 1:
        return picks, np.stack([total_q[picks], total_c[picks]], axis=1).astype(np.float64)
    for k, w in enumerate(weight):
        q, c = total_q - w * quality[k], total_c - w * cost_usd[k]
        seen = np.array([int((v * q - c).argmax()) for v in values])
        honest += w * np.stack([quality[k, seen], cost_usd[k, seen]], axis=1)
    return picks, honest


def candidates(lists: Lists, n_models: int, values: Floats, most: int) -> Ints:
    """The columns of the models that belong to the best lists, at most `most`, ascending.

    For every trade-off the models are ranked by the best list they are in; they are taken first of each trade-off, then
    second of each, and so on.
    """
    quality, cost = lists.weight @ lists.quality, lists.weight @ lists.cost_usd
    rank = []
    for v in values:
        gains = v * quality - cost
        best = np.full(n_models, -np.inf)
        for s in range(DEEPEST):
            here = lists.members[:, s] != NOBODY
            np.maximum.at(best, lists.members[here, s], gains[here])
        rank.append(np.argsort(-best, kind="stable"))
    turn = np.stack(rank, axis=1).ravel()
    _, first = np.unique(turn, return_index=True)
    return np.sort(turn[np.sort(first)[:most]])


def search(quality: Floats, cost_usd: Floats, keys: Ints, part: Ints, most: int, deepest: int) -> Lists:
    """All single models, all lists of three, and the lists of four of the `most` models that lists of three favour."""
    m = quality.shape[1]
    pool = np.arange(m)
    values = trade_offs()
    if m > MOST_MODELS:
        alone = evaluate_lists(quality, cost_usd, keys, part, 1)
        pool = candidates(alone, m, values, MOST_MODELS)
    lists = _over(quality, cost_usd, keys, part, pool, min(deepest, 3))
    if len(pool) < m:
        singles = evaluate_lists(quality, cost_usd, keys, part, 1)
        lists = join(singles, _without_singles(lists))
    if deepest >= DEEPEST and m >= DEEPEST:
        few = candidates(lists, m, values[::2], most)
        longest = _over(quality, cost_usd, keys, part, few, DEEPEST)
        four = longest.members[:, DEEPEST - 1] != NOBODY
        lists = join(lists, _some(longest, four))
    return lists


def _over(quality: Floats, cost_usd: Floats, keys: Ints, part: Ints, pool: Ints, deepest: int) -> Lists:
    found = evaluate_lists(quality[:, pool], cost_usd[:, pool], keys[:, pool], part, deepest)
    members = np.where(found.members == NOBODY, NOBODY, pool[found.members.clip(0)])
    return Lists(members, found.quality, found.cost_usd, found.weight)


def _some(lists: Lists, kept: NDArray[Any]) -> Lists:
    return Lists(lists.members[kept], lists.quality[:, kept], lists.cost_usd[:, kept], lists.weight)


def _without_singles(lists: Lists) -> Lists:
    return _some(lists, lists.members[:, 1] != NOBODY)


def join(a: Lists, b: Lists) -> Lists:
    """Both, in this order."""
    return Lists(
        np.concatenate([a.members, b.members]),
        np.concatenate([a.quality, b.quality], axis=1),
        np.concatenate([a.cost_usd, b.cost_usd], axis=1),
        a.weight,
    )


def frontier(lists: Lists, thresholds: Floats | None = None) -> Frontier:
    """The lists that are best at some trade-off, by rising cost; `thresholds` [L, 3] are NaN by default.

    An entry that is best at several trade-offs carries the mean of their honest numbers.
    """
    rows, honest = choose(lists.quality, lists.cost_usd, lists.weight, trade_offs())
    kept, entry = np.unique(rows, return_inverse=True)
    mean = np.stack([np.bincount(entry, honest[:, i]) / np.bincount(entry) for i in range(2)])
    limits = np.full((len(lists), DEEPEST - 1), np.nan) if thresholds is None else thresholds
    quality, cost = (lists.weight @ x[:, kept] for x in (lists.quality, lists.cost_usd))
    found = Frontier(lists.members[kept], limits[kept], quality.astype(float), cost.astype(float), mean[0], mean[1])
    return found.take(np.argsort(found.cost_usd, kind="stable"))
