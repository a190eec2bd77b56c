"""`irt`: item response theory: a model has abilities, a query a difficulty and what it discriminates by.

    quality[q, m] = sigmoid( a(q) . theta[m] - b(q) )       a(q) = softplus(A x + a0) > 0,   b(q) = B . x + b0

theta [M, K] abilities, a [Q, K] discrimination, b [Q] difficulty; the query's side is read off its text, so that new
queries have one. Reference: Song et al. 2025 (IRT-Router), arXiv:2506.01048; Birnbaum's two-parameter model.
Differs: linear maps of the text vector instead of a network; trained on the scores by cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Arrays, Meta
from routewright.outcomes.dense import Outcomes
from routewright.scorers.adam import Parameters, cross_entropy, descend, hold_out, sigmoid
from routewright.scorers.base import Scorer
from routewright.types import Floats, Query


class IRTConfig(Config):
    """Options of `irt`."""

    abilities: int = Field(4, ge=1, description="abilities a model has")
    steps: int = Field(300, ge=1, description="gradient steps at most")
    rate: float = Field(0.02, gt=0, description="step size")
    decay: float = Field(0.3, ge=0, description="weight decay of the maps from text")


class IRT(Scorer):
    """Ability and difficulty; see the module."""

    Config = IRTConfig
    kind: ClassVar[str] = "irt"
    summary: ClassVar[str] = "abilities of models against difficulty of queries (IRT-Router)"
    config: IRTConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        rng = np.random.default_rng(self.seed)
        self._centre = x.mean(axis=0)
        x = x - self._centre
        y = outcomes.quality
        k = self.config.abilities
        train, held = hold_out(len(x), self.seed)
        mean = np.clip(y[train].mean(axis=0), 0.01, 0.99)
        ability = np.log(mean / (1 - mean))[:, None] / (k * np.log(2)) + rng.normal(0, 0.1, (y.shape[1], k))
        start = {
            "theta": ability,
            "a": rng.normal(0, 0.01, (x.shape[1], k)),
            "a0": np.zeros(k),
            "b": np.zeros((x.shape[1], 1)),
            "b0": np.zeros(1),
        }

        def gradient(p: Parameters) -> Parameters:
            rows = x[train]
            raw = rows @ p["a"] + p["a0"]
            slope = np.logaddexp(0, raw)
            error = (sigmoid(slope @ p["theta"].T - rows @ p["b"] - p["b0"]) - y[train]) / len(train)
            by_slope = (error @ p["theta"]) * sigmoid(raw)
            by_level = -error.sum(axis=1, keepdims=True)
            return {
                "theta": error.T @ slope,
                "a": rows.T @ by_slope,
                "a0": by_slope.sum(axis=0),
                "b": rows.T @ by_level,
                "b0": by_level.sum(axis=0),
            }

        c = self.config
        self._p = descend(
            start,
            gradient,
            lambda p: cross_entropy(_probability(p, x[held]), y[held]),
            steps=c.steps,
            rate=c.rate,
            decay={"a": c.decay, "b": c.decay},
        )
        self._std = y.std(axis=0)

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
