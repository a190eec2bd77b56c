"""`blind`: each model's mean, whatever the query. The control that must score 0 above the line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays, Meta
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.base import Scorer
from routewright.types import Floats, Query


class Blind(Scorer):
    """quality[q, m] = mean quality of m in training."""

    kind: ClassVar[str] = "blind"
    summary: ClassVar[str] = "each model's mean quality and cost, whatever the query (control)"
    reads_text: ClassVar[bool] = False

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        self._mean = outcomes.quality.mean(axis=0)
        self._std = outcomes.quality.std(axis=0)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        return np.repeat(self._mean[None], len(queries), axis=0), self._std

    def _state(self) -> tuple[Arrays, Meta]:
        return {"mean": self._mean, "std": self._std}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._mean, self._std = arrays["mean"], arrays["std"]
