"""One request in the works, and the coordinator that serves it.

Not here: serving it (`service.py`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from routewright.coordinator import Coordinator
from routewright.episodes.transition import finish
from routewright.gateway.asked import Asked, Routing
from routewright.gateway.faults import Fault
from routewright.gateway.keys import Key
from routewright.gateway.records import Recorder
from routewright.gateway.served import Served
from routewright.gateway.sessions import Kept
from routewright.gateway.settings import CoordinatorEntry
from routewright.gateway.streaming import Live
from routewright.gateway.watch import Watched
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
    """A coordinator as it is served. `broken`: its files could not be used, and its fallback stands in for it."""

    coordinator: Coordinator
    entry: CoordinatorEntry
    broken: bool = False
    frontier: Frontier | None = None  # for the page, where a report of it is named

    @cached_property
    def policy(self) -> Watched:
        """Its policy, under watch."""
        return Watched(self.coordinator.policy)

    @cached_property
    def spare(self) -> Watched:
        """One call, for requests that the policy does not support: to the fallback, else as its router chooses."""
        policy = build_policy("single", {"model": self.entry.fallback})
        if not self.entry.fallback:
            policy.forecaster = self.coordinator.policy.forecaster
            if self.coordinator.router is not None:
                policy.models = self.coordinator.router.models
        return Watched(policy)

    def rescue(self, models: Sequence[str]) -> Policy:
        """One call to a model that is named, which nothing can break: the fallback, the best single, else the first."""
        named = self.entry.fallback or str(self.coordinator.about.get("best_single") or "")
        return build_policy("single", {"model": named if named in models else ""})

    def knows(self, preset: str) -> bool:
        """Whether a preset may be asked for; what a broken coordinator knew is not known."""
        return not preset or self.broken or preset in self.coordinator.presets

    def value_usd(self, asked: Routing, preset: str) -> float:
        """What a right answer is worth: as the request says, else its preset, else as configured."""
        if asked.value_usd is not None:
            return asked.value_usd
        if preset and not self.broken:
            return self.coordinator.value(preset)
        if self.entry.value_usd is not None:
            return self.entry.value_usd
        return self.coordinator.default_value_usd

    def watch(self, decide_s: float) -> None:
        """How long its policies may take to decide."""
        self.policy.decide_s = self.spare.decide_s = decide_s

    def close(self) -> None:
        """Let its workers go."""
        self.policy.close()
        self.spare.close()

    def baseline(self, pool: Pool) -> ModelCard | None:
        """The model that savings are told against; None where none is known, or the pool lacks it."""
        member = pool.members.get(self.entry.baseline or str(self.coordinator.about.get("best_single") or ""))
        return None if member is None else member.card


@dataclass
class Job:
    """One request in the works."""

    asked: Asked
    key: Key
    trace_id: str
    pool: Pool
    ledger: Ledger
    live: Live | None
    serving: Serving | None = None  # None: a model of the pool was named
    coordinator: str = ""
    policy: str = DIRECT
    kept: Kept | None = None  # of its session
    recorder: Recorder | None = None  # as it was configured when the request came
    task: asyncio.Task[Any] | None = None
    cut: Fault | None = None  # why it was cut off, if it was
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
        session = None
        if self.kept is not None:
            chosen = None if episode.chosen is None else episode.steps[episode.chosen].reply
            session = self.kept.told(chosen.model if chosen is not None else None)
        return Served(self.asked, self.coordinator, self.policy, episode, self.fallback, self.first_token_s, session)
