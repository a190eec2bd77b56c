"""The rewards by name; importing one happens on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.rewards.base import Reward

REWARDS: Table[type[Reward]] = Table(
    "reward",
    {
        "quality": "routewright.rewards.quality:Quality",
        "cost": "routewright.rewards.cost:Cost",
        "latency": "routewright.rewards.latency:Latency",
        "format": "routewright.rewards.format:Format",
        "router_r1": "routewright.rewards.router_r1:RouterR1",
        "success_gated": "routewright.rewards.success_gated:SuccessGated",
    },
)
