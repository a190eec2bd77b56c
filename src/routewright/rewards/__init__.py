"""What an episode was worth: pure functions of it, one a file, kept apart until the last moment."""

from __future__ import annotations

from routewright.rewards.base import Reward, build_reward, build_rewards, parts, total
from routewright.rewards.table import REWARDS

__all__ = ["REWARDS", "Reward", "build_reward", "build_rewards", "parts", "total"]
