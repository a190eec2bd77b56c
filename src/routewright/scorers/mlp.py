"""`mlp`: a small network with one hidden layer, all models' qualities at once.

    quality[q] = W2 relu(W1 x[q] + b1) + b2            squared error, Adam, early stopping on a tenth of the rows

As LLMRouter's and RouterBench's MLP routers, but regressing each model's score instead of classifying the best one.
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


class MLPConfig(Config):
    """Options of `mlp`."""

    hidden: int = Field(64, ge=1, description="hidden units")
    epochs: int = Field(60, ge=1, description="passes at most")
    decay: float = Field(1.0, ge=0, description="L2 penalty, over the training rows")


class MLP(Scorer):
    """One hidden layer; see the module."""

    Config = MLPConfig
    kind: ClassVar[str] = "mlp"
    summary: ClassVar[str] = "a network with one hidden layer"
    config: MLPConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        self._centre = x.mean(axis=0)
        self._mean = outcomes.quality.mean(axis=0)
        net = MLPRegressor(
            hidden_layer_sizes=(self.config.hidden,),
            alpha=self.config.decay,
            batch_size=128 if len(x) >= 150 else "auto",  # early stopping takes a tenth of the rows away
            learning_rate_init=3e-3,
            max_iter=self.config.epochs,
            early_stopping=len(x) >= 50,
            n_iter_no_change=6,
            random_state=self.seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopping at `epochs` is what was asked for
            y = outcomes.quality - self._mean
            net.fit(x - self._centre, y.ravel() if y.shape[1] == 1 else y)
        self._w = [np.asarray(w, dtype=np.float64) for w in (*net.coefs_, *net.intercepts_)]
        self._std = outcomes.quality.std(axis=0)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        w1, w2, b1, b2 = self._w
        return self._mean + np.maximum((x - self._centre) @ w1 + b1, 0) @ w2 + b2, self._std

    def _state(self) -> tuple[Arrays, Meta]:
        named = dict(zip(("w1", "w2", "b1", "b2"), self._w, strict=True))
        return {**named, "centre": self._centre, "mean": self._mean, "std": self._std}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._w = [arrays[k] for k in ("w1", "w2", "b1", "b2")]
        self._centre, self._mean, self._std = arrays["centre"], arrays["mean"], arrays["std"]
