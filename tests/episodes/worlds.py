"""Small recorded worlds for tests: random scores, costs, agreement and failures."""

from __future__ import annotations

import numpy as np

from routewright.episodes.recorded import RecordedWorld, world_of
from routewright.outcomes import Outcomes
from routewright.types import Query


def random_outcomes(n: int, m: int, seed: int = 0, groups: int = 3) -> Outcomes:
    """`n` queries x `m` models; replies fall into `groups` answers, some of them without a key."""
    rng = np.random.default_rng(seed)
    shape = (n, m)
    return Outcomes(
        "random",
        tuple(Query(f"question {i}", f"q{i}", "task", "random") for i in range(n)),
        tuple(f"m{i}" for i in range(m)),
        (rng.random(shape) < 0.6).astype(float),
        rng.lognormal(-7, 1, shape),
        rng.integers(5, 50, shape).astype(float),
        rng.integers(1, 200, shape).astype(float),
        rng.random(shape),
        "correct",
        keys=rng.integers(-1, groups, shape),
    )


def random_world(n: int, m: int, seed: int = 0, failing: float = 0.1, tight: bool = True) -> RecordedWorld:
    """A world with failures; with `tight`, one model has calls above its bound, which overrun."""
    outcomes = random_outcomes(n, m, seed)
    failed = np.random.default_rng(seed + 1).random((n, m)) < failing
    outcomes.quality[failed] = 0.0
    world = world_of(outcomes, failed=failed)
    if tight:
        world.worst[0] = int(np.quantile(world.cost[:, 0], 0.9))
    return world
