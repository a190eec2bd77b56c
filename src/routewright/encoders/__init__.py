"""Text to vectors. One encoder a file; this table names them."""

from __future__ import annotations

from routewright.encoders.base import Encoder, build_encoder, restore_encoder
from routewright.encoders.table import ENCODERS

__all__ = ["ENCODERS", "Encoder", "build_encoder", "restore_encoder"]
