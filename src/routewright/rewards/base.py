"""What a reward is: a pure function of a finished episode, with a unit and bounds.

    rewards, weights = build_rewards([{"kind": "quality"}, {"kind": "cost", "weight": -1.0}])
    told = parts(episode, rewards)         # {"quality": 1.0, "cost": 0.031}: what a log keeps
    reward = total(told, weights)          # 0.969: what a learner is given

In a run's TOML:

    reward = [{ kind = "quality", weight = 1.0 }, { kind = "cost", weight = -1.0 }]

Costs and latencies are told as they are, 0 or more; their weight is negative. Parts are joined by `total` alone, so a log
always shows what was weighed. What an episode does not tell (its quality, mostly) raises; it is never a silent zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from routewright.config import Config, parse
from routewright.errors import ConfigError, RoutewrightError
from routewright.rewards.table import REWARDS
from routewright.types import Episode


class NoOptions(Config):
    """A reward without options."""


class Reward(ABC):
    """Base of the rewards. Calling one twice gives the same number and changes nothing."""

    Config: ClassVar[type[Config]] = NoOptions
    kind: ClassVar[str]
    summary: ClassVar[str]
    unit: ClassVar[str]

    def __init__(self, config: Any = None) -> None:
        self.config: Any = config if config is not None else self.Config()

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The least and the most it can be, in `unit`; infinite where nothing bounds it."""

    @abstractmethod
    def __call__(self, episode: Episode) -> float:
        """The reward of an episode, finite and within `bounds`."""


def build_reward(kind: str, options: Mapping[str, Any] | None = None) -> Reward:
    """A reward by name; `UnknownName` or `ConfigError` on bad input."""
    cls = REWARDS.load(kind)
    return cls(parse(cls.Config, options or {}, f"reward {kind!r}"))


def build_rewards(entries: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Reward], dict[str, float]]:
    """Rewards and their weights, by kind, from the entries of a run's TOML.

    Args:
        entries: Each with `kind`, `weight` (1 if left out; may be negative), and the options of that kind.

    Raises:
        ConfigError: No entry, no kind, a kind twice, or a weight that is no finite number.
        UnknownName: A kind that is not in the table.
    """
    if not entries:
        raise ConfigError("reward is empty. Expected at least one entry, such as { kind = 'quality' }.")
    rewards: dict[str, Reward] = {}
    weights: dict[str, float] = {}
    for entry in entries:
        kind, weight = entry.get("kind"), entry.get("weight", 1.0)
        if not isinstance(kind, str):
            raise ConfigError(f"A reward has kind = {kind!r}. Expected one of: {', '.join(REWARDS)}.")
        if kind in rewards:
            raise ConfigError(f"The reward {kind!r} is listed twice. Expected each kind once, with one weight.")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise ConfigError(f"The weight of the reward {kind!r} is {weight!r}. Expected a finite number.")
        rewards[kind] = build_reward(kind, {k: v for k, v in entry.items() if k not in ("kind", "weight")})
        weights[kind] = float(weight)
    return rewards, weights


def parts(episode: Episode, rewards: Mapping[str, Reward]) -> dict[str, float]:
    """Every reward of an episode by name, each in its own unit."""
    return {name: reward(episode) for name, reward in rewards.items()}


def total(parts: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The one number a learner is given.

        total = sum_k weights[k] * parts[k]

    Raises:
        RoutewrightError: A part without a weight, a weight without a part, or a part that is no finite number.
    """
    if parts.keys() != weights.keys():
        odd = sorted(parts.keys() ^ weights.keys())
        raise RoutewrightError(
            f"Parts {', '.join(parts) or 'none'} and weights {', '.join(weights) or 'none'} differ in {', '.join(odd)}. "
            "Expected a weight for every part and no other; a part that is not to count has weight 0."
        )
    for name, part in parts.items():
        if not math.isfinite(part):
            raise RoutewrightError(f"The reward {name!r} is {part}. Expected a finite number; this is a defect of it.")
    return math.fsum(weights[name] * part for name, part in parts.items())
