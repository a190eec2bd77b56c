"""One request in the works, and the coordinator that serves it.

Not here: serving it (`service.py`).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from routewright.coordinator import Coordinator
from routewright.episodes.transition import finish
from routewright.gateway.asked import Asked, Routing
from routewright.gateway.keys import Key
from routewright.gateway.served import Served
from routewright.gateway.settings import CoordinatorEntry
from routewright.gateway.streaming import Live
from routewright.policies.base import Policy, build_policy
from routewright.pools.budget import Ledger
from routewright.pools.caller import OnDelta
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Delta
from routewright.types import Answer, Episode, ModelCard, State, Step

if TYPE_CHECKING:
    from routewright.gateway.page.frontier import Frontier

DIRECT = "direct"  # the policy of a request that names a model of the pool


@dataclass(frozen=True)
class Serving:
    """A coordinator as it is served."""

    coordinator: Coordinator
    entry: CoordinatorEntry
    frontier: Frontier | None = None  # for the page, where a report of it is named

    def value_usd(self, asked: Routing, preset: str) -> float:
        """What a right answer is worth: as the request says, else its preset, else as configured."""
        if asked.value_usd is not None:
            return asked.value_usd
        if preset:
            return self.coordinator.value(preset)
        if self.entry.value_usd is not None:
            return self.entry.value_usd
        return self.coordinator.default_value_usd

    def baseline(self, pool: Pool) -> ModelCard | None:
        """The model that savings are told against; None where none is known, or the pool lacks it."""
        member = pool.members.get(self.entry.baseline or str(self.coordinator.about.get("best_single") or ""))
        return None if member is None else member.card

    def one_call(self, broken: bool) -> Policy:
        """What serves where the policy can not: its router's choice, or a named model where something is broken."""
        named = self.entry.fallback
        if not named and broken:
            named = str(self.coordinator.about.get("best_single") or "")
        policy = build_policy("single", {"model": named})
        if not named and not broken:
            policy.forecaster = self.coordinator.policy.forecaster
            if self.coordinator.router is not None:
                policy.models = self.coordinator.router.models
        return policy


@dataclass
class Job:
    """One request in the works."""

    asked: Asked
    key: Key
    trace_id: str
    pool: Pool
    ledger: Ledger
    live: Live | None
    coordinator: str = ""
    policy: str = DIRECT
    value_usd: float = 0.0
    budget_usd: float = math.inf
    fallback: str = ""
    steps: list[Step] = field(default_factory=list)
    episode: Episode | None = None
    began: float = field(default_factory=time.perf_counter)
    first_token_s: float | None = None

    def sink(self, state: State, step: Step | None, episode: Episode | None) -> None:
        """The engine's record of it, as it is done."""
        if step is not None:
            self.steps.append(step)
            if self.live is not None and self.policy != "single":
                self.live.on_step(step)
        if episode is not None:
            self.episode = episode

    @property
    def on_delta(self) -> OnDelta | None:
        """Where pieces of the reply go; None where nothing is streamed."""
        live = self.live
        if live is None:
            return None

        def pass_on(delta: Delta | None) -> None:
            if self.first_token_s is None and delta is not None:
                self.first_token_s = time.perf_counter() - self.began
            live.on_delta(delta)

        return pass_on

    def finished(self, stopped: str) -> Episode:
        """An episode of what was done so far, for requests that did not come to their end."""
        asked = self.asked.query
        state = State(asked, self.pool.cards, self.value_usd, self.budget_usd, tuple(self.steps))
        latency_s = time.perf_counter() - self.began
        return finish(state, Answer("text"), stopped=stopped, latency_s=latency_s, trace_id=self.trace_id)

    def served(self) -> Served:
        """What there is to tell of it."""
        episode = self.episode if self.episode is not None else self.finished("failed")
        return Served(self.asked, self.coordinator, self.policy, episode, self.fallback, self.first_token_s)
