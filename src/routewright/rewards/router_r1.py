"""`router_r1`: Router-R1's reward, as the paper has it and as its code has it; they differ.

    x = sum over calls of completion tokens * price        (`prices` given: the original's; else all that was charged), 1e-6 USD
    c = 1 - clip((sqrt(x) - low) / (high - low), 0, 1)     0.5 where high - low < 1e-8

    paper   R = -1 if f = -1, else (1 - alpha) * quality + alpha * c
    code    R = -1 if f = -1, else 0 if quality < threshold, else (1 - alpha) + alpha * c

f is `format`. `low` and `high` are the 5th and 95th percentile of sqrt(x) over the last 1,000 trajectories (`CostWindow` has
them), or two fixed numbers: with a moving window the same episode is worth another sum an hour later. In the paper's form
a wrong and cheap answer is worth up to alpha, which pays for giving up; in the code's it is worth nothing.

Source: Zhang et al. 2025, arXiv:2506.09033, sections 3.2 and 3.3, and its published code. Differs: quality may be graded;
by default every token is priced, the router's and failed calls too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from routewright import config
from routewright.errors import RoutewrightError
from routewright.rewards.base import Reward
from routewright.rewards.format import Format
from routewright.rewards.quality import scored
from routewright.types import Call, Episode

_FLAT = 1e-8


class RouterR1(Reward):
    """Router-R1's reward of an episode.

    Example:
        >>> from routewright.types import Episode, Query
        >>> wrong, right = (Episode(Query("2 + 2?"), (), "4", quality=q, cost_usd=9e-6, latency_s=0.5) for q in (0.0, 1.0))
        >>> paper = RouterR1(RouterR1.Config(alpha=0.6, low=1.0, high=5.0))
        >>> code = RouterR1(RouterR1.Config(alpha=0.6, low=1.0, high=5.0, form="code"))
        >>> [round(r(episode), 6) for r in (paper, code) for episode in (wrong, right)]  # c = 0.5
        [0.3, 0.7, 0.0, 0.7]
    """

    kind = "router_r1"
    summary = "Router-R1's reward: format, quality and normalised cost, as in its paper or as in its code"
    unit: ClassVar[str] = "reward"

    class Config(config.Config):
        form: Literal["paper", "code"] = Field("paper", description="which of the two; see the module")
        alpha: float = Field(0.6, ge=0, le=1, description="weight of the cost")
        low: float = Field(0.0, ge=0, description="sqrt of the cost, in 1e-6 USD, that is rewarded with 1")
        high: float = Field(30.0, ge=0, description="likewise with 0")
        threshold: float = Field(1.0, gt=0, le=1, description="quality from which `code` counts an answer as right")
        prices: dict[str, float] = Field(
            {},
            description="USD per million tokens written, by model: only these calls' replies count; empty: all charges",
        )

        @model_validator(mode="after")
        def _in_order(self) -> RouterR1.Config:
            if self.low > self.high:
                raise ValueError(f"low = {self.low:g} is above high = {self.high:g}. Expected low <= high.")
            return self

    @property
    def bounds(self) -> tuple[float, float]:
        return -1.0, 1.0

    def __call__(self, episode: Episode) -> float:
        c = self.config
        if Format()(episode) < 0:
            return -1.0
        quality = scored(episode)
        cheap = normalised(root_cost(episode, c.prices), c.low, c.high)
        if c.form == "paper":
            return float((1 - c.alpha) * quality + c.alpha * cheap)
        return 0.0 if quality < c.threshold else float((1 - c.alpha) + c.alpha * cheap)


def root_cost(episode: Episode, prices: Mapping[str, float] | None = None) -> float:
    """sqrt(x) of an episode, x in 1e-6 USD: of its calls' written tokens at `prices`, or of all charges without them.

    Raises:
        RoutewrightError: A model that was asked has no price: a call is never free, or it would be learnt to ask that one.
    """
    if not prices:
        return math.sqrt(max(episode.cost_usd, 0.0) * 1e6)
    calls = [s.reply for s in episode.steps if isinstance(s.action, Call) and s.reply is not None]
    missing = sorted({reply.model for reply in calls} - set(prices))
    if missing:
        raise RoutewrightError(
            f"router_r1.prices has no price of {', '.join(missing)}. Expected one of every model that is asked: {', '.join(prices)} "
            "are there; or leave prices out, so that all charges count."
        )
    return math.sqrt(sum(reply.usage.tokens_out * prices[reply.model] for reply in calls))


def normalised(root: float, low: float, high: float) -> float:
    """1 at `low` or below, 0 at `high` or above, straight between; 0.5 where the two are the same.

    Example:
        >>> normalised(3.0, 1.0, 5.0), normalised(9.0, 1.0, 5.0), normalised(3.0, 2.0, 2.0)
        (0.5, 0.0, 0.5)
    """
    if high - low < _FLAT:
        return 0.5
    return 1.0 - min(max((root - low) / (high - low), 0.0), 1.0)


class CostWindow:
    """Percentiles of the root costs of the last trajectories of training; evaluation must not add to it.

    Example:
        >>> window = CostWindow(size=100)
        >>> for root in range(101):
        ...     window.add(float(root))
        >>> window.bounds  # of 1 to 100, the first has fallen out
        (5.95, 95.05)
    """

    def __init__(self, size: int = 1000) -> None:
        self._kept: deque[float] = deque(maxlen=size)

    def add(self, root: float) -> None:
        self._kept.append(root)

    @property
    def bounds(self) -> tuple[float, float]:
        """(5th, 95th percentile); (0, 0) while there is none."""
        if not self._kept:
            return 0.0, 0.0
        low, high = np.percentile(np.array(self._kept), [5, 95])
        return round(float(low), 12), round(float(high), 12)
