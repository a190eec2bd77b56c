"""Rollouts of `relay` on a response tree: a network acts, episodes run side by side, what it saw and was given is kept.

The reward of an episode is (value * quality - cost) / (value + reference), paid as it falls due, as for `hops`
(`rollout.py`). A `Ground` is the part of the queries that one acts on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from routewright.episodes.tree import Tree, TreeBatch
from routewright.policies.relay_look import ROLES, Rules, dense
from routewright.policies.relay_net import Net, Rows
from routewright.train.journal import collapse
from routewright.train.rollout import Ended, successors
from routewright.types import Bools, Floats, Ints

Choose = Callable[[Floats, Bools], tuple[Ints, Floats]]  # worths and mask [B, A] -> actions, log-probabilities


@dataclass(frozen=True)
class Ground:
    """Queries of a tree to act on, by number; the pool's rows; what may be done."""

    tree: Tree
    queries: Ints
    rows: Rows
    rules: Rules
    reference_usd: float


@dataclass(frozen=True)
class Steps:
    """N decisions; `after` is the row of the episode's next decision, -1 at its end."""

    node: Ints
    dense: Floats
    mask: Bools
    action: Ints
    log_p: Floats
    scale: Floats
    reward: Floats
    after: Ints


@dataclass(frozen=True)
class TreeEnded(Ended):
    """What B episodes came to; `asked` [M] calls by model, `roles` [3] by role."""

    roles: Ints


def roll(ground: Ground, net: Net, queries: Ints, values: Floats, choose: Choose) -> tuple[Steps, TreeEnded]:
    """Play B episodes to their end, one a query and trade-off."""
    tree, m = ground.tree, len(ground.tree.models)
    batch = TreeBatch(tree, queries, values, ground.rules)
    s, scale = batch.situation, np.asarray(values) + ground.reference_usd
    pieces: list[tuple[Any, ...]] = []
    roles = np.zeros(ROLES, dtype=np.int64)
    full = np.zeros((len(queries), ROLES * m + 2), dtype=bool)
    while not batch.done.all():
        live = np.flatnonzero(~batch.done)
        seen, mask = dense(s, ground.rules, ground.reference_usd)[live], batch.mask()[live]
        node = batch.node[live].copy()
        worth = net.worth(tree.texts.take(node), seen, ground.rows, scale[live])
        chosen, log_p = choose(worth, mask)
        roles += np.bincount(chosen[chosen < ROLES * m] // m, minlength=ROLES)
        actions, spent = np.zeros(len(queries), dtype=np.int64), s.spent_usd.copy()
        actions[live] = chosen
        full[live] = mask
        batch.step(actions, full)
        reward = -(s.spent_usd - spent)[live] / scale[live]
        reward += np.where(batch.done[live], batch.quality[live] * values[live] / scale[live], 0.0)
        pieces.append((live, node, seen, mask, chosen, log_p, scale[live], reward))
    gain = (batch.quality * values - s.spent_usd) / scale
    return _steps(pieces, len(queries)), TreeEnded(
        gain, batch.quality, s.spent_usd.copy(), s.calls.copy(), batch.called.sum(axis=0), roles
    )


def _steps(pieces: list[tuple[Any, ...]], episodes: int) -> Steps:
    node, seen, mask, action, log_p, scale, reward = (np.concatenate([p[k] for p in pieces]) for k in range(1, 8))
    after = successors([p[0] for p in pieces], episodes)
    return Steps(node, seen, mask, action, log_p, scale, reward, after)


def greedy(worth: Floats, mask: Bools) -> tuple[Ints, Floats]:
    """The best allowed action, with certainty."""
    return np.where(mask, worth, -np.inf).argmax(axis=1), np.zeros(len(worth))


def measure(ground: Ground, net: Net, values: Floats) -> tuple[Floats, TreeEnded]:
    """The return [V, Q] of the best actions, every query at every trade-off; and what came of all."""
    n = len(ground.queries)
    queries, worths = np.tile(ground.queries, len(values)), np.repeat(values, n)
    _, ended = roll(ground, net, queries, worths, greedy)
    return ended.gain.reshape(len(values), n), ended


def block(ended: TreeEnded) -> dict[str, Any]:
    """The collapse block, with quality and calls by role."""
    return {**collapse([ended]), "quality": float(ended.quality.mean()), "roles": ended.roles.tolist()}
