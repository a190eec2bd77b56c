"""`irt`: item response theory: a model has abilities, a query a difficulty and what it discriminates by.

    quality[q, m] = sigmoid( a(q) . theta[m] - b(q) )       a(q) = softplus(A x + a0) > 0,   b(q) = B . x + b0

theta [M, K] abilities, a [Q, K] discrimination, b [Q] difficulty; the query's side is read off its text, so that new
queries have one. Reference: Song et al. 2025 (IRT-Router), arXiv:2506.01048; Birnbaum's two-parameter model.
Differs: linear maps of the text vector instead of a network; trained on the scores by cross-entropy, with an L2
penalty on the maps chosen on held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Arrays, Meta
from routewright.outcomes.dense import Outcomes
from routewright.scorers.adam import Parameters, descend, penalised, sigmoid
from routewright.scorers.base import Scorer
from routewright.types import Floats, Query


class IRTConfig(Config):
    """Options of `irt`."""

    abilities: int = Field(4, ge=1, description="abilities a model has")
    steps: int = Field(200, ge=1, description="gradient steps")
    rate: float = Field(0.05, gt=0, description="step size")


class IRT(Scorer):
    """Ability and difficulty; see the module."""

    Config = IRTConfig
    kind: ClassVar[str] = "irt"
    summary: ClassVar[str] = "abilities of models against difficulty of queries (IRT-Router)"
    config: IRTConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        self._centre = x.mean(axis=0)
        x, y = x - self._centre, outcomes.quality
        penalty = penalised(lambda a, b, l2: partial(_probability, self._descend(a, b, l2)), x, y, self.seed)
        self._p = self._descend(x, y, penalty)
        self._std = y.std(axis=0)

    def _descend(self, x: Floats, y: Floats, penalty: float) -> Parameters:
        k = self.config.abilities
        rng = np.random.default_rng(self.seed)
        mean = np.clip(y.mean(axis=0), 0.01, 0.99)
        ability = np.log(mean / (1 - mean))[:, None] / (k * np.log(2))
        start = {
            "theta": ability + rng.normal(0, 0.1, (y.shape[1], k)),
            "a": rng.normal(0, 0.01, (x.shape[1], k)),
            "a0": np.zeros(k),
            "b": np.zeros((x.shape[1], 1)),
            "b0": np.zeros(1),
        }

        def gradient(p: Parameters) -> Parameters:
            raw = x @ p["a"] + p["a0"]
            slope = np.logaddexp(0, raw)
            error = (sigmoid(slope @ p["theta"].T - x @ p["b"] - p["b0"]) - y) / len(x)
            by_slope = (error @ p["theta"]) * sigmoid(raw)
            by_level = -error.sum(axis=1, keepdims=True)
            return {
                "theta": error.T @ slope,
                "a": x.T @ by_slope + penalty * p["a"],
                "a0": by_slope.sum(axis=0),
                "b": x.T @ by_level + penalty * p["b"],
                "b0": by_level.sum(axis=0),
            }

        return descend(start, gradient, steps=self.config.steps, rate=self.config.rate)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        return _probability(self._p, x - self._centre), self._std

    def _state(self) -> tuple[Arrays, Meta]:
        return {**self._p, "centre": self._centre, "std": self._std}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._p = {k: arrays[k] for k in ("theta", "a", "a0", "b", "b0")}
        self._centre, self._std = arrays["centre"], arrays["std"]


def _probability(p: Parameters, x: Floats) -> Floats:
    slope = np.logaddexp(0, x @ p["a"] + p["a0"])
    return sigmoid(slope @ p["theta"].T - x @ p["b"] - p["b0"])
