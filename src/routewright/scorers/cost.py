"""Forecasting what a call will cost: tokens out differ by query and by model, and nobody knows them beforehand.

    log cost[q, m] = b[m] + w[m] . x[q]                  ridge on the text vector, strength by leave-one-out
    cost_usd[q, m] = r[m] * exp(log cost[q, m])          r: mean cost / mean exp(fit), so that the mean is kept

Where text does not help (leave-one-out says so) a model's cost is its mean. Shared by every scorer, so a comparison
of scorers compares forecasts of quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.outcomes.arrays import Outcomes
from routewright.scorers.linear import decompose, ridge
from routewright.types import Floats

_FLOOR = 1e-12  # USD; a free call has no logarithm


class CostModel:
    """Fitted costs of a pool: arrays in, USD per query out."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], left_out: Floats | None = None) -> None:
        self._a = dict(arrays)
        self.left_out = left_out
        """[N, M] leave-one-out forecasts of the training rows, straight after `fit`; never saved."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        return dict(self._a)

    @classmethod
    def fit(cls, outcomes: Outcomes, x: Floats | None) -> CostModel:
        """Learn from recorded costs; without vectors the forecast is each model's mean."""
        mean = outcomes.cost_usd.mean(axis=0)
        arrays: dict[str, NDArray[Any]] = {"mean": mean}
        if not np.isnan(outcomes.latency_s).any():
            arrays["latency_s"] = outcomes.latency_s.mean(axis=0)
        if x is not None:
            y = np.log(np.maximum(outcomes.cost_usd, _FLOOR))
            fit = ridge(decompose(x), y, each=True)
            expected = np.exp(np.clip(fit.loo, y.min(axis=0), y.max(axis=0)))
            ratio = mean / np.maximum(expected.mean(axis=0), _FLOOR)
            helps = ((ratio * expected - outcomes.cost_usd) ** 2).mean(axis=0) < outcomes.cost_usd.var(axis=0)
            arrays |= {
                "centre": fit.centre,
                "weights": fit.weights,
                "offset": fit.offset,
                "ratio": ratio,
                "helps": helps.astype(np.uint8),
                "low": y.min(axis=0),
                "high": y.max(axis=0),
            }
            return cls(arrays, np.where(helps, ratio * expected, mean))
        return cls(arrays)

    def tempered(self, power: float) -> CostModel:
        """The same costs drawn towards each model's mean: mean^(1 - power) * forecast^power, the mean kept."""
        a = self._a
        if "weights" not in a:
            return self
        logs = {name: power * a[name] for name in ("weights", "offset", "low", "high")}
        ratio = a["ratio"] ** power * a["mean"] ** (1 - power)
        if self.left_out is not None:
            floor = np.maximum(a["mean"], _FLOOR)
            drawn = (np.maximum(self.left_out, _FLOOR) / floor) ** power
            ratio = ratio / drawn.mean(axis=0)
        return CostModel(a | logs | {"ratio": ratio})

    def cost_usd(self, x: Floats, n: int) -> Floats:
        """[Q, M] forecast cost, within the range seen in training."""
        a = self._a
        if "weights" not in a:
            return np.repeat(a["mean"][None], n, axis=0)
        log = np.clip((x - a["centre"]) @ a["weights"] + a["offset"], a["low"], a["high"])
        return np.where(a["helps"] > 0, a["ratio"] * np.exp(log), a["mean"])

    def latency(self, n: int) -> Floats | None:
        """[Q, M] mean seconds, or None where none were recorded."""
        mean = self._a.get("latency_s")
        return None if mean is None else np.repeat(mean[None], n, axis=0)
