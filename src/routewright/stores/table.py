"""The stores by name; importing one happens on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.stores.base import Store

STORES: Table[type[Store]] = Table(
    "store",
    {
        "memory": "routewright.stores.memory:Memory",
        "sqlite": "routewright.stores.sqlite:SQLite",
        "postgresql": "routewright.stores.postgresql:PostgreSQL",
    },
)
