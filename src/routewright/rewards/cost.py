"""`cost`: what the whole episode was charged, relative to a reference.

    cost = episode.cost_usd / reference        0 or more, without unit

The reference is `reference_usd`, fixed beforehand (the best single model's mean cost on the training split, so that 1 is
what that model costs); or by default the episode's own `value_usd`, so that

    quality - cost = (value_usd * quality - cost_usd) / value_usd = utility / value_usd

Every step is in it, as the ledger was charged: replies, failed calls and retries, hedges, and what a policy had written
for its own deciding. What an upstream claims beyond its bound (`overrun_usd`) was not charged and is not in it.

Source: Router-R1 (arXiv:2506.09033) rewards low cost as well. Differs: there the cost is completion tokens alone, its
root, scaled to percentiles of the last 1,000 trajectories, so the same episode is worth another sum an hour later; failed
calls and the router's own tokens are free. Here all is priced, and the scale is fixed.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from routewright import config
from routewright.errors import RoutewrightError
from routewright.rewards.base import Reward
from routewright.types import Episode


class Cost(Reward):
    """Cost over a reference.

    Example:
        >>> from routewright.types import Episode, Query
        >>> episode = Episode(Query("2 + 2?"), (), "4", quality=1.0, cost_usd=0.001, latency_s=0.5, value_usd=0.004)
        >>> Cost()(episode), Cost(Cost.Config(reference_usd=0.0005))(episode)
        (0.25, 2.0)
    """

    kind = "cost"
    summary = "what all steps were charged, over a fixed reference or the episode's value_usd"
    unit: ClassVar[str] = "references"

    class Config(config.Config):
        reference_usd: float | None = Field(
            None, gt=0, description="USD that count as 1; by default the episode's value_usd"
        )

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, float("inf")

    def __call__(self, episode: Episode) -> float:
        return relative_cost(episode, self.config.reference_usd)


def relative_cost(episode: Episode, reference_usd: float | None) -> float:
    """Cost over the reference, or over the episode's value where there is none."""
    reference = episode.value_usd if reference_usd is None else reference_usd
    if not reference > 0:
        raise RoutewrightError(
            f"A cost of {episode.cost_usd:.3g} USD can not be set against value_usd = {episode.value_usd:g}. Expected a value "
            "above 0, or a fixed reference: give the reward a reference_usd."
        )
    return episode.cost_usd / reference
