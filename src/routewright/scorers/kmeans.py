"""`kmeans`: rank the models per cluster of queries, as Avengers and Avengers-Pro do.

    quality[q, m] = sum_j w[q, j] * mean quality of m in cluster j      over the `nearest` clusters of q
    w = softmax(-beta * distance)

Reference: Zhang et al. 2025 (Avengers-Pro), arXiv:2508.12631: k-means on embeddings, models ranked per cluster.
Differs: the trade-off is applied by `choose.py` in USD instead of by normalised cost and accuracy.
"""

from __future__ import annotations

import warnings
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


class KMeansConfig(Config):
    """Options of `kmeans`."""

    clusters: int = Field(32, ge=1, description="number of clusters, at most a tenth of the training queries")
    nearest: int = Field(3, ge=1, description="clusters mixed for one query")
    memory: int = Field(20_000, ge=1, description="training queries the clusters are found on, drawn evenly")
    beta: float = Field(9.0, gt=0, description="sharpness of the mixing, per unit of distance")


class KMeans(Scorer):
    """Cluster means; see the module."""

    Config = KMeansConfig
    kind: ClassVar[str] = "kmeans"
    summary: ClassVar[str] = "models ranked per cluster of queries (Avengers-Pro)"
    config: KMeansConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        from sklearn.cluster import KMeans as Clustering
        from sklearn.exceptions import ConvergenceWarning

        n = max(1, min(self.config.clusters, len(x) // 10))
        rows = x.astype(np.float32)
        if len(rows) > self.config.memory:
            rows = rows[np.random.default_rng(self.seed).choice(len(rows), self.config.memory, replace=False)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different texts than clusters: some stay empty
            fit = Clustering(n, n_init=2, max_iter=50, random_state=self.seed).fit(rows)
        label = fit.predict(x.astype(np.float32))
        sums = np.zeros((n, len(outcomes.models)))
        np.add.at(sums, label, outcomes.quality)
        size = np.bincount(label, minlength=n)[:, None]
        overall = outcomes.quality.mean(axis=0)
        self._means = np.where(size > 0, sums / np.maximum(size, 1), overall)
        self._centres = np.asarray(fit.cluster_centers_, dtype=np.float64)
        self._std = outcomes.quality.std(axis=0)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        squared = (x**2).sum(axis=1)[:, None] - 2 * x @ self._centres.T + (self._centres**2).sum(axis=1)
        distance = np.sqrt(np.maximum(squared, 0))
        keep = min(self.config.nearest, len(self._centres))
        worst = np.partition(distance, keep - 1, axis=1)[:, keep - 1 : keep]
        weight = np.where(
            distance <= worst, np.exp(-self.config.beta * (distance - distance.min(axis=1, keepdims=True))), 0
        )
        weight /= weight.sum(axis=1, keepdims=True)
        return weight @ self._means, self._std

    def _state(self) -> tuple[Arrays, Meta]:
        return {"means": self._means, "centres": self._centres, "std": self._std}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._means, self._centres, self._std = arrays["means"], arrays["centres"], arrays["std"]
