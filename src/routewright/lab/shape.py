"""The sizes of a lab model; apart from the network, so that files are read and written without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    feed: int
    context: int = 512

    @property
    def head(self) -> int:
        return self.width // self.heads
