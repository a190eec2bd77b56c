"""`irt`: item response theory: a model has abilities, a query a difficulty and what it discriminates by.

    quality[q, m] = sigmoid( a(q) . theta[m] - b(q) )       a(q) = softplus(A x + a0) > 0,   b(q) = B . x + b0

theta [M, K] abilities, a [Q, K] discrimination, b [Q] difficulty; the query's side is read off its text, so that new
queries have one. Trained on the scores by cross-entropy, with an L2 penalty on A and B chosen on held-out rows.

Reference: Song et al. 2025 (IRT-Router), arXiv:2506.01048; Birnbaum's two-parameter model.
Differs: linear maps of the text vector instead of a network.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from routewright.scorers.adam import Parameters, sigmoid
from routewright.scorers.factored import DescentConfig, Factored
from routewright.types import Floats


class IRTConfig(DescentConfig):
    """Options of `irt`."""

    abilities: int = Field(4, ge=1, description="abilities a model has")


class IRT(Factored):
    """Ability and difficulty; see the module."""

    Config = IRTConfig
    kind: ClassVar[str] = "irt"
    summary: ClassVar[str] = "abilities of models against difficulty of queries (IRT-Router)"
    names: ClassVar[tuple[str, ...]] = ("theta", "a", "a0", "b", "b0")

    def _start(self, logit: Floats, width: int, rng: np.random.Generator) -> Parameters:
        k = self.config.abilities
        return {
            # softplus(0) = log 2: at the start every query asks as much of every ability.
            "theta": logit[:, None] / (k * np.log(2)) + rng.normal(0, 0.1, (len(logit), k)),
            "a": rng.normal(0, 0.01, (width, k)),
            "a0": np.zeros(k),
            "b": np.zeros((width, 1)),
            "b0": np.zeros(1),
        }

    @staticmethod
    def formula(p: Parameters, x: Floats) -> Floats:
        slope = np.logaddexp(0, x @ p["a"] + p["a0"])
        return sigmoid(slope @ p["theta"].T - x @ p["b"] - p["b0"])

    @staticmethod
    def gradient(p: Parameters, x: Floats, y: Floats, penalty: float) -> Parameters:
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
