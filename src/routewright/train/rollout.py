"""Rollouts on recorded answers: a head acts, episodes run side by side, what it saw and was given is kept.

The reward of an episode is (value * quality - cost) / (value + reference), paid as it falls due: a call's cost when it is
made, the score with the answer. Dividing by value + reference keeps returns within [-cost / reference, 1] at every
trade-off, which are drawn log-uniformly (one head, the whole frontier).

A `Ground` is a part of the training queries with classes and a guide fitted without it: a head is trained and validated
on what it will meet, never on forecasts for queries that made them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from routewright.episodes.batched import Batch
from routewright.episodes.recorded import RecordedWorld, world_of
from routewright.outcomes.arrays import Outcomes
from routewright.policies.base import ArrayPolicy
from routewright.policies.hops_classes import Classes
from routewright.policies.hops_head import Head, Seen, look
from routewright.policies.observe import Observation
from routewright.types import Bools, Floats, Ints

Choose = Callable[[Seen], tuple[Ints, Floats]]  # actions [B], and the logarithm of their probability


@dataclass(frozen=True)
class Ground:
    """Queries to act on, and what is known of the pool without them."""

    world: RecordedWorld
    classes: Classes  # over the columns
    columns: Ints
    guide: ArrayPolicy | None
    deepest: int
    reference_usd: float
    exactly: bool = False
    without: str = ""
    usual: Floats | None = None

    def see(self, obs: Observation) -> Seen:
        guided = np.full(len(obs), -1)
        if self.guide is not None:
            guided, _ = self.guide.act(obs, None, np.random.default_rng(0))
        given = self.classes, self.columns, obs, guided, self.deepest, self.reference_usd
        return look(*given, self.exactly, self.without, self.usual)

    def action(self, chosen: Ints) -> Ints:
        """Actions of a head as an observation numbers them."""
        c = len(self.columns)
        return np.where(chosen < c, self.columns[chosen.clip(0, c - 1)], len(self.world.models) + chosen - c)


@dataclass(frozen=True)
class Steps:
    """N decisions of finished episodes; `after` is the row of the episode's next decision, -1 at its end."""

    x: Floats
    facts: Floats
    mask: np.ndarray
    action: Ints
    log_p: Floats
    reward: Floats
    after: Ints


@dataclass(frozen=True)
class Ended:
    """What B episodes came to: `gain` [B] the return, `quality`, `cost_usd`, `calls`, and `asked` [C] calls per column."""

    gain: Floats
    quality: Floats
    cost_usd: Floats
    calls: Ints
    asked: Ints


def others_of(outcomes: Outcomes, part: Ints) -> list[tuple[RecordedWorld, Outcomes]]:
    """For every part its world, and the outcomes of all other parts: what may be known there."""
    worst = world_of(outcomes).worst
    return [
        (
            replace(world_of(outcomes.take(np.flatnonzero(part == k))), worst=worst),
            outcomes.take(np.flatnonzero(part != k)),
        )
        for k in range(int(part.max()) + 1)
    ]


def roll(ground: Ground, rows: Ints, values: Floats, choose: Choose, keep: bool = True) -> tuple[Steps | None, Ended]:
    """Play episodes to their end.

    Args:
        rows: [B] queries of the ground.
        values: [B] value_usd of each.
        choose: Which action to take.
        keep: Whether the decisions are wanted.
    """
    batch = Batch(ground.world, rows, values)
    scale = values + ground.reference_usd
    pieces: list[tuple[Ints, Seen, Ints, Floats, Floats]] = []
    while not batch.done.all():
        live = np.flatnonzero(~batch.done)
        obs = batch.observation()
        seen = ground.see(some(obs, live))
        chosen, log_p = choose(seen)
        actions = np.zeros(len(rows), dtype=np.int64)
        actions[live] = ground.action(chosen)
        spent = batch.cost_usd
        batch.step(actions, obs)
        reward = -(batch.cost_usd - spent)[live] / scale[live]
        reward += np.where(batch.done[live], batch.quality[live] * values[live] / scale[live], 0.0)
        if keep:
            pieces.append((live, seen, chosen, log_p, reward))
    gain = (batch.quality * values - batch.cost_usd) / scale
    asked = (batch.facts.order[:, ground.columns] >= 0).sum(axis=0)
    done = Ended(gain, batch.quality, batch.cost_usd, batch.facts.steps, asked)
    return (_steps(pieces, len(rows)) if keep else None), done


def _steps(pieces: Sequence[tuple[Ints, Seen, Ints, Floats, Floats]], episodes: int) -> Steps:
    return Steps(
        np.concatenate([p[1].x for p in pieces]),
        np.concatenate([p[1].facts for p in pieces]),
        np.concatenate([p[1].mask for p in pieces]),
        np.concatenate([p[2] for p in pieces]),
        np.concatenate([p[3] for p in pieces]),
        np.concatenate([p[4] for p in pieces]),
        successors([p[0] for p in pieces], episodes),
    )


def successors(live: Sequence[Ints], episodes: int) -> Ints:
    """[N] row of each decision's next one, -1 at an episode's end; `live` are the episodes that decide, turn by turn."""
    starts = np.cumsum([0, *(len(rows) for rows in live)])
    after = []
    for t, rows in enumerate(live):
        following = np.full(episodes, -1)
        if t + 1 < len(live):
            following[live[t + 1]] = starts[t + 1] + np.arange(len(live[t + 1]))
        after.append(following[rows])
    return np.concatenate(after)


def draw(scores: Floats, mask: Bools, explore: float, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """[B] actions drawn from the softmax of [B, A] mixed with the uniform choice, and the logarithm of their probability."""
    scores = np.where(mask, scores, -np.inf)
    raw = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = (1 - explore) * raw / raw.sum(axis=1, keepdims=True) + explore * mask / mask.sum(axis=1, keepdims=True)
    drawn = (p.cumsum(axis=1) > rng.random(len(p))[:, None] * p.sum(axis=1, keepdims=True)).argmax(axis=1)
    return drawn, np.log(p[np.arange(len(p)), drawn])


def some(obs: Observation, rows: Ints) -> Observation:
    """The same for some of its episodes."""
    arrays = {f.name: getattr(obs, f.name)[rows] for f in fields(obs) if f.name != "models"}
    return replace(obs, **arrays)


def greedy(head: Head) -> Choose:
    """The best allowed action of a head, with certainty."""

    def choose(seen: Seen) -> tuple[Ints, Floats]:
        scores = np.where(seen.mask, head.scores(seen.x), -np.inf)
        return scores.argmax(axis=1), np.zeros(len(scores))

    return choose


def draw_values(rng: np.random.Generator, n: int, low: float, high: float) -> Floats:
    """[n] log-uniform."""
    return np.asarray(np.exp(rng.uniform(np.log(low), np.log(high), n)))


def measure(grounds: Sequence[Ground], head: Head, values: Floats) -> list[Floats]:
    """By ground the return [V, Q] of a head's best actions, every query at every trade-off."""
    found = []
    for ground in grounds:
        n = len(ground.world.outcomes)
        _, done = roll(ground, np.tile(np.arange(n), len(values)), np.repeat(values, n), greedy(head), keep=False)
        found.append(done.gain.reshape(len(values), n))
    return found
