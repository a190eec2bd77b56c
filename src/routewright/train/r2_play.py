"""Where a half of `r2` is trained: rollouts of whole answers with the other half held fixed, and looks at questions held out.

    stage = R2Stage(settings, world, policy, "decomposer", fixed={})
    batch = stage.rollouts(sampler, ["3", "3", "7", "7"], step=5)      # question 3 twice, question 7 twice

One text is learnt from in every episode: the plan, or the allocation. So texts are not mended and plans are not made again in
rollouts; in looks they are, as `policy` says. A group shares what a right answer is worth, drawn from question and step. Rewards:

    (value_usd * quality - cost_usd) / (value_usd + reference_usd)  +  weight * verdict         the verdict of a process review
    malformed    -1, whatever the answer

A half that is fixed and is a network is asked greedily; one that is forecasts is the policy's own. Needs neither torch nor TRL.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from routewright.policies.r2 import R2
from routewright.policies.r2_state import written_by
from routewright.pools.pool import Endpoint, Pool
from routewright.train.learner import Learner, Rolled, Sampler, roll
from routewright.train.play import Batch, Record, batch_of, block, gained, looks, utility, worth_of
from routewright.train.r2_allocator import like
from routewright.train.r2_course_settings import Half, R2Settings
from routewright.train.r2_review import filled, reviewed
from routewright.train.r2_world import DataWorld
from routewright.train.remembering import Remembering
from routewright.types import Call, Episode, Floats, Plan, Query


@dataclass(frozen=True)
class Questions:
    """The world's questions, those to learn from and those to look at."""

    train: tuple[Query, ...]
    held_out: tuple[Query, ...]


def divided(world: DataWorld, held_out: int, seed: int) -> Questions:
    """`held_out` of the questions apart, drawn at random."""
    queries = [one.query for one in world.asked]
    random.Random(f"held out/{seed}").shuffle(queries)
    return Questions(tuple(queries[held_out:]), tuple(queries[:held_out]))


def with_networks(pool: Pool, networks: Mapping[str, Sampler]) -> Pool:
    """The pool with networks in the place of the models of these names; each text is made once, and charged every time."""
    for name, sampler in networks.items():
        made = Learner(sampler, name, tracked=False).into(pool, pool.members[name].card)
        member = made.members[name]
        end = member.endpoint
        kept = replace(member, endpoint=Endpoint(end.name, Remembering(end.provider), end.calls, end.entry))
        pool = replace(made, members={**made.members, name: kept})
    return pool


@dataclass
class R2Stage:
    """Plays for one half."""

    settings: R2Settings
    world: DataWorld
    questions: Questions
    policy: R2
    half: Half
    fixed: Mapping[str, Sampler]
    context: int
    seed: int = 0
    told: Record = field(default_factory=dict)
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def __post_init__(self) -> None:
        self.pool = with_networks(
            self.world.pool, self.fixed
        )  # once: what the fixed half writes is kept for the whole stage

    @property
    def size(self) -> int:
        return len(self.questions.train)

    @property
    def name(self) -> str:
        """What is trained, as the pool calls it."""
        c = self.policy.config
        return str(c.decomposer if self.half == "decomposer" else c.allocator)

    def rollouts(self, sampler: Sampler, keys: Sequence[str], step: int = 0) -> Batch:
        began = time.perf_counter()
        worth = {k: worth_of(self.settings.reward, random.Random(f"group/{self.seed}/{step}/{k}")) for k in set(keys)}
        policy = like(self.policy, repairs=0, replans=0, itself="")
        queries = [self.questions.train[int(k)] for k in keys]
        rolled, learner = self._play(sampler, policy, queries, [worth[k] for k in keys])
        reference = self.settings.reward.reference_usd
        rewards = np.array([gained(r.episode, r.value_usd, reference) for r in rolled])
        self.told = {}
        if (review := self.settings.review).model:
            verdicts, usd = self.runner.run(
                reviewed([r.episode for r in rolled], self.world.pool, review.model, review.tokens)
            )
            rewards = rewards + review.weight * filled(verdicts, keys)
            self.told |= {"review_usd": usd, "review_unread": float(np.isnan(verdicts).mean())}
        took = time.perf_counter() - began
        self.told |= {**described(rolled, self.name), "reward": float(rewards.mean())}
        self.told |= {
            "rollouts_per_s": len(keys) / took,
            "tokens_per_s": (learner.tokens_read + learner.tokens_written) / took,
        }
        return batch_of(rolled, rewards)

    def look(self, sampler: Sampler) -> tuple[Record, Floats]:
        """Everything held out, at several worths: the record, and [Q] utility a question."""
        values = looks(self.settings.reward)
        held = self.questions.held_out
        queries, worth = [q for q in held for _ in values], np.tile(values, len(held)).tolist()
        rolled, _ = self._play(sampler, like(self.policy, itself=""), queries, worth)
        gains = np.array([utility(r.episode, r.value_usd, self.settings.reward.reference_usd) for r in rolled])
        told = {f"held_out_{k}": v for k, v in described(rolled, self.name).items()}
        return told, np.asarray(gains.reshape(-1, len(values)).mean(axis=1))

    def _play(
        self, sampler: Sampler, policy: R2, queries: Sequence[Query], values: Sequence[float]
    ) -> tuple[list[Rolled], Learner]:
        learner = Learner(sampler, self.name)
        pool = learner.into(self.pool, self.pool.members[self.name].card)
        return self.runner.run(roll([policy] * len(queries), pool, queries, values)), learner


def described(rolled: Sequence[Rolled], name: str) -> Record:
    """What a batch was like: quality, cost, plans, malformed episodes, and who does the work.

    `planned` is the share of episodes with a plan, `subtasks` their mean number, `written` tokens of the network an episode.
    """
    episodes = [r.episode for r in rolled]
    sizes = [len(s.action.calls) for e in episodes for s in e.steps if isinstance(s.action, Plan)]
    calls = [c for e in episodes for c in _workers(e)]
    texts = [s.reply for e in episodes for s in e.steps if written_by(s, name) and s.reply is not None]
    return {
        **block(episodes, calls),
        "planned": float(np.mean([any(isinstance(s.action, Plan) for s in e.steps) for e in episodes])),
        "subtasks": float(np.mean(sizes)) if sizes else 0.0,
        "written": sum(t.usage.tokens_out for t in texts) / len(episodes),
    }


def _workers(episode: Episode) -> list[str]:
    """Who was asked to solve something."""
    return [s.reply.model for s in episode.steps if isinstance(s.action, Call) and s.reply is not None]
