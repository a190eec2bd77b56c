"""`gbdt`: gradient-boosted trees (LightGBM) on the main directions in which queries differ.

    quality[q] = mean + sum_k g_k(x[q]) * e_k       e_k: leading principal directions of the training outcomes [Q, M]

One booster a direction instead of one a model: the first direction is how hard a query is for everybody, the next ones
who profits; fifty models cost no more than five. Boosters read the first dimensions of the text vector and its last ones
(the text's shape, with the default encoder).
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


class GBDTConfig(Config):
    """Options of `gbdt`."""

    directions: int = Field(3, ge=1, description="principal directions of the outcomes, at most the models")
    rounds: int = Field(60, ge=1, description="trees a direction")
    leaves: int = Field(8, ge=2, description="leaves of a tree")
    rate: float = Field(0.05, gt=0, description="shrinkage of a tree")
    head: int = Field(48, ge=1, description="leading dimensions read of the text vector")
    tail: int = Field(16, ge=0, description="last dimensions read of it")


class GBDT(Scorer):
    """Boosted trees; see the module."""

    Config = GBDTConfig
    kind: ClassVar[str] = "gbdt"
    summary: ClassVar[str] = "gradient-boosted trees (LightGBM)"
    config: GBDTConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        import lightgbm

        self._mean = outcomes.quality.mean(axis=0)
        centred = outcomes.quality - self._mean
        _, vectors = np.linalg.eigh(centred.T @ centred)
        self._directions = np.ascontiguousarray(vectors[:, ::-1][:, : self.config.directions].T)
        options = {
            "objective": "regression",
            "num_leaves": self.config.leaves,
            "learning_rate": self.config.rate,
            "min_data_in_leaf": max(1, min(20, len(x) // 10)),
            "feature_fraction": 0.5,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }
        rows = self._read(x)
        self._boosters = [
            lightgbm.train(options, lightgbm.Dataset(rows, centred @ e, params={"verbosity": -1}), self.config.rounds)
            for e in self._directions
        ]
        self._std = outcomes.quality.std(axis=0)

    def _read(self, x: Floats) -> Floats:
        c = self.config
        return x if x.shape[1] <= c.head + c.tail else np.hstack([x[:, : c.head], x[:, x.shape[1] - c.tail :]])

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        if not len(x):
            return np.zeros((0, len(self._mean))), self._std
        rows = self._read(x)
        out = np.stack([np.asarray(b.predict(rows, num_threads=1)) for b in self._boosters], axis=1)
        return self._mean + out @ self._directions, self._std

    def _state(self) -> tuple[Arrays, Meta]:
        texts = [b.model_to_string() for b in self._boosters]
        return {"mean": self._mean, "directions": self._directions, "std": self._std}, {"boosters": texts}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        import lightgbm

        self._mean, self._directions, self._std = arrays["mean"], arrays["directions"], arrays["std"]
        self._boosters = [lightgbm.Booster(model_str=text) for text in meta["boosters"]]
