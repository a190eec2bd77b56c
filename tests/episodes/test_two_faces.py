"""The engine and the batched world are one process: random trajectories through both."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from routewright.episodes.batched import Batch
from routewright.episodes.engine import run
from routewright.episodes.recorded import recorded_pool
from routewright.errors import BudgetExceeded
from routewright.policies.base import ArrayPolicy
from routewright.policies.observe import Observation
from routewright.types import Floats, Forecast, Ints
from tests.episodes.worlds import random_world

EPISODES = 10_000
FIELDS = (
    "called",
    "failed",
    "order",
    "agree",
    "tokens_out",
    "cost_usd",
    "worst_usd",
    "spent_usd",
    "remaining_usd",
    "steps",
    "mask",
)


class Script(ArrayPolicy):
    """Takes the actions it was given and keeps what it saw."""

    kind: ClassVar[str] = "script"
    summary: ClassVar[str] = "test"

    def __init__(self, actions: Sequence[int]) -> None:
        super().__init__()
        self.actions, self.seen = list(actions), []  # type: ignore[var-annotated]

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        self.seen.append(obs)
        return np.array([self.actions[len(self.seen) - 1]]), np.ones(1)


def test_ten_thousand_random_trajectories_are_the_same_in_both_faces() -> None:
    world = random_world(400, 5)
    rng = np.random.default_rng(7)
    rows = rng.integers(0, 400, EPISODES)
    values = rng.lognormal(-5, 2, EPISODES)
    budgets = np.where(rng.random(EPISODES) < 0.4, np.inf, rng.lognormal(-5, 1, EPISODES))
    batch = Batch(world, rows, values, budgets)
    seen: list[Observation] = []
    taken: list[Ints] = []
    live: list[np.ndarray] = []
    while not batch.done.all():
        obs = batch.observation()
        actions = np.where(obs.mask, rng.random(obs.mask.shape), -1).argmax(axis=1)
        live.append(~batch.done)
        seen.append(_copy(obs))
        taken.append(actions)
        batch.step(actions, obs)
    pool = recorded_pool(world)
    counts = {"overrun": 0, "failed": 0, "capped": 0, "nothing": 0}

    async def one(b: int) -> None:
        script = Script([int(a[b]) for a, on in zip(taken, live, strict=True) if on[b]])
        try:
            episode = await run(script, pool, world.outcomes.queries[rows[b]], float(values[b]), float(budgets[b]))
        except BudgetExceeded:  # nothing fits at all: the engine says so, the batch can only answer nothing
            assert batch.chosen[b] == -1
            assert batch.facts.steps[b] == 0
            counts["nothing"] += 1
            return
        assert len(script.seen) == sum(on[b] for on in live)
        for step, mine in enumerate(script.seen):
            theirs = seen[step]
            for name in FIELDS:
                a, c = getattr(mine, name)[0], getattr(theirs, name)[b]
                assert np.array_equal(a, c), (b, step, name, a, c)
            key, other = mine.key[0], theirs.key[b]
            assert np.array_equal(key < 0, other < 0)
            assert np.array_equal(key[:, None] == key[None], other[:, None] == other[None])
        assert round(episode.cost_usd * 1e12) == batch.facts.spent[b]
        assert round(episode.overrun_usd * 1e12) == batch.overrun[b]
        assert episode.quality == batch.quality[b]
        assert abs(episode.latency_s - batch.latency_s[b]) < 1e-9
        assert episode.cost_usd <= budgets[b]
        counts["overrun"] += episode.stopped == "overrun"
        counts["failed"] += episode.stopped == "failed"
        counts["capped"] += bool(np.isfinite(budgets[b]))

    async def everything() -> None:
        for b in range(EPISODES):
            await one(b)

    asyncio.run(everything())
    # The trajectories met what they were to meet.
    assert counts["overrun"] > 100
    assert counts["failed"] > 100
    assert counts["capped"] > 3000
    assert counts["nothing"] > 100


def _copy(obs: Observation) -> Observation:
    return Observation(
        obs.models, *(np.array(getattr(obs, f)) for f in Observation.__dataclass_fields__ if f != "models")
    )
