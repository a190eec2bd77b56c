"""`mf`: matrix factorisation over model vectors, as RouteLLM and EmbedLLM do.

    quality[q, m] = sigmoid( b[m] + v[m] . (P x[q]) )          v [M, R], P [R, D]

trained by cross-entropy on the scores themselves, with an L2 penalty on P and v chosen on held-out rows.

Reference: Ong et al. 2024 (RouteLLM), arXiv:2406.18665; Zhuang et al. 2025 (EmbedLLM), arXiv:2410.02223.
Differs: fitted to each model's score, not to which of two models won, since most pairs tie; the text vector replaces a
learned vector per query, which a new query would not have.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from routewright.scorers.adam import Parameters, sigmoid
from routewright.scorers.factored import DescentConfig, Factored
from routewright.types import Floats


class MFConfig(DescentConfig):
    """Options of `mf`."""

    rank: int = Field(16, ge=1, description="length of a model's vector")


class MF(Factored):
    """Bilinear factorisation; see the module. `p` holds P transposed, [D, R]."""

    Config = MFConfig
    kind: ClassVar[str] = "mf"
    summary: ClassVar[str] = "matrix factorisation over model vectors (RouteLLM, EmbedLLM)"
    names: ClassVar[tuple[str, ...]] = ("p", "v", "b")

    def _start(self, logit: Floats, width: int, rng: np.random.Generator) -> Parameters:
        return {
            "p": rng.normal(0, 0.3 / np.sqrt(width), (width, self.config.rank)),
            "v": rng.normal(0, 0.3, (len(logit), self.config.rank)),
            "b": logit,
        }

    @staticmethod
    def formula(p: Parameters, x: Floats) -> Floats:
        return sigmoid(x @ p["p"] @ p["v"].T + p["b"])

    @staticmethod
    def gradient(p: Parameters, x: Floats, y: Floats, penalty: float) -> Parameters:
        inner = x @ p["p"]
        error = (sigmoid(inner @ p["v"].T + p["b"]) - y) / len(x)
        return {
            "p": x.T @ (error @ p["v"]) + penalty * p["p"],
            "v": error.T @ inner + penalty * p["v"],
            "b": error.sum(axis=0),
        }
