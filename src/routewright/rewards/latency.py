"""`latency`: how long the episode took, relative to a reference.

    latency = episode.latency_s / reference_s        0 or more, without unit

On live pools this is the wall clock from start to end; in recorded and simulated worlds the calls' own latencies along
the path that was waited for.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from routewright import config
from routewright.rewards.base import Reward
from routewright.types import Episode


class Latency(Reward):
    """Seconds over a reference.

    Example:
        >>> from routewright.types import Episode, Query
        >>> Latency(Latency.Config(reference_s=2.0))(Episode(Query("2 + 2?"), (), "4", 1.0, cost_usd=0.0, latency_s=0.5))
        0.25
    """

    kind = "latency"
    summary = "seconds from start to end, over a reference"
    unit: ClassVar[str] = "references"

    class Config(config.Config):
        reference_s: float = Field(1.0, gt=0, description="seconds that count as 1")

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, float("inf")

    def __call__(self, episode: Episode) -> float:
        return float(episode.latency_s / self.config.reference_s)
