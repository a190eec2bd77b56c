"""Ordered lists of models, all of them at once: what every list would have answered and cost on recorded replies.

A list (a, b, c, d) is asked one model after the other until two replies agree; the agreed answer stands, and if no two
agree, the last reply does. Here the mean quality and cost of every such list of up to four models is computed exactly,
a few million lists a second, because with

    S[a, b, q] = 1 if a and b say the same to q          (equal keys; a reply without a key agrees with nobody)
    D[a, b, q] = 1 - S[a, b, q]
    G[a][q, n] = S[a, n, q] * (y[q, a] - y[q, n])        (y: quality; what it changes that n agrees with a)

the lists are matrix products over the queries: agreement is transitive, so of the replies that differ at most one can
agree with the next, and

    quality(a, b, c)    = sum_q S_ab y_a + D_ab (y_c + G_a[c] + G_b[c])
    quality(a, b, c, d) = sum_q S_ab y_a + D_ab (S_ac y_a + S_bc y_b) + E_abc (y_d + G_a[d] + G_b[d] + G_c[d])

where E_abc = D_ab D_ac D_bc marks the queries on which three differ. Both of the first two are always asked, so they
are listed cheaper first and each pair once. A list of two never beats its second model asked alone under this rule and
is left out.

`stages` follows a few chosen lists query by query, for stop rules of any kind. Not here: which list is chosen
(`frontier.py`), and what a reply's chance of being right is (`verifier.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routewright.types import Bools, Floats, Ints

Singles32 = NDArray[np.float32]
DEEPEST = 4  # models in a list
NOBODY = -1  # pads lists shorter than that


def agreement(keys: Ints) -> Bools:
    """[M, M, Q] whether two models gave equal keys to a query; never for a reply without a key (-1)."""
    k = np.ascontiguousarray(keys.T)
    same: Bools = (k[:, None] == k[None]) & (k >= 0)[:, None]
    return same


@dataclass(frozen=True)
class Lists:
    """L lists with what they reach: `members` [L, 4] columns of the pool, padded with -1.

    `quality` and `cost_usd` are [F, L], means over the queries of each of F parts; `weight` [F] is the share of the
    queries in each part, so `weight @ quality` is the mean over all.
    """

    members: Ints
    quality: Singles32
    cost_usd: Singles32
    weight: Singles32

    def __len__(self) -> int:
        return len(self.members)


def evaluate_lists(quality: Floats, cost_usd: Floats, keys: Ints, part: Ints, deepest: int = DEEPEST) -> Lists:
    """Quality and cost of every list of one, three and (if `deepest` is 4) four models.

    Args:
        quality: [Q, M] score of each reply.
        cost_usd: [Q, M] its cost, USD.
        keys: [Q, M] equal within a row where two replies say the same, -1 where nothing can be compared.
        part: [Q] part of each query, 0 .. F-1, none empty.
        deepest: 1, 3 or 4; the longest list.

    Returns:
        M + P (M - 2) (1 + (M - 3)) lists for P = M (M - 1) / 2 pairs: 41 models give 1,214,000.
    """
    m = quality.shape[1]
    by_cost = np.argsort(cost_usd.mean(axis=0), kind="stable")
    first, second = (by_cost[i] for i in np.triu_indices(m, 1))
    order = np.lexsort((second, first))
    pairs = np.stack([first[order], second[order]], axis=1)
    depths = [1, *([3] if deepest >= 3 and m >= 3 else []), *([4] if deepest >= 4 and m >= 4 else [])]
    members = [_members(pairs, m, depth) for depth in depths]
    found = []
    for f in range(int(part.max()) + 1):
        rows = part == f
        found.append(_one_part(quality[rows], cost_usd[rows], keys[rows], pairs, depths, members))
    weight = np.bincount(part).astype(np.float32) / len(part)
    whole = np.concatenate([_pad(x) for x in members])
    return Lists(whole, np.stack([q for q, _ in found]), np.stack([c for _, c in found]), weight.astype(np.float32))


def _members(pairs: Ints, m: int, depth: int) -> Ints:
    """[L, depth] the lists of that depth, in the order of the products' ravelled cells."""
    if depth == 1:
        return np.arange(m)[:, None]
    at = np.indices((len(pairs), *([m] * (depth - 2)))).reshape(depth - 1, -1)
    whole = np.concatenate([pairs[at[0]], at[1:].T], axis=1)
    return np.asarray(whole[_distinct(whole)])


def _distinct(members: Ints) -> Bools:
    kept = np.ones(len(members), dtype=bool)
    for i in range(2, members.shape[1]):
        kept &= (members[:, :i] != members[:, i : i + 1]).all(axis=1)
    return kept


def _pad(members: Ints) -> Ints:
    out = np.full((len(members), DEEPEST), NOBODY)
    out[:, : members.shape[1]] = members
    return out


