"""The dialects by name; importing one happens on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.gateway.dialects.base import Dialect

_HERE = "routewright.gateway.dialects."
DIALECTS: Table[type[Dialect]] = Table(
    "dialect",
    {"chat": _HERE + "chat:Chat", "responses": _HERE + "responses:Responses", "messages": _HERE + "messages:Messages"},
)
