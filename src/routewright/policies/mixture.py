"""`mixture`: several models propose, one reads the proposals and writes the answer.

The proposals run side by side; the aggregator sees the query and all of them. If no proposal came, the aggregator is
asked alone.

Reference: Wang et al. 2024 (mixture of agents), arXiv:2406.04692. Differs: one layer, the proposers named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from routewright import config
from routewright.errors import ConfigError
from routewright.policies.base import Policy, Wish
from routewright.types import Answer, Call, Decision, Plan, State


class Mixture(Policy):
    """Propose by several, aggregate by one."""

    kind = "mixture"
    supports = frozenset({"images"})
    summary = "several models propose side by side, one writes the answer from their replies"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    class Config(config.Config):
        proposers: tuple[str, ...] = Field((), description="who proposes; empty: the two cheapest of the pool")
        aggregator: str = Field("", description="who answers; empty: the dearest of the pool")

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._one(state) for state in states]

    def _one(self, state: State) -> Wish:
        names = tuple(card.name for card in state.pool)
        by_cost = [names[i] for i in np.argsort(np.array(state.worst_usd), kind="stable")]
        proposers = self.config.proposers or tuple(by_cost[:2])
        aggregator = self.config.aggregator or by_cost[-1]
        for name in (*proposers, aggregator):
            if name not in names:
                raise ConfigError(f"mixture names {name!r}, which is not in the pool: {', '.join(names)}.")
        if state.steps:
            tried = [s for s in state.steps if s.reply is not None]
            failed = tried and tried[-1].reply is not None and tried[-1].reply.error is not None
            asked = [s.action for s in tried if s.action is not None]
            again = any(isinstance(a, Call) and a.role == "aggregate" for a in asked)
            if failed and not again and state.legal[names.index(aggregator)]:
                call = Call(aggregator, context="transcript", role="aggregate", final=True)
                return Decision(call, names, 1.0, "a proposal failed; aggregate what there is")
            return Decision(Answer("last"))
        calls = [Call(name, role="propose") for name in proposers]
        last = Call(aggregator, context="transcript", after=tuple(range(len(calls))), role="aggregate", final=True)
        return Decision(Plan((*calls, last)), names, 1.0, f"{len(calls)} proposals, then {aggregator}")
