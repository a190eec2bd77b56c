"""What trainings by reinforcement have in common: a stage that plays, batches of rollouts, what an episode gained.

Called by `grpo_trl`, by `r1_play` and by `r2_play`; needs neither torch nor TRL.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.stats

from routewright.rewards.format import Format
from routewright.train.learner import Rolled, Sampler
from routewright.train.r1_settings import RewardSettings
from routewright.types import Episode, Floats

Record = dict[str, Any]
_LOOKS = 5


@dataclass(frozen=True)
class Batch:
    """Rollouts as a trainer takes them: tokens of the opening, tokens after it, which of those the router wrote, and rewards [N]."""

    prompts: list[list[int]]
    completions: list[list[int]]
    written: list[list[int]]
    logprobs: list[list[float]]
    rewards: Floats


class Stage(Protocol):
    """Where a language model in training plays."""

    told: Record  # what the last batch was like

    @property
    def size(self) -> int:
        """How many questions there are to learn from."""

    @property
    def context(self) -> int:
        """Tokens that a rollout may have."""

    def rollouts(self, sampler: Sampler, keys: Sequence[str], step: int = 0) -> Batch:
        """An episode for every key, the number of a question; keys that are the same make a group."""

    def look(self, sampler: Sampler) -> tuple[Record, Floats]:
        """Everything held out: what it was like, and [Q] utility a question."""


def looks(reward: RewardSettings) -> Floats:
    """Worths of a right answer that a look plays, spread evenly over the logarithm of the range."""
    low, high = reward.value_usd
    return np.geomspace(low, high, _LOOKS) if high > low else np.array([low])


def worth_of(reward: RewardSettings, rng: random.Random) -> float:
    """Drawn evenly over the logarithm of the range."""
    low, high = np.log(reward.value_usd)
    return float(np.exp(rng.uniform(low, high)))


def utility(episode: Episode, value_usd: float, reference_usd: float) -> float:
    """What an episode gained, of the most it could gain.

        u = (value_usd * quality - cost_usd) / (value_usd + reference_usd)

    The reference keeps the rewards of questions that are worth little from drowning all others.

    Example:
        >>> from routewright.types import Query
        >>> utility(Episode(Query("2 + 2?"), (), "4", quality=1.0, cost_usd=0.002, latency_s=0.1), 0.01, 0.001)
        0.7272727272727273
    """
    quality = episode.quality or 0.0
    return max((value_usd * quality - episode.cost_usd) / (value_usd + reference_usd), -1.0)


def gained(episode: Episode, value_usd: float, reference_usd: float) -> float:
    """The reward of training: the utility, and -1 for what could not be read, whatever the answer."""
    return -1.0 if Format()(episode) < 0 else utility(episode, value_usd, reference_usd)


def block(episodes: Sequence[Episode], calls: Sequence[str]) -> Record:
    """What episodes were like, and the collapse block of who was asked in them."""
    largest = max((calls.count(name) / len(calls) for name in set(calls)), default=0.0)
    return {
        "quality": float(np.mean([e.quality or 0.0 for e in episodes])),
        "usd": float(np.mean([e.cost_usd for e in episodes])),
        "calls": len(calls) / len(episodes),
        "malformed": float(np.mean([Format()(e) < 0 for e in episodes])),
        "call_entropy": entropy(calls),
        "largest_share": largest,
        "collapsed": largest > 0.95 or not calls,
    }


def entropy(names: Sequence[str]) -> float:
    """Of the shares of the names, nats.

    Example:
        >>> round(entropy(["a", "b", "a", "b"]), 3), entropy([])
        (0.693, 0.0)
    """
    return float(scipy.stats.entropy(list(Counter(names).values()))) if names else 0.0


def batch_of(rolled: Sequence[Rolled], rewards: Floats) -> Batch:
    """What a trainer takes of rollouts."""
    tracks = [r.track for r in rolled]
    return Batch(
        [t.tokens[: t.opening] for t in tracks],
        [t.tokens[t.opening :] for t in tracks],
        [[int(w) for w in t.written[t.opening :]] for t in tracks],
        [t.logprobs[t.opening :] for t in tracks],
        rewards,
    )
