"""`vote`: ask k models, or one model k times, and answer by majority.

The calls run side by side where the world is live. Agreement needs answers that can be compared
(`routewright.tasks.answer_key`); where there is no key the last reply stands, and the trace says so.

Reference: Wang et al. 2022 (self-consistency), arXiv:2203.11171, for samples of one model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright import config
from routewright.encoders.base import Arrays, Meta
from routewright.errors import ConfigError
from routewright.outcomes.arrays import Outcomes
from routewright.policies.base import ArrayPolicy, Wish, answer_vote, certain
from routewright.policies.observe import Observation, key_of
from routewright.types import Answer, Call, Decision, Floats, Forecast, Ints, Plan, State


class Vote(ArrayPolicy):
    """Plurality of k replies."""

    kind = "vote"
    supports = frozenset({"images", "json"})
    summary = "asks k models (or one k times) side by side and takes the majority"

    class Config(config.Config):
        models: tuple[str, ...] = Field((), description="who votes; empty: the k cheapest of the pool")
        k: int = Field(3, ge=1, le=64, description="voters where none are named, or samples of one model")
        samples: bool = Field(False, description="k samples of the one model named, not one reply each of several")

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        super().__init__(config, seed)
        self._cost: Floats = np.zeros(0)  # mean cost of each model of `models`, if fitted

    def fit(self, outcomes: Outcomes, forecast: Forecast | None = None) -> None:
        """Find the k cheapest by what they cost on average; unfitted, a pool's prices decide."""
        super().fit(outcomes, forecast)
        self._cost = outcomes.cost_usd.mean(axis=0)
        self._voters(outcomes.models, self._cost)

    def state(self) -> tuple[Arrays, Meta]:
        arrays, meta = super().state()
        return {**arrays, "cost_usd": self._cost}, meta

    def restore(self, arrays: Mapping[str, NDArray[Any]], own: Mapping[str, Any]) -> None:
        self._cost = arrays["cost_usd"]

    def _voters(self, models: tuple[str, ...], cost: Floats) -> list[int]:
        named = self.config.models
        missing = [name for name in named if name not in models]
        if missing:
            raise ConfigError(f"vote.models names {missing[0]!r}, which is not in the pool: {', '.join(models)}.")
        if self.config.samples and len(named) != 1:
            raise ConfigError(f"vote.samples needs exactly one of vote.models, got {len(named)}.")
        if len(self._cost) and models == self.models:
            cost = self._cost
        if named:
            return [models.index(name) for name in named]
        return [int(i) for i in np.argsort(cost, kind="stable")[: self.config.k]]

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._first(s) if not s.steps else self._next(s, rng) for s in states]

    def _next(self, state: State, rng: np.random.Generator) -> Wish:
        """A voter that is left, or the answer, with how the votes fell."""
        wish = super().decide([state], rng)[0]
        if isinstance(wish, Decision) and isinstance(wish.action, Answer):
            return replace(wish, reason=_tally(state))
        return wish

    def _first(self, state: State) -> Decision:
        """All voters at once, as a plan without edges; a voter that does not fit the budget is left out."""
        names = tuple(card.name for card in state.pool)
        worst = np.array(state.worst_usd)
        voters = [names[i] for i in self._voters(names, worst) if state.legal[i]]
        if self.config.samples:
            calls = tuple(Call(name, sample=k) for name in voters for k in range(self.config.k))
        else:
            calls = tuple(Call(name) for name in voters)
        if not calls:
            return Decision(Answer("vote"), reason="no voter fits the budget")
        return Decision(Plan(calls), names, 1.0, f"{len(calls)} votes")

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        m = len(obs.models)
        out = np.full(len(obs), answer_vote(obs))
        for b in range(len(obs)):
            voters = self._voters(obs.models, obs.worst_usd[b])
            if self.config.samples and obs.called[b].any():
                continue
            left = [i for i in voters if not obs.called[b, i] and obs.mask[b, i]]
            if left:
                out[b] = left[0]
            elif not obs.mask[b, m]:
                out[b] = int(obs.mask[b, :m].argmax())
        return certain(out)


def _tally(state: State) -> str:
    """How the votes fell, for people."""
    replies = [step.reply for step in state.steps if step.reply is not None and step.reply.error is None]
    keys = [key for key in (key_of(state.query, reply) for reply in replies) if key is not None]
    if not keys:
        return "no answers that can be compared, so the last reply stands" if len(replies) > 1 else ""
    most = max(Counter(keys).values())
    if most == 1 and len(replies) > 1:
        return "no two replies agree, so the first that can be compared stands"
    return f"{most} of {len(replies)} replies agree"
