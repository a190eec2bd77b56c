"""`success_gated`: a bonus for a right answer, less its cost; a wrong answer gets nothing, whatever it cost.

    success_gated = bonus - lambda_cost * cost_usd / reference    if quality >= threshold, else 0        units of bonus

The reference is as in `cost`. Being wrong cheaply is worth no more than being wrong dearly, so a policy is not paid for
giving up; but nor is it paid for spending little where nobody is right. With lambda_cost * cost above the bonus a
right answer is worth less than a wrong one: choose lambda_cost so that this is rare (the reward may be negative, and has
no lower bound).

Source: Qian et al. 2025 (xRouter), arXiv:2510.08439: a bonus when right, minus lambda times cost; 0 when wrong. Router-R1's
code (arXiv:2506.09033) gates the cost in the same way. Differs: `threshold` for graded scores, and a fixed reference, so
that lambda_cost has no unit.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from routewright import config
from routewright.rewards.base import Reward
from routewright.rewards.cost import relative_cost
from routewright.rewards.quality import scored
from routewright.types import Episode


class SuccessGated(Reward):
    """Bonus less cost where the answer is right.

    Example:
        >>> from routewright.types import Episode, Query
        >>> right = Episode(Query("2 + 2?"), (), "4", quality=1.0, cost_usd=0.001, latency_s=0.5, value_usd=0.004)
        >>> wrong = Episode(Query("2 + 2?"), (), "5", quality=0.0, cost_usd=0.001, latency_s=0.5, value_usd=0.004)
        >>> SuccessGated()(right), SuccessGated()(wrong)
        (0.75, 0.0)
    """

    kind = "success_gated"
    summary = "a bonus less the cost where the answer is right, 0 where it is wrong (xRouter)"
    unit: ClassVar[str] = "bonus"

    class Config(config.Config):
        bonus: float = Field(1.0, gt=0, description="what a right answer gets")
        lambda_cost: float = Field(1.0, ge=0, description="weight of the cost, in bonus per reference")
        threshold: float = Field(1.0, gt=0, le=1, description="quality from which an answer counts as right")
        reference_usd: float | None = Field(
            None, gt=0, description="USD that count as 1; by default the episode's value_usd"
        )

    @property
    def bounds(self) -> tuple[float, float]:
        return (float("-inf") if self.config.lambda_cost else 0.0), float(self.config.bonus)

    def __call__(self, episode: Episode) -> float:
        config = self.config
        if scored(episode) < config.threshold:
            return 0.0
        if not config.lambda_cost:
            return float(config.bonus)
        return float(config.bonus - config.lambda_cost * relative_cost(episode, config.reference_usd))
