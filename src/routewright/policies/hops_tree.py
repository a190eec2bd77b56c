"""Planning over classes of queries: for every trade-off the best action in every situation, by backward induction.

After d <= 4 replies all that is known is which models were asked, in which order, and who says the same (a sequence and
a pattern, `hops_patterns.py`). The classes (`hops_classes.py`) give each situation its probability, jointly with the
expected score of every reply and the expected cost of the next one, so that the best plan for value v is exact:

    J(s) = max(  stop:   E[score of the answer; s]                                  the better of `last` and `vote`
                 ask m:  sum_s' J(s')  -  E[cost of m; s] / v    over the situations s' that m's reply can lead to )

with everything weighted by the probability of s, so that nothing is divided. A situation seen twice in training has no
voice of its own: it is known through the classes, which is what keeps the choice among thousands of plans from choosing
noise.

Trade-offs are planned for in bands, each over the few models that good lists use there (`frontier.candidates`).

Reference: Bellman 1957; optimal stopping and choice of experiments, DeGroot 1970, chapters 12 and 14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays
from routewright.errors import RoutewrightError
from routewright.policies.frontier import candidates, trade_offs
from routewright.policies.hops_classes import Classes
from routewright.policies.hops_patterns import (
    Sequences,
    assigned,
    grown,
    joins,
    patterns,
    sequences,
    speaker,
)
from routewright.policies.observe import Observation
from routewright.policies.search import Lists
from routewright.types import Bools, Floats, Ints

BAND = 6  # trade-offs that share their candidate models: a decade
RANKS = 4  # actions kept for a situation: the best, and what to do where that does not fit a budget
MOST_COLUMNS = 12  # of a band; more take minutes to plan over
STOP_LAST, STOP_VOTE = 0, 1  # counted from the number of columns on
_SMALLEST = 1e-12  # USD per unit of score, for the trade-off 0


@dataclass(frozen=True)
class Situations:
    """Everything known of the situations of one depth: `mass` [S, P] their probability, `last` and `vote` [S, P] that times
    the expected score of the answer, `cost_usd` [S, P, C] that times the expected cost of asking each column next (0 at the
    deepest, where nobody is asked)."""

    mass: Floats
    last: Floats
    vote: Floats
    cost_usd: Floats


def situations(classes: Classes, members: Sequences) -> list[Situations]:
    """By depth. `classes` over the columns of `members`."""
    found = []
    weight = classes.share.reshape(
        1, 1, -1
    )  # [S, 4^d, K] every choice of parts along a sequence, jointly with the class
    mass = weight.sum(axis=2)
    for d in range(len(members.members)):
        ends = d == len(members.members) - 1
        if d:
            step = classes.chance[:, members.members[d][:, -1]].transpose(1, 0, 2)  # [S, K, 4]
            before = weight[members.parent[d]]
            mass = (before @ step).reshape(len(step), -1)
            if not ends:
                weight = (before[:, :, None] * step.transpose(0, 2, 1)[:, None]).reshape(len(step), mass.shape[1], -1)
        parts, shown = assigned(d)
        to = np.zeros((len(shown), len(patterns(d))))
        to[np.arange(len(shown)), shown] = 1.0
        last, vote = np.zeros((2, len(mass), to.shape[1]))
        if d:
            asked = members.members[d]
            last = (mass * classes.right[asked[:, -1]][:, parts[:, -1]]) @ to
            place = speaker(d)[shown]
            vote = (mass * classes.right[asked[:, place], parts[np.arange(len(parts)), place]]) @ to
        cost = np.zeros((len(mass), to.shape[1], members.columns))
        if not ends:
            cost = np.einsum("sak,ap->spk", weight, to, optimize=True) @ classes.cost_usd
        found.append(Situations(mass @ to, last, vote, cost))
    return found


def plan(known: Sequence[Situations], members: Sequences, values: Floats) -> tuple[list[Ints], Floats]:
    """By depth [V, S, P, R] the best actions, best first: a column, or the number of columns + STOP_*; and [V] the plan's
    expected score - cost / value. What comes after a stop is worse than stopping; -1: nothing more."""
    deepest, c = len(known) - 1, members.columns
    worth = np.maximum(values, _SMALLEST)[:, None, None]
    end = known[deepest]
    after = np.broadcast_to(np.maximum(end.last, end.vote), (len(values), *end.last.shape))
    actions = [np.where(end.vote >= end.last, c + STOP_VOTE, c + STOP_LAST)[None, ..., None]]
    for d in range(deepest - 1, -1, -1):
        here = known[d]
        best = np.full((len(values), *here.last.shape), -np.inf)
        action = np.zeros(best.shape, dtype=np.int64)
        if d:
            best[:] = np.maximum(here.last, here.vote)
            action[:] = np.where(here.vote >= here.last, c + STOP_VOTE, c + STOP_LAST)
        every = np.full((*best.shape, c + 1), -np.inf)
        every[..., c] = best
        stop = action.copy()
        for m in range(c):
            open_to = np.flatnonzero(members.child[d][:, m] >= 0)
            following = after[:, members.child[d][open_to, m]]
            gain = -here.cost_usd[open_to, :, m] / worth
            for e in range(d + 2):
                possible = grown(d)[:, e] >= 0
                gain[:, :, possible] += following[:, :, grown(d)[possible, e]]
            every[..., m][:, open_to] = gain
            better = gain > best[:, open_to] + 1e-12 * here.mass[open_to]
            action[:, open_to] = np.where(better, m, action[:, open_to])
            best[:, open_to] = np.where(better, gain, best[:, open_to])
        actions.append(_ranked(every, action, stop))
        after = best
    return actions[::-1], after[:, 0, 0]


def _ranked(every: Floats, best: Ints, stop: Ints) -> Ints:
    """[V, S, P, R] the best actions, best first, -1 where there are no more.

    Args:
        every: [V, S, P, C + 1] the worth of each call, and of stopping; -inf: not possible.
        best: [V, S, P] the action planned, which is first whatever rounding says.
        stop: [V, S, P] how to stop.
    """
    c = every.shape[-1] - 1
    first = np.minimum(best, c)[..., None]
    every = every.copy()
    np.put_along_axis(every, first, np.inf, axis=-1)
    order = np.argsort(-every, axis=-1, kind="stable")[..., :RANKS]
    there = np.take_along_axis(every, order, axis=-1) > -np.inf
    return np.where(~there, -1, np.where(order == c, stop[..., None], order))


@dataclass(frozen=True)
class Band:
    """Plans for some neighbouring trade-offs. `columns` [C] of the pool; `actions` by depth [V, S, P, R], the last [1, S, P, 1]."""

    columns: Ints
    actions: tuple[NDArray[np.int8], ...]

    @property
    def deepest(self) -> int:
        return len(self.actions) - 1

    def act(self, obs: Observation, rows: Ints, which: Ints) -> tuple[Ints, Bools]:
        """[n, RANKS] the best actions of these rows, numbered as in an observation, and [n] whether the plan knows the situation.

        Args:
            which: [n] place of each row's trade-off in the band.
        """
        m, n, c = len(obs.models), len(rows), len(self.columns)
        place = np.full(m + 1, -1)
        place[self.columns] = np.arange(c)
        order, key, steps = obs.order[rows], obs.key[rows], obs.steps[rows]
        members = sequences(c, self.deepest)
        sequence, pattern = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        keys, groups = np.full((n, self.deepest), -1), np.full((n, self.deepest), -1)
        known = steps <= self.deepest
        out = np.full((n, RANKS), -1)
        for d in range(self.deepest + 1):
            here = np.flatnonzero(known & (steps == d))
            plans = self.actions[d]
            at = which[here] if len(plans) > 1 else 0
            found = plans[at, sequence[here], pattern[here]]
            out[here, : found.shape[1]] = found
            if d == self.deepest:
                break
            going = known & (steps > d)
            asked = np.where(going & (order == d).any(axis=1), (order == d).argmax(axis=1), m)
            column = place[asked]
            following = np.where(column >= 0, members.child[d][sequence, column.clip(0)], -1)
            known &= ~going | (following >= 0)
            new = np.where(known & going, key[np.arange(n), asked.clip(max=m - 1)], -1)
            group = joins(keys[:, :d], new, groups[:, :d])
            moving = known & going
            sequence = np.where(moving, following, sequence)
            pattern = np.where(moving, grown(d)[pattern, group.clip(-1, d) + 1], pattern)
            keys[:, d], groups[:, d] = new, group
        numbered = np.where(out < c, self.columns[out.clip(0, c - 1)], m + out - c)
        return np.where(out < 0, -1, numbered), known


@dataclass(frozen=True)
class Tree:
    """Plans for all trade-offs: `values` [V] ascending, V / BAND bands."""

    values: Floats
    bands: tuple[Band, ...]

    def act(self, obs: Observation) -> tuple[Ints, Bools]:
        """[B, RANKS] planned actions, best first, -1: no more; and [B] whether the plans know the situation.

        A trade-off is rounded, in its logarithm.
        """
        logs = np.log(np.maximum(self.values, _SMALLEST))
        wanted = np.log(np.maximum(obs.value_usd, _SMALLEST))
        nearest = np.searchsorted((logs[1:] + logs[:-1]) / 2, wanted)
        action, known = np.full((len(obs), RANKS), -1), np.zeros(len(obs), dtype=bool)
        for b, band in enumerate(self.bands):
            rows = np.flatnonzero(nearest // BAND == b)
            if len(rows):
                action[rows], known[rows] = band.act(obs, rows, nearest[rows] % BAND)
        return action, known

    def arrays(self) -> Arrays:
        found: Arrays = {"tree.values": self.values}
        for b, band in enumerate(self.bands):
            found[f"tree.{b}.columns"] = band.columns
            found |= {f"tree.{b}.{d}": actions for d, actions in enumerate(band.actions)}
        return found

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Tree:
        bands: list[Band] = []
        while (columns := arrays.get(f"tree.{len(bands)}.columns")) is not None:
            b = len(bands)
            depth = sum(name.startswith(f"tree.{b}.") for name in arrays) - 1
            bands.append(Band(columns, tuple(arrays[f"tree.{b}.{d}"] for d in range(depth))))
        return cls(arrays["tree.values"], tuple(bands))


def grow(classes: Classes, lists: Lists, deepest: int, of: int) -> Tree:
    """Plan for every trade-off.

    Args:
        classes: Over the whole pool.
        lists: What the candidate models of a band are found in.
        deepest: Calls at most, 1 .. 4.
        of: Candidate models in a band.
    """
    values = trade_offs()
    bands: list[Band] = []
    for at in range(0, len(values), BAND):
        mine = values[at : at + BAND]
        bands.append(_band(classes, candidates(lists, len(classes.right), mine, of), mine, deepest))
    return Tree(values, tuple(bands))


def widened(tree: Tree, classes: Classes, column: int, deepest: int) -> Tree:
    """Plan again, with one more candidate model in every band.

    Args:
        classes: Over the pool with that model.
        column: Its place there.
        deepest: As in `grow`.

    Raises:
        RoutewrightError: A band has 12 models already.
    """
    bands: list[Band] = []
    for b, band in enumerate(tree.bands):
        if len(band.columns) >= MOST_COLUMNS:
            raise RoutewrightError(
                f"The plans weigh {len(band.columns)} models already, {MOST_COLUMNS} are the most. Fit the policy on outcomes of "
                "the whole pool, which chooses among all of them."
            )
        mine = tree.values[b * BAND : (b + 1) * BAND]
        bands.append(_band(classes, np.append(band.columns, column), mine, deepest))
    return Tree(tree.values, tuple(bands))


def _band(classes: Classes, columns: Ints, values: Floats, deepest: int) -> Band:
    members = sequences(len(columns), min(deepest, len(columns)))
    actions, _ = plan(situations(classes.take(columns), members), members, values)
    return Band(columns, tuple(a.astype(np.int8) for a in actions))