def _one_part(
    quality: Floats, cost_usd: Floats, keys: Ints, pairs: Ints, depths: list[int], members: list[Ints]
) -> tuple[Singles32, Singles32]:
    """[L] mean quality and [L] mean cost over some queries."""
    n, m = quality.shape
    y, c = quality.T.astype(np.float32), cost_usd.T.astype(np.float32)
    same = agreement(keys)
    means_q, means_c = [y.mean(axis=1)], [c.mean(axis=1)]
    if len(depths) > 1:
        a, b = pairs.T
        differ = (~same[a, b]).astype(np.float32)  # [P, Q]
        gain = same * (y[:, None] - y[None])  # [M, M, Q]: gain[a, n] is G_a[n]
        agreed = np.where(same[a, b], y[a], 0.0).sum(axis=1)  # [P]
        asked = c[a].sum(axis=1) + c[b].sum(axis=1)
        triples_q = agreed[:, None] + differ @ y.T + _by_member(differ, a, gain) + _by_member(differ, b, gain)
        triples_c = asked[:, None] + differ @ c.T
        at = tuple(_index(pairs, members[1], m))
        means_q.append((triples_q[at] / n).astype(np.float32))
        means_c.append((triples_c[at] / n).astype(np.float32))
    if len(depths) > 2:
        three = differ[:, None] * ~same[a] * ~same[b]  # [P, M, Q]: E
        # What two agreeing replies among the first three give: the triples' sum less what its last reply gave alone.
        quads_q = (triples_q - np.einsum("pmq,mq->pm", three, y))[:, :, None] + three @ y.T
        quads_q += _by_member(three, a, gain) + _by_member(three, b, gain)
        for third in range(m):
            quads_q[:, third] += three[:, third] @ gain[third].T
        quads_c = triples_c[:, :, None] + three @ c.T
        at = tuple(_index(pairs, members[2], m))
        means_q.append((quads_q[at] / n).astype(np.float32))
        means_c.append((quads_c[at] / n).astype(np.float32))
    return np.concatenate(means_q), np.concatenate(means_c)


def _index(pairs: Ints, members: Ints, m: int) -> list[Ints]:
    """Cells of the products that hold these lists."""
    number = np.full((m, m), NOBODY)
    number[pairs[:, 0], pairs[:, 1]] = np.arange(len(pairs))
    return [number[members[:, 0], members[:, 1]], *members[:, 2:].T]


def _by_member(left: Singles32, member: Ints, gain: Singles32) -> Singles32:
    """[P, ..., M] left[p] @ gain[member[p]].T, one product a model."""
    out = np.empty((*left.shape[:-1], gain.shape[1]), dtype=np.float32)
    for i in np.unique(member):
        rows = member == i
        out[rows] = left[rows] @ gain[i].T
    return out


@dataclass(frozen=True)
class Stages:
    """L lists followed through Q queries: what they would answer and have spent after 1 .. 4 replies.

    `quality` [S, L, Q] is the score of the answer if one stopped there, `cost_usd` [S, L, Q] what was spent, `agreed`
    [S, L, Q] whether two replies agree by then; beyond a list's end they stay. `depth` [L] is its length.
    """

    quality: Singles32
    cost_usd: Singles32
    agreed: Bools
    depth: Ints


def stages(members: Ints, quality: Floats, cost_usd: Floats, same: Bools) -> Stages:
    """Follow lists through queries; the answer is the largest group's first reply, or the last reply if all differ.

    Args:
        members: [L, 4] padded with -1.
        quality: [Q, M].
        cost_usd: [Q, M].
        same: [M, M, Q] from `agreement`.
    """
    y, c = quality.T.astype(np.float32), cost_usd.T.astype(np.float32)
    n_lists, n = len(members), y.shape[1]
    out_q = np.empty((DEEPEST, n_lists, n), dtype=np.float32)
    out_c, agreed = np.empty_like(out_q), np.zeros(out_q.shape, dtype=bool)
    out_q[0], out_c[0] = y[members[:, 0]], c[members[:, 0]]
    size = np.ones((DEEPEST, n_lists, n), dtype=np.int8)  # replies so far that say what reply i says
    for s in range(1, DEEPEST):
        here = members[:, s] != NOBODY
        new = np.where(here, members[:, s], 0)
        out_q[s], out_c[s] = out_q[s - 1], out_c[s - 1] + np.where(here[:, None], c[new], 0.0)
        joined = np.zeros((n_lists, n), dtype=bool)
        for i in range(s):
            with_i = same[members[:, i].clip(0), new] & here[:, None]
            size[i] += with_i & ~joined  # counted at the group's first reply
            joined |= with_i
        size[s] = np.where(joined, 0, 1)
        largest = size[: s + 1].argmax(axis=0)  # of equal groups the one that was first
        agreed[s] = agreed[s - 1] | joined
        first = np.take_along_axis(members, largest, axis=1).clip(0)
        voted = y[first, np.arange(n)]
        out_q[s] = np.where(here[:, None], np.where(agreed[s], voted, y[new]), out_q[s])
    return Stages(out_q, out_c, agreed, (members != NOBODY).sum(axis=1))


def stop_at(stop: Bools, depth: Ints) -> Ints:
    """[L, Q] the stage at which a list ends: the first where `stop` [S, L, Q] holds, else its last."""
    end = np.arange(DEEPEST)[:, None, None] >= (depth - 1)[None, :, None]
    found: Ints = (stop | end).argmax(axis=0)
    return found


def choose_stage(values: Singles32, stage: Ints) -> Singles32:
    """[L, Q] the values [S, L, Q] at the stages where the lists end."""
    return np.asarray(np.take_along_axis(values, stage[None], axis=0)[0])
