"""What `mf` and `irt` share: a formula of the text vector, fitted by penalised cross-entropy.

    minimise  mean cross-entropy of quality[q, m] given formula(parameters, x[q])  +  penalty / 2 * |maps from text|^2

A subclass spells out its formula, its start and its gradient; the penalty is chosen on held-out rows (`adam.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Arrays, Meta
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.adam import Parameters, descend, penalised
from routewright.scorers.base import Scorer
from routewright.types import Floats, Query


class DescentConfig(Config):
    """Options of every fit by gradient descent."""

    steps: int = Field(200, ge=1, description="gradient steps")
    rate: float = Field(0.05, gt=0, description="step size")


class Factored(Scorer):
    """A scorer fitted by gradient descent; see the module."""

    config: Any
    names: ClassVar[tuple[str, ...]]  # of the parameters

    @abstractmethod
    def _start(self, logit: Floats, width: int, rng: np.random.Generator) -> Parameters:
        """Parameters to start from, given the models' mean qualities as logits [M] and the text vector's width D."""

    @staticmethod
    @abstractmethod
    def formula(p: Parameters, x: Floats) -> Floats:
        """[Q, M] quality."""

    @staticmethod
    @abstractmethod
    def gradient(p: Parameters, x: Floats, y: Floats, penalty: float) -> Parameters:
        """Gradient of the loss at x [N, D], y [N, M]."""

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        self._centre = x.mean(axis=0)
        x, y = x - self._centre, outcomes.quality
        penalty = penalised(lambda a, b, l2: partial(self.formula, self._descend(a, b, l2)), x, y, self.seed)
        self._p = self._descend(x, y, penalty)
        self._std = y.std(axis=0)

    def _descend(self, x: Floats, y: Floats, penalty: float) -> Parameters:
        mean = np.clip(y.mean(axis=0), 0.01, 0.99)
        start = self._start(np.log(mean / (1 - mean)), x.shape[1], np.random.default_rng(self.seed))
        return descend(start, lambda p: self.gradient(p, x, y, penalty), steps=self.config.steps, rate=self.config.rate)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        return self.formula(self._p, x - self._centre), self._std

    def _state(self) -> tuple[Arrays, Meta]:
        return {**self._p, "centre": self._centre, "std": self._std}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._p = {name: arrays[name] for name in self.names}
        self._centre, self._std = arrays["centre"], arrays["std"]
