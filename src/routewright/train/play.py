"""What trainings by reinforcement have in common: a stage that plays, batches of rollouts, what an episode gained.

Called by `grpo_trl`, by `r1_play` and by `r2_play`; needs neither torch nor TRL.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from routewright.train.learner import Rolled, Sampler
from routewright.train.r1_settings import RewardSettings
from routewright.types import Episode, Floats

Record = dict[str, Any]


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
