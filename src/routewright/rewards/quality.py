"""`quality`: how good the answer was, as the episode's world or judge scored it.

    quality = episode.quality        in [0, 1], units of score

An episode that nobody scored has no quality, and raises: live traffic without feedback is not wrong.
"""

from __future__ import annotations

from typing import ClassVar

from routewright.errors import RoutewrightError
from routewright.rewards.base import Reward
from routewright.types import Episode


class Quality(Reward):
    """The terminal score.

    Example:
        >>> from routewright.types import Episode, Query
        >>> Quality()(Episode(Query("2 + 2?"), (), "4", quality=1.0, cost_usd=0.001, latency_s=0.5))
        1.0
    """

    kind = "quality"
    summary = "the score of the answer; an episode without one raises"
    unit: ClassVar[str] = "score"

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __call__(self, episode: Episode) -> float:
        return scored(episode)


def scored(episode: Episode) -> float:
    """The quality of an episode; `RoutewrightError` where it has none in [0, 1]."""
    quality = episode.quality
    if quality is None or not 0.0 <= quality <= 1.0:
        raise RoutewrightError(
            f"The episode of query {episode.query.query_id or episode.query.text[:60]!r} has quality {quality}. Expected a "
            "score in [0, 1]: run it on a recorded or simulated pool, or give the pool a judge."
        )
    return float(quality)
