"""`mf`: matrix factorisation over model vectors, as RouteLLM and EmbedLLM do.

    quality[q, m] = sigmoid( b[m] + v[m] . (P x[q]) )          v [M, R], P [R, D]

trained by cross-entropy on the scores themselves, with an L2 penalty on P and v chosen on held-out rows. Reference: Ong et al. 2024 (RouteLLM), arXiv:2406.18665; Zhuang et
al. 2025 (EmbedLLM), arXiv:2410.02223. Differs: fitted to each model's score, not to which of two models won, since most
pairs tie; the text vector replaces a learned vector per query, which a new query would not have.
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


class MFConfig(Config):
    """Options of `mf`."""

    rank: int = Field(16, ge=1, description="length of a model's vector")
    steps: int = Field(200, ge=1, description="gradient steps")
    rate: float = Field(0.05, gt=0, description="step size")


class MF(Scorer):
    """Bilinear factorisation; see the module."""

    Config = MFConfig
    kind: ClassVar[str] = "mf"
    summary: ClassVar[str] = "matrix factorisation over model vectors (RouteLLM, EmbedLLM)"
    config: MFConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        self._centre = x.mean(axis=0)
        x, y = x - self._centre, outcomes.quality
        penalty = penalised(lambda a, b, l2: partial(_probability, self._descend(a, b, l2)), x, y, self.seed)
        self._p = self._descend(x, y, penalty)
        self._std = y.std(axis=0)

    def _descend(self, x: Floats, y: Floats, penalty: float) -> Parameters:
        rng = np.random.default_rng(self.seed)
        mean = np.clip(y.mean(axis=0), 0.01, 0.99)
        start = {
            "p": rng.normal(0, 0.3 / np.sqrt(x.shape[1]), (x.shape[1], self.config.rank)),
            "v": rng.normal(0, 0.3, (y.shape[1], self.config.rank)),
            "b": np.log(mean / (1 - mean)),
        }

        def gradient(p: Parameters) -> Parameters:
            inner = x @ p["p"]
            error = (sigmoid(inner @ p["v"].T + p["b"]) - y) / len(x)
            return {
                "p": x.T @ (error @ p["v"]) + penalty * p["p"],
                "v": error.T @ inner + penalty * p["v"],
                "b": error.sum(axis=0),
            }

        return descend(start, gradient, steps=self.config.steps, rate=self.config.rate)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        return _probability(self._p, x - self._centre), self._std

    def _state(self) -> tuple[Arrays, Meta]:
        return {**self._p, "centre": self._centre, "std": self._std}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._p = {k: arrays[k] for k in ("p", "v", "b")}
        self._centre, self._std = arrays["centre"], arrays["std"]


def _probability(p: Parameters, x: Floats) -> Floats:
    return sigmoid(x @ p["p"] @ p["v"].T + p["b"])
