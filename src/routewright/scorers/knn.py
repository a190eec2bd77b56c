"""`knn`: the mean outcome of the most similar training queries.

    quality[q, m] = 1 / k * sum over the k nearest n of  quality[n, m]        nearest by cosine

The baseline that most learned routers fail to beat (Li 2025, arXiv:2505.12601).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Arrays, Meta
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.base import Scorer
from routewright.types import Floats, Query

_BLOCK = 512  # queries compared at once


class KNNConfig(Config):
    """Options of `knn`."""

    k: int = Field(40, ge=1, description="neighbours, at most the number of training queries")
    memory: int = Field(20_000, ge=1, description="training queries kept, drawn evenly; bounds the time of a search")


class KNN(Scorer):
    """Nearest neighbours; see the module."""

    Config = KNNConfig
    kind: ClassVar[str] = "knn"
    summary: ClassVar[str] = "mean outcome of the 40 most similar training queries"
    config: KNNConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        rows = np.arange(len(x))
        if len(rows) > self.config.memory:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, self.config.memory, replace=False))
        self._x = _unit(x[rows]).astype(np.float32)
        self._y = outcomes.quality[rows]
        self._std = outcomes.quality.std(axis=0)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        k = min(self.config.k, len(self._x))
        wanted = _unit(x).astype(np.float32)
        out = np.empty((len(x), self._y.shape[1]))
        for at in range(0, len(x), _BLOCK):
            likeness = wanted[at : at + _BLOCK] @ self._x.T
            near = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
            out[at : at + _BLOCK] = self._y[near].mean(axis=1)
        return out, self._std

    def _state(self) -> tuple[Arrays, Meta]:
        return {"x": self._x, "y": self._y, "std": self._std}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._x, self._y, self._std = arrays["x"], arrays["y"], arrays["std"]


def _unit(x: Floats) -> Floats:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    scaled: Floats = x / np.where(norm > 0, norm, 1.0)
    return scaled
