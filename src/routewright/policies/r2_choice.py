"""The half of `r2` that allocates by forecasts: whom a subtask goes to, who is stronger, how likely a reply is right.

What it has learnt is kept here: W of reinforcement (`r2_allocate`), and what tells kinds of answers apart (`r2_fits`). The course of an
episode, and the language model that may allocate instead, are in `r2`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays, Meta
from routewright.errors import RouterError
from routewright.policies import r2_allocate
from routewright.policies.base import Policy
from routewright.policies.r2_allocate import chances, features, worths
from routewright.policies.r2_fits import Fits
from routewright.policies.r2_state import said
from routewright.types import Floats, Forecast, Query, Reply, State


class Choosing(Policy):
    """Chooses models by forecasts."""

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.names: tuple[str, ...] = ()  # columns of `weights`
        self.weights: Floats | None = None  # of delta, see r2_allocate
        self.fits: Fits | None = None

    @property
    def random(self) -> bool:
        return bool(self.config.temperature > 0)

    def _choose(
        self,
        state: State,
        text: str,
        rng: np.random.Generator | None = None,
        without: Collection[str] = (),
    ) -> tuple[str, float, str]:
        """Who is asked, with what probability, and why; `without` are those who have been asked the same before, if others are left."""
        names = self._open(state)
        names = tuple(n for n in names if n not in without) or names
        if not names:
            names = tuple(card.name for card in self._cards(state))  # none fits: the call says so, and costs nothing
        forecast = self._forecast(state, text)
        known = [n for n in names if forecast is not None and n in forecast.models]
        if forecast is None or not known:
            return (
                (self.config.worker, 1.0, "the worker named")
                if self.config.worker in names
                else (names[0], 1.0, "the first that may")
            )
        mine = forecast.take(known)
        worth = worths(mine, state.value_usd, self._delta(known, text))
        p = chances(worth, state.value_usd, self.config.temperature if rng is not None else 0.0)
        at = int(rng.choice(len(known), p=p)) if rng is not None and self.random else int(worth.argmax())
        return known[at], float(p[at]), f"forecast quality {mine.quality[0, at]:.3f} at {mine.cost_usd[0, at]:.3g} USD"

    def _stronger(self, state: State, text: str, tried: set[str], short: bool) -> str | None:
        """Who is most likely right of those not tried; without forecasts the dearest. Where money is short, the cheapest."""
        left = [n for n in self._open(state) if n not in tried]
        price = {c.name: c.usd_per_mtok_out or 0.0 for c in state.pool}
        if not left or short:
            return min(left, key=lambda n: price[n], default=None)
        forecast = self._forecast(state, text)
        if forecast is None:
            return max(left, key=lambda n: price[n])
        delta = self._delta(list(forecast.models), text)
        quality = forecast.quality[0] + (0.0 if delta is None else delta)
        at = dict(zip(forecast.models, quality.tolist(), strict=True))
        return max(left, key=lambda n: at.get(n, -1.0))

    def _delta(self, models: Sequence[str], text: str) -> Floats | None:
        """[M] what reinforcement adds to forecast quality; nothing for a model that it did not know."""
        if self.weights is None:
            return None
        found = dict(zip(self.names, (features(text) @ self.weights).tolist(), strict=True))
        return np.array([found.get(name, 0.0) for name in models])

    def _forecast(self, state: State, text: str) -> Forecast | None:
        if self.forecaster is None:
            return None
        return self.forecaster.forecast([state.query if text == state.query.text else Query(text)])

    def _chance(self, text: str, reply: Reply) -> float:
        """How likely a reply is right; see the module."""
        answer = said(reply)
        if answer is None:
            return 0.0
        fits = self.fits.chance(text, answer) if self.fits is not None else 1.0
        if self.forecaster is None:
            return fits
        forecast = self.forecaster.forecast([Query(text)])
        if reply.model not in forecast.models:
            return fits
        quality = float(forecast.quality[0, forecast.models.index(reply.model)])
        delta = self._delta([reply.model], text)
        return fits * min(max(quality + (0.0 if delta is None else float(delta[0])), 0.0), 1.0)

    def _cards(self, state: State) -> list[Any]:
        """Who may be asked, whatever the budget; the decomposer only if there is nobody else."""
        c = self.config
        wanted = [
            card
            for card in state.pool
            if (card.name in c.models if c.models else card.name not in (c.decomposer, c.allocator))
        ]
        return wanted or list(state.pool)

    def _open(self, state: State) -> tuple[str, ...]:
        """Who may be asked now."""
        may = legal(state)
        return tuple(c.name for c in self._cards(state) if c.name in may) or tuple(may)

    # -- saved and restored

    def take(self, names: Sequence[str], weights: Floats) -> None:
        """Take what reinforcement has learnt: W [WIDTH + 1, M], its columns along `names`."""
        r2_allocate.check_width(weights, len(names))
        self.names, self.weights = tuple(names), weights

    def state(self) -> tuple[Arrays, Meta]:
        arrays, meta = super().state()
        if self.weights is not None:
            arrays = {**arrays, "weights": self.weights}
        if self.fits is not None:
            arrays = {**arrays, "fits": self.fits.weights}
        return arrays, {**meta, "own": {"names": list(self.names)}}

    def restore(self, arrays: Mapping[str, NDArray[Any]], own: Mapping[str, Any]) -> None:
        if "weights" in arrays:
            self.take(own["names"], arrays["weights"])
        if "fits" in arrays:
            if arrays["fits"].shape != Fits.shape():
                raise RouterError(f"fits has the shape {arrays['fits'].shape}. Expected {Fits.shape()}.")
            self.fits = Fits(arrays["fits"])


def legal(state: State) -> list[str]:
    """Models that may be called now; all where nothing was said of it."""
    may = state.legal or (True,) * len(state.pool)
    return [card.name for card, yes in zip(state.pool, may, strict=True) if yes]
