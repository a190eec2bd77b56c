"""`random`: a model drawn evenly for each query, from the text's hash. What ignorance costs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from routewright.scorers.blind import Blind
from routewright.types import Bools, Query


class Random(Blind):
    """Forecasts each model's mean and rules out all but one, drawn from the seed and the query's text."""

    kind: ClassVar[str] = "random"
    summary: ClassVar[str] = "a model drawn evenly for each query (control)"

    def _allowed(self, queries: Sequence[Query]) -> Bools | None:
        drawn = [zlib.crc32(q.text.encode("utf-8", "replace"), self.seed) % len(self.models) for q in queries]
        mine: Bools = np.arange(len(self.models)) == np.array(drawn, dtype=np.int64)[:, None]
        return mine
