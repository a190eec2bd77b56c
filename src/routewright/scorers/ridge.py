"""`ridge`: quality as a linear function of the text vector, one strength for all models by leave-one-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays, Meta
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.base import Scorer
from routewright.scorers.linear import decompose, ridge
from routewright.types import Floats, Query


class Ridge(Scorer):
    """quality[q] = (x[q] - centre) @ weights + offset; `quality_std` is the leave-one-out error of each model."""

    kind: ClassVar[str] = "ridge"
    summary: ClassVar[str] = "quality linear in the text vector"

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        fit = ridge(decompose(x), outcomes.quality)
        self._centre, self._weights, self._offset = fit.centre, fit.weights, fit.offset
        self._std = np.sqrt(((fit.loo - outcomes.quality) ** 2).mean(axis=0))

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        return (x - self._centre) @ self._weights + self._offset, self._std

    def _state(self) -> tuple[Arrays, Meta]:
        return {
            "centre": self._centre,
            "weights": self._weights,
            "offset": self._offset,
            "std": self._std,
        }, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._centre, self._weights, self._offset = arrays["centre"], arrays["weights"], arrays["offset"]
        self._std = arrays["std"]
