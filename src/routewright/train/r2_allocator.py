"""The allocator of `r2` by reinforcement on whole answers, the decomposer held fixed: policy gradient with groups of rollouts.

    p[m]   proportional to  exp( (quality[m] + delta[m] - cost[m] / value) / temperature )      delta = x . W, see `r2_allocate`
    R      = right - cost_of_the_episode / value                                  units of a right answer; all tokens are priced
    A[g,n] = R[g,n] - mean_n R[g,n]                                               N rollouts of one question at one value
    step   : Adam on  sum over rollouts A * sum over subtasks d log p / d W  -  decay * W

Calls for a whole question, where the decomposer wants no plan, are allocations like those of subtasks. What only one model may do,
and tries after a review, carry no gradient. Rollouts are the engine's,
on a pool whose replies are kept (`remembering`) and charged every time. The greedy policy is looked at on questions held back; what is
kept is the best W met there, if it beats the W it began with by more than a standard error of the paired difference; else that one. It
begins with the policy's own W if it has one, else with W = 0.

Reference: Shao et al. 2024 (GRPO), arXiv:2402.03300, its group advantage. Differs: one step a batch, so no clipping; not scaled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from routewright.config import Config
from routewright.episodes.engine import run
from routewright.policies.r2 import R2
from routewright.policies.r2_allocate import WIDTH, features
from routewright.pools.pool import Pool
from routewright.types import Call, Decision, Episode, Floats, Query

Told = Callable[[dict[str, Any]], None]
_FIRST, _SECOND, _EPS = 0.9, 0.999, 1e-8


class Reinforcement(Config):
    """Settings."""

    updates: int = Field(30, ge=0, description="batches")
    questions: int = Field(16, ge=1, description="of a batch")
    rollouts: int = Field(8, ge=2, description="of a question")
    temperature: float = Field(0.15, gt=0, description="of the exploring allocation, in values of a right answer")
    rate: float = Field(0.03, gt=0, description="step size of Adam")
    decay: float = Field(1e-3, ge=0, description="pull of W towards zero")
    least_usd: float = Field(
        3e-4, gt=0, description="smallest value of a right answer in training, USD; drawn log-uniformly"
    )
    most_usd: float = Field(1e-2, gt=0, description="largest, USD")
    watch_every: int = Field(5, ge=1, description="batches between looks at questions held back")


def like(policy: R2, **options: object) -> R2:
    """The policy with other options; what it has learnt is shared."""
    made = R2(policy.config.model_copy(update=options), policy.seed)
    made.forecaster, made.fits = policy.forecaster, policy.fits
    if policy.weights is not None:
        made.take(policy.names, policy.weights)
    return made


async def reinforce(
    policy: R2,
    pool: Pool,
    train: Sequence[Query],
    held_out: Sequence[Query],
    settings: Reinforcement,
    seed: int = 0,
    told: Told | None = None,
) -> list[dict[str, Any]]:
    """Train W of a policy with forecasts, in place; `pool` has a judge. Returns the history."""
    assert policy.forecaster is not None
    rng = np.random.default_rng(seed)
    names = tuple(c.name for c in policy._cards(_blank(pool)))
    names = tuple(n for n in names if n in policy.forecaster.router.models)
    start = np.zeros((WIDTH + 1, len(names)))
    if policy.weights is not None:
        known = dict(zip(policy.names, policy.weights.T, strict=True))
        start = np.stack([known.get(n, np.zeros(WIDTH + 1)) for n in names], axis=1)
    w = start.copy()
    first, second, best = np.zeros_like(w), np.zeros_like(w), w.copy()
    values = np.exp(rng.uniform(np.log(settings.least_usd), np.log(settings.most_usd), len(held_out)))
    policy.take(names, w)
    base = await _looked(policy, pool, held_out, values)
    kept = {"gain": 0.0, "error": 0.0, "update": 0}
    history: list[dict[str, Any]] = []
    for update in range(1, settings.updates + 1):
        policy.take(names, w)
        batch = [train[i] for i in rng.integers(len(train), size=settings.questions)]
        worth = np.exp(rng.uniform(np.log(settings.least_usd), np.log(settings.most_usd), len(batch)))
        played = await _rolled(
            like(policy, temperature=settings.temperature, itself=""), pool, batch, worth, settings.rollouts, rng
        )
        rewards = np.array([[_reward(e, v) for e in group] for group, v in zip(played, worth, strict=True)])
        advantages = rewards - rewards.mean(axis=1, keepdims=True)
        gradient = np.zeros_like(w)
        for group, row in zip(played, advantages, strict=True):
            for episode, advantage in zip(group, row.tolist(), strict=True):
                if advantage:
                    gradient += advantage * score_gradient(policy, episode, names, settings.temperature)
        gradient = gradient / rewards.size - settings.decay * w
        first = _FIRST * first + (1 - _FIRST) * gradient
        second = _SECOND * second + (1 - _SECOND) * gradient**2
        w = w + settings.rate * (first / (1 - _FIRST**update)) / (np.sqrt(second / (1 - _SECOND**update)) + _EPS)
        record = {"update": update, "return": float(rewards.mean()), **_collapse([e for g in played for e in g])}
        if update % settings.watch_every == 0 or update == settings.updates:
            policy.take(names, w)
            gap = await _looked(policy, pool, held_out, values) - base
            gain, error = float(gap.mean()), float(gap.std() / np.sqrt(len(gap)))
            record |= {"held_out_gain": gain, "held_out_error": error}
            if gain > kept["gain"]:
                kept, best = {"gain": gain, "error": error, "update": update}, w.copy()
        history.append(record)
        if told is not None:
            told(record)
    beats = kept["gain"] > kept["error"]
    policy.take(names, best if beats else start)
    history.append(
        {
            "update": settings.updates,
            "kept": beats,
            "start": float(base.mean()),
            **{f"best_{k}": v for k, v in kept.items()},
        }
    )
    return history


def score_gradient(policy: R2, episode: Episode, names: Sequence[str], temperature: float) -> Floats:
    """[WIDTH + 1, M] the gradient of log p of an episode's allocations with respect to W.

    d log p[a] / d W[:, m] = x * (1[m = a] - p[m]) / temperature
    """
    out = np.zeros((WIDTH + 1, len(names)))
    assert policy.forecaster is not None
    for step in episode.steps:
        decision, action = step.decision, step.action
        if not isinstance(decision, Decision) or not isinstance(action, Call):
            continue
        if decision.probability is None or decision.probability >= 1.0:
            continue
        text = action.prompt if action.prompt is not None else episode.query.text
        may = [names.index(n) for n in decision.choices if n in names]
        forecast = policy.forecaster.forecast([Query(text)]).take([names[m] for m in may])
        x = features(text)
        delta = (x @ policy.weights[:, may]) if policy.weights is not None else np.zeros(len(may))
        z = (forecast.quality[0] + delta - forecast.cost_usd[0] / episode.value_usd) / temperature
        p = np.exp(z - z.max())
        p /= p.sum()
        pull = -p
        pull[may.index(names.index(str(action.model)))] += 1.0
        out[:, may] += np.outer(x, pull) / temperature
    return out


def _reward(episode: Episode, value_usd: float) -> float:
    return float(episode.quality or 0.0) - episode.cost_usd / value_usd


async def _rolled(
    policy: R2, pool: Pool, batch: Sequence[Query], values: Floats, n: int, rng: np.random.Generator
) -> list[list[Episode]]:
    seeds = rng.integers(2**31, size=(len(batch), n))
    slots = asyncio.Semaphore(16)

    async def one(query: Query, value: float, seed: int) -> Episode:
        async with slots:
            return await run(policy, pool, query, value, rng=np.random.default_rng(seed))

    made = [[one(q, float(v), int(s)) for s in row] for q, v, row in zip(batch, values, seeds, strict=True)]
    return [list(await asyncio.gather(*group)) for group in made]


async def _looked(policy: R2, pool: Pool, queries: Sequence[Query], values: Floats) -> Floats:
    """[Q] returns of the greedy policy that always plans."""
    greedy = like(policy, temperature=0.0, itself="")
    done = [await run(greedy, pool, q, float(v)) for q, v in zip(queries, values, strict=True)]
    return np.array([_reward(e, float(v)) for e, v in zip(done, values, strict=True)])


def _collapse(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Who gets the subtasks."""
    calls = Counter(
        s.reply.model for e in episodes for s in e.steps if isinstance(s.action, Call) and s.reply is not None
    )
    total = max(sum(calls.values()), 1)
    share = np.array([n / total for n in calls.values()] or [1.0])
    return {
        "quality": float(np.mean([e.quality or 0.0 for e in episodes])),
        "cost_usd": float(np.mean([e.cost_usd for e in episodes])),
        "calls": total / len(episodes),
        "largest_share": float(share.max()),
        "entropy_bits": float(-(share * np.log2(share)).sum()),
    }


def _blank(pool: Pool) -> Any:
    from routewright.episodes.transition import begin

    return begin(Query(""), pool.cards, 0.0)
