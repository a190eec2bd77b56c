"""One episode in progress: what the engine's parts share while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from routewright.episodes.transition import transition
from routewright.policies.base import Policy
from routewright.pools.budget import Ledger
from routewright.pools.caller import OnDelta
from routewright.pools.pool import Pool
from routewright.types import Episode, State, Step

Sink: TypeAlias = Callable[
    [State, Step | None, Episode | None], None
]  # each step as it is done; the episode at the end


@dataclass(slots=True)
class Run:
    """One episode in progress."""

    policy: Policy
    pool: Pool
    ledger: Ledger
    rng: np.random.Generator
    state: State
    on_delta: OnDelta | None
    sink: Sink | None
    trace_id: str
    started: float
    max_steps: int
    clock_s: float = 0.0  # of worlds with a clock of their own
    asked: set[str] = field(default_factory=set)
    worst_usd: tuple[float, ...] = ()  # along the pool; weighed once
    worst_pico: tuple[int | None, ...] = ()
    least_pico: tuple[int | None, ...] = ()  # the same for the shortest reply the policy allows, if it allows any
    able: tuple[bool, ...] = ()
    tokens_in: int | None = None  # the query's, at most
    settled: asyncio.Event | None = None  # set when a call has ended, or a text was written, while a plan is run

    def append(self, step: Step) -> None:
        """The step has been done: it is part of the state and of the record."""
        self.state = transition(self.state, step)
        if self.sink is not None:
            self.sink(self.state, step, None)

    def freed(self) -> None:
        """A reservation has been settled: calls of the plan that did not fit may fit now."""
        if self.settled is not None:
            self.settled.set()

    def end(self, episode: Episode) -> None:
        """The record is complete."""
        if self.sink is not None:
            self.sink(self.state, None, episode)

    @property
    def latency_s(self) -> float:
        """Since the beginning: by the wall clock, or by the world's own."""
        return self.clock_s if self.pool.rules.clock else time.perf_counter() - self.started
