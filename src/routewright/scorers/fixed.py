"""`fixed`: always one model, by default the best on the training queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Arrays, Meta
from routewright.errors import UnknownName
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.blind import Blind
from routewright.types import Bools, Floats, Query


class FixedConfig(Config):
    """Options of `fixed`."""

    model: str | None = Field(None, description="the model, matched exactly; None: best mean quality in training")


class Fixed(Blind):
    """Forecasts each model's mean and rules out all models but one."""

    Config: ClassVar[type[Config]] = FixedConfig
    kind: ClassVar[str] = "fixed"
    summary: ClassVar[str] = "always one model, by default the best in training (control)"
    config: FixedConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        super()._fit(outcomes, x)
        self._only = np.zeros(len(outcomes.models), dtype=np.uint8)
        self._only[self._which(outcomes)] = 1

    def _which(self, outcomes: Outcomes) -> int:
        if self.config.model is None:
            return int(np.lexsort((outcomes.cost_usd.mean(axis=0), -self._mean))[0])
        if self.config.model not in outcomes.models:
            raise UnknownName(f"model of {outcomes.name}", self.config.model, outcomes.models)
        return outcomes.models.index(self.config.model)

    def _allowed(self, queries: Sequence[Query]) -> Bools | None:
        return np.repeat(self._only[None] > 0, len(queries), axis=0)

    def _state(self) -> tuple[Arrays, Meta]:
        arrays, meta = super()._state()
        return {**arrays, "only": self._only}, meta

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        super()._restore(arrays, meta)
        self._only = arrays["only"]
