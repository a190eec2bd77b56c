"""What a trainer of routers asks for: rollouts with rewards, and looks at questions nobody learns from.

    stage = Stage(settings, world, seed)
    batch = stage.rollouts(sampler, ["3", "3", "7", "7"], step=5)      # question 3 twice, question 7 twice
    record = stage.look(sampler)                               # greedy, on what is held out

A group of rollouts, those of one question in one batch, has the same pool, in the same order, under the same names, and the same worth
of a right answer; all of these are drawn from the question and the step, so that processes that share a group agree. Rewards are of whole episodes:

    utility      (value_usd * quality - cost_usd) / (value_usd + reference_usd)      all costs, the router's own too
    router_r1    see `rewards.router_r1`
    malformed    -1, whatever the answer

Needs neither torch nor TRL; called by `train.r1` and by the adapter `train.grpo_trl`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routewright.policies.r1 import R1
from routewright.pools.pool import Pool
from routewright.rewards.per_task import per_task
from routewright.rewards.router_r1 import CostWindow, RouterR1, root_cost
from routewright.train.learner import Learner, Rolled, Sampler, roll
from routewright.train.play import Batch, Record, batch_of, block, entropy, gained, looks, utility, worth_of
from routewright.train.r1_settings import R1Settings
from routewright.train.r1_world import ROUTER, World
from routewright.types import Call, Episode, Floats


@dataclass
class Stage:
    """Plays; keeps the window of costs, and what the last batch was like."""

    settings: R1Settings
    world: World
    seed: int = 0
    told: Record = field(default_factory=dict)
    window: CostWindow = field(default_factory=CostWindow)
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def policy(self, models: Sequence[str], seed: int, repairs: int, renamed: bool | None = None) -> R1:
        """The policy over these models."""
        given = self.settings.policy
        said = {**self.world.descriptions, **given.descriptions}
        return R1(
            R1.Config(
                router=ROUTER,
                form=given.form,
                rounds=given.rounds,
                repairs=repairs,
                turn_tokens=given.turn_tokens,
                reply_tokens=given.reply_tokens,
                models=tuple(models),
                descriptions={name: said[name] for name in models if name in said},
                renamed=given.renamed if renamed is None else renamed,
            ),
            seed,
        )

    @property
    def size(self) -> int:
        return len(self.world.train)

    @property
    def context(self) -> int:
        return self.settings.context

    def rollouts(self, sampler: Sampler, keys: Sequence[str], step: int = 0) -> Batch:
        """An episode for every key, a number in `world.train`; keys that are the same make a group."""
        began = time.perf_counter()
        drawn = {key: self._draw(key, step) for key in dict.fromkeys(keys)}
        rolled, learner = self._play(
            sampler,
            [(self.world.train[int(key)], *drawn[key]) for key in keys],
        )
        rewards = self.rewards([r.episode for r in rolled], [r.value_usd for r in rolled])
        took = time.perf_counter() - began
        self.told = {**described(rolled, keys), "reward": float(rewards.mean())}
        self.told |= {
            "rollouts_per_s": len(keys) / took,
            "tokens_per_s": (learner.tokens_read + learner.tokens_written) / took,
            "on_track": float(np.mean([r.track.whole for r in rolled])),
        }
        return batch_of(rolled, rewards)

    def look(self, sampler: Sampler) -> tuple[Record, Floats]:
        """Everything held out, at several worths, with repairs and the pool's own names: the record, and [Q] utility a question."""
        values = looks(self.settings.reward)
        policy = self.policy(self.world.able, 0, 1, renamed=False)
        asked = [(query, policy, float(value)) for query in self.world.held_out for value in values]
        rolled, _ = self._play(sampler, asked)
        reference = self.settings.reward.reference_usd
        gains = np.array([utility(r.episode, r.value_usd, reference) for r in rolled]).reshape(-1, len(values))
        told = {f"held_out_{k}": v for k, v in described(rolled, []).items()}
        return told, np.asarray(gains.mean(axis=1))

    def rewards(self, episodes: Sequence[Episode], values: Sequence[float]) -> Floats:
        """[N], the rewards of training."""
        reward = self.settings.reward
        if reward.kind == "router_r1":
            for episode in episodes:
                self.window.add(root_cost(episode))
            low, high = self.window.bounds
            one = RouterR1(
                RouterR1.Config(form="code" if reward.code else "paper", alpha=reward.alpha, low=low, high=high)
            )
            made = np.array([one(episode) for episode in episodes])
        else:
            made = np.array([gained(e, v, reward.reference_usd) for e, v in zip(episodes, values, strict=True)])
        return per_task(made, [e.query.task for e in episodes]) if reward.per_task else made

    def _draw(self, key: str, step: int) -> tuple[R1, float]:
        """A pool and a worth for a group."""
        rng = random.Random(f"group/{self.seed}/{step}/{key}")
        absent = self.settings.world.absent
        models = [name for name in self.world.able if rng.random() >= absent] or [rng.choice(self.world.able)]
        return self.policy(models, rng.randrange(2**31), 0), worth_of(self.settings.reward, rng)

    def _play(self, sampler: Sampler, asked: Sequence[tuple[Any, R1, float]]) -> tuple[list[Rolled], Learner]:
        learner = Learner(sampler, ROUTER)
        pool: Pool = learner.into(self.world.pool, self.world.card)
        queries, policies, values = zip(*asked, strict=True)
        return self.runner.run(roll(policies, pool, queries, values)), learner

    def close(self) -> None:
        self.runner.run(self.world.pool.aclose())
        self.runner.close()


def described(rolled: Sequence[Rolled], keys: Sequence[str]) -> Record:
    """What a batch was like: quality, cost, calls, malformed episodes, and the collapse block.

        call_information = H(first model asked) - mean over groups of H(first model asked in the group)     nats

    from groups of few rollouts, so too high by about (models - 1) / (2 * rollouts of a group).
    """
    episodes = [r.episode for r in rolled]
    first = [next(iter(_asked(e)), "") for e in episodes]
    every = [name for e in episodes for name in _asked(e)]
    made = block(episodes, every)
    made["shares"] = {name: every.count(name) / len(every) for name in sorted(set(every))}
    if keys:
        within = [entropy([f for f, k in zip(first, keys, strict=True) if k == key]) for key in dict.fromkeys(keys)]
        made["call_information"] = entropy(first) - float(np.mean(within))
    return made


def _asked(episode: Episode) -> list[str]:
    """Whom the router had asked, in order; what it fell back on is not its choice."""
    return [
        s.reply.model
        for s in episode.steps
        if isinstance(s.action, Call) and not s.action.final and s.reply is not None
    ]
