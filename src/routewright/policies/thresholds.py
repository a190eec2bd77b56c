"""Thresholds for lists: from which chance of being right an answer is good enough, stage by stage.

A list stops after reply s if the verifier's probability of its answer is at least t[s]; NaN stands for the rule without
a verifier, "two replies agree", infinity for "never here". Which thresholds serve which trade-off is a search like that
over lists: every (list, thresholds) of a grid is a candidate, its quality and cost are means over queries whose
probabilities come from a verifier that did not see them, and the frontier takes the best at each trade-off.

The first threshold says when one reply is enough (AutoMix's question), the other two are one number: how sure to be
after two or three. Nine values and eight were not better on unseen queries than the four and three here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routewright.outcomes.arrays import Outcomes
from routewright.policies.frontier import candidates, trade_offs
from routewright.policies.search import DEEPEST, NOBODY, Lists, agreement, choose_stage, stages, stop_at
from routewright.policies.verifier import Fitted, fit_verifier, seen_after
from routewright.types import Floats, Ints

FIRST = (0.7, 0.85, 0.94, np.inf)
LATER = (np.nan, 0.7, 0.9)
_TOP = 12  # lists kept for each trade-off
_PREFIXES = 30  # of two models, and as many of three, that the verifier is fitted on


@dataclass(frozen=True)
class Searched:
    """Candidates with thresholds [L, 3], and the verifier they are meant for."""

    lists: Lists
    thresholds: Floats
    fitted: Fitted


def search_thresholds(
    outcomes: Outcomes, forecast: Floats | None, lists: Lists, part: Ints, most: int, seed: int
) -> Searched:
    """Fit a verifier and evaluate thresholds for the lists that are good by agreement, and for all lists of two.

    Args:
        outcomes: Q queries with answer keys.
        forecast: [Q, M] forecast quality by a scorer that saw none of these queries, or None.
        lists: Evaluated by agreement.
        part: [Q] the parts the lists were evaluated on, at least 2.
        most: Models the verifier knows, and lists of two are made of.
        seed: Of the lists it is fitted on.
    """
    columns = candidates(lists, len(outcomes.models), trade_offs()[::2], most)
    fitted = fit_verifier(outcomes, forecast, columns, some_lists(columns, seed), part)
    members = shortlist(lists, columns)
    p = held_out(fitted, outcomes, forecast, members, part)
    assert outcomes.keys is not None
    run = stages(members, outcomes.quality, outcomes.cost_usd, agreement(outcomes.keys))
    share = np.zeros((len(part), int(part.max()) + 1), dtype=np.float32)
    share[np.arange(len(part)), part] = 1.0
    share /= share.sum(axis=0)
    quality, cost, limits = [], [], []
    for first in FIRST:
        for later in LATER:
            limit = np.array([first, later, later])
            met = run.agreed.copy()  # at stage 4, and where the threshold is NaN
            for s, t in enumerate(limit):
                if not np.isnan(t):
                    met[s] = p[s] >= t
            at = stop_at(met, run.depth)
            quality.append((choose_stage(run.quality, at) @ share).T)
            cost.append((choose_stage(run.cost_usd, at) @ share).T)
            limits.append(np.broadcast_to(limit, (len(members), DEEPEST - 1)))
    found = Lists(
        np.tile(members, (len(limits), 1)), np.concatenate(quality, axis=1), np.concatenate(cost, axis=1), lists.weight
    )
    return Searched(found, np.concatenate(limits), fitted)


def shortlist(lists: Lists, columns: Ints) -> Ints:
    """[L, 4] the best lists of each trade-off, also with the first two exchanged, and all lists of two of `columns`."""
    quality, cost = lists.weight @ lists.quality, lists.weight @ lists.cost_usd
    top = [np.argsort(cost - v * quality, kind="stable")[:_TOP] for v in trade_offs()]
    best = lists.members[np.unique(np.concatenate(top))]
    longer = best[best[:, 1] != NOBODY]
    first, second = (columns[i] for i in np.nonzero(~np.eye(len(columns), dtype=bool)))
    rest = np.full(len(first), NOBODY)
    return np.concatenate([longer, longer[:, [1, 0, 2, 3]], np.stack([first, second, rest, rest], axis=1)])


def held_out(fitted: Fitted, outcomes: Outcomes, forecast: Floats | None, members: Ints, part: Ints) -> Floats:
    """[3, L, Q] the probability of each list's answer after 1, 2, 3 replies, by verifiers that did not see the query.

    Lists that begin alike share the work. Beyond a list's end it is 1.
    """
    p = np.ones((DEEPEST - 1, len(members), len(outcomes)))
    for s in range(DEEPEST - 1):
        here = np.flatnonzero(members[:, s] != NOBODY)
        if not len(here):
            continue
        starts, which = np.unique(members[here, : s + 1], axis=0, return_inverse=True)
        own = np.stack([fitted.held_out(seen_after(outcomes, start), forecast, part) for start in starts.tolist()])
        p[s, here] = own[which.ravel()]
    return p


def some_lists(columns: Ints, seed: int) -> list[Sequence[int]]:
    """Every model of `columns` alone, and some lists of two and three: what a verifier is fitted on."""
    rng = np.random.default_rng(seed)
    found: list[Sequence[int]] = [[int(c)] for c in columns]
    for n in (2, 3):
        if len(columns) >= n:
            found += [rng.choice(columns, n, replace=False).tolist() for _ in range(_PREFIXES)]
    return found
