"""The encoders there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.encoders.base import Encoder

ENCODERS: Table[type[Encoder]] = Table(
    "encoder",
    {
        "hashing": "routewright.encoders.hashing:Hashing",
        "minilm": "routewright.encoders.minilm:Minilm",
        "hybrid": "routewright.encoders.hybrid:Hybrid",
    },
)
