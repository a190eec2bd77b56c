"""`single`: one call to the model a scorer chooses; the query routers of the literature as a policy.

The rule is `routewright.scorers.choose`: value_usd * quality - cost_usd. If the call fails, the next best that was not
asked yet is tried, until the budget or the pool is used up. Without a router it asks the model named, or else the first
of the pool: the controls "best single model" and "pool of one".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from routewright import config
from routewright.errors import UnknownName
from routewright.policies.base import SUPPORTABLE, ArrayPolicy, Wish, answer_last
from routewright.policies.observe import Observation
from routewright.types import Answer, Call, Decision, Floats, Forecast, Ints, State


class Single(ArrayPolicy):
    """One call, chosen by a scorer's forecast or by name."""

    kind = "single"
    supports = frozenset(SUPPORTABLE)
    summary = "one call to the model that the scorer chooses; the next best if it fails"

    class Config(config.Config):
        model: str = Field("", description="always this model; empty: as the scorer says, or the pool's first")
        least_tokens: int | None = Field(
            None, ge=1, description="shorten the reply to no less than this where the budget allows no more"
        )
        epsilon: float = Field(0.0, ge=0, le=1, description="probability of exploring an allowed model at random")

    @property
    def least_tokens(self) -> int | None:
        least: int | None = self.config.least_tokens
        return least

    @property
    def random(self) -> bool:
        return bool(self.config.epsilon > 0)

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        if self.config.epsilon or len(states) != 1:
            return super().decide(states, rng)
        return [self._one(states[0])]

    def _one(self, state: State) -> Decision:
        """`act` for one state without exploration, in a tenth of the time: this is the path of every live call."""
        names = [card.name for card in state.pool]
        free = dict(zip(names, state.legal, strict=True))
        for step in state.steps:
            if step.reply is not None:
                if step.reply.error is None:
                    return Decision(Answer("last"), (), 1.0)
                free[step.reply.model] = False
                if isinstance(step.action, Call):
                    free[step.action.model or ""] = False
        again = "; what was asked before failed" if state.steps else ""
        named = self.config.model
        if named and named not in free:
            raise UnknownName("model of this pool", named, names)
        if named and free.get(named):
            return Decision(Call(named, final=True), tuple(n for n in names if free[n]), 1.0, "the model named" + again)
        open_to = [n for n in self.models or names if free.get(n)]
        if not open_to:
            return Decision(Answer("last"), (), 1.0)
        if self.forecaster is None:
            return Decision(Call(open_to[0], final=True), tuple(open_to), 1.0, "the first of the pool" + again)
        forecast = self.forecaster.forecast([state.query])
        at = {n: i for i, n in enumerate(forecast.models)}
        quality, cost = forecast.quality[0].tolist(), forecast.cost_usd[0].tolist()
        if forecast.allowed is not None:
            open_to = [n for n in open_to if forecast.allowed[0, at[n]]] or open_to
        best = min(open_to, key=lambda n: (cost[at[n]] - state.value_usd * quality[at[n]], cost[at[n]], at[n]))
        saved = state.query.saved_usd.get(best)
        less = f", {saved:.3g} USD less for staying" if saved else ""
        why = f"forecast quality {quality[at[best]]:.3f} at {cost[at[best]]:.3g} USD{less}{again}"
        return Decision(Call(best, final=True), tuple(open_to), 1.0, why)

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        n, m = len(obs), len(obs.models)
        free = obs.mask[:, :m] & ~obs.called
        if forecast is not None and forecast.allowed is not None:
            free &= forecast.allowed
        gains = np.broadcast_to(-np.arange(m, dtype=np.float64), (n, m))
        cost = obs.worst_usd
        if forecast is not None:
            gains, cost = obs.value_usd[:, None] * forecast.quality - forecast.cost_usd, forecast.cost_usd
        if self.config.model:
            if self.config.model not in obs.models:
                raise UnknownName("model of this pool", self.config.model, obs.models)
            gains = gains + np.where(np.array(obs.models) == self.config.model, np.inf, 0.0)[None]
        gains = np.where(free, gains, -np.inf)
        tied = gains == gains.max(axis=1, keepdims=True)
        pick: Ints = np.where(tied & free, cost, np.inf).argmin(axis=1)  # ties to the cheaper, then to the earlier
        pick = np.where((tied & free).any(axis=1), pick, 0)
        done = obs.usable.any(axis=1) | ~free.any(axis=1)
        probability = np.ones(n)
        epsilon = self.config.epsilon
        if epsilon and not done.all():
            count = free.sum(axis=1)
            explore = (rng.random(n) < epsilon) & ~done
            for b in np.flatnonzero(explore):
                best = pick[b]
                pick[b] = rng.choice(np.flatnonzero(free[b]))
                probability[b] = epsilon / count[b] + (1 - epsilon if pick[b] == best else 0.0)
            kept = ~explore & ~done
            probability[kept] = 1 - epsilon + epsilon / count[kept]
        return np.where(done, answer_last(obs), pick), probability

    def action(self, number: int, obs: Observation, row: int) -> Call | Answer:
        return Call(obs.models[number], final=True) if number < len(obs.models) else Answer("last")

    def reason(self, number: int, obs: Observation, row: int, forecast: Forecast | None) -> str:
        if number >= len(obs.models):
            return ""
        again = "; what was asked before failed" if obs.called[row].any() else ""
        if forecast is None:
            return f"the model named{again}" if self.config.model else f"the first of the pool{again}"
        return (
            f"forecast quality {forecast.quality[row, number]:.3f} at {forecast.cost_usd[row, number]:.3g} USD{again}"
        )
