"""What a scorer is: outcomes in, a forecast for every (query, model) out.

The loop that calls it:

    encoder.fit(texts)
    vectors = encoder.encode(texts)                    # [Q, D], shared by every scorer of a comparison
    scorer = build_scorer("ridge")
    scorer.fit(outcomes, vectors)
    forecast = scorer.forecast(queries, encoder.encode([q.text for q in queries]))
    arrays, meta = scorer.state()                      # into safetensors and JSON
    same = restore_scorer("ridge", arrays, meta)

A scorer forecasts each model's quality and cost; it never classifies "the best model", for most such labels are ties.
What a call will cost is never assumed known. The choice itself is made once for all scorers, in `choose.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from routewright.config import Config, parse
from routewright.encoders.base import Arrays, Meta
from routewright.errors import RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.cost import CostModel
from routewright.scorers.table import SCORERS
from routewright.types import Bools, Floats, Forecast, Query, Vectors


class NoOptions(Config):
    """A scorer without options."""


class Scorer(ABC):
    """Base of the scorers.

    A subclass fills `_fit` and `_quality`; what every scorer shares (cost forecasts, the pool's names, saving) is
    here. `reads_task` marks the few that look at a query's task label, which live traffic does not have;
    `reads_text` the ones whose forecast depends on the text.
    """

    Config: ClassVar[type[Config]] = NoOptions
    kind: ClassVar[str]
    summary: ClassVar[str]
    reads_task: ClassVar[bool] = False
    reads_text: ClassVar[bool] = True

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        self.config = config if config is not None else self.Config()
        self.seed = seed
        self.models: tuple[str, ...] = ()
        self._cost: CostModel | None = None

    def fit(self, outcomes: Outcomes, vectors: Vectors) -> None:
        """Learn from recorded outcomes; `vectors` [Q, D] belong to `outcomes.queries`."""
        if len(outcomes) < 2 or len(outcomes.models) < 1:
            raise RoutewrightError(
                f"{self.kind} needs at least 2 queries and 1 model to fit, got {len(outcomes)} x {len(outcomes.models)}."
            )
        if vectors.shape[0] != len(outcomes):
            raise RoutewrightError(f"{len(outcomes)} queries came with {vectors.shape[0]} vectors; expected one each.")
        self.models = outcomes.models
        self._cost = self._fit_cost(outcomes, vectors)
        self._fit(outcomes, vectors.astype(np.float64))

    def forecast(self, queries: Sequence[Query], vectors: Vectors, models: Sequence[str] | None = None) -> Forecast:
        """What to expect of each model on each query; columns follow `models`, by default the pool fitted on."""
        if self._cost is None:
            raise RoutewrightError(f"{self.kind} is not fitted; call fit(outcomes, vectors) or load a saved router.")
        x = vectors.astype(np.float64)
        quality, std = self._quality(queries, x)
        shape = (len(queries), len(self.models))
        whole = Forecast(
            self.models,
            np.clip(quality, 0.0, 1.0),
            np.ascontiguousarray(np.broadcast_to(std, shape), dtype=np.float64),
            self._cost.cost_usd(x, len(queries)),
            self._cost.latency(len(queries)),
            self._allowed(queries),
        )
        return whole if models is None else whole.take(models)

    def _fit_cost(self, outcomes: Outcomes, vectors: Vectors) -> CostModel:
        return CostModel.fit(outcomes, vectors.astype(np.float64) if self.reads_text else None)

    def _allowed(self, queries: Sequence[Query]) -> Bools | None:
        """[Q, M] False where the policy rules a model out whatever its forecast; None: nowhere."""
        return None

    @abstractmethod
    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        """Learn quality; x is [Q, D]."""

    @abstractmethod
    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        """Quality [Q, M] and its standard deviation, [Q, M] or anything that broadcasts to it."""

    @abstractmethod
    def _state(self) -> tuple[Arrays, Meta]:
        """What `_restore` needs, beyond what every scorer saves."""

    @abstractmethod
    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        """Take back what `_state` gave."""

    def state(self) -> tuple[Arrays, Meta]:
        """Arrays and JSON-able facts from which `restore_scorer` makes the same scorer."""
        if self._cost is None:
            raise RoutewrightError(f"{self.kind} is not fitted; there is nothing to save.")
        arrays, meta = self._state()
        shared = {f"cost.{name}": array for name, array in self._cost.arrays().items()}
        return {**arrays, **shared}, {
            "models": list(self.models),
            "seed": self.seed,
            "options": self.config.model_dump(),
            "own": meta,
        }


def build_scorer(kind: str, options: Mapping[str, Any] | None = None, seed: int = 0) -> Scorer:
    """A new, unfitted scorer by name; `UnknownName` or `ConfigError` on bad input."""
    cls = SCORERS.load(kind)
    return cls(parse(cls.Config, options or {}, f"policy {kind!r}"), seed)


def restore_scorer(kind: str, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Scorer:
    """A saved scorer by name."""
    scorer = build_scorer(kind, meta["options"], meta["seed"])
    scorer.models = tuple(meta["models"])
    scorer._cost = CostModel({k.removeprefix("cost."): v for k, v in arrays.items() if k.startswith("cost.")})
    scorer._restore({k: v for k, v in arrays.items() if not k.startswith("cost.")}, meta["own"])
    return scorer
