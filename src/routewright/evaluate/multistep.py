"""Policies of several calls on a recorded table: which can be judged there, and playing them at every trade-off.

A table holds one independent answer per (query, model). A policy whose calls see earlier replies, or that asks one model
several times, takes branches that nobody recorded: it is named in the report as not recorded, and gets no numbers. So is
one that compares replies where the replies were not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from routewright.episodes.batched import play
from routewright.episodes.recorded import world_of
from routewright.errors import ConfigError, UnknownName
from routewright.evaluate.course import Course, Steps
from routewright.evaluate.settings import Part, Settings, value_grid
from routewright.outcomes import Outcomes
from routewright.policies.base import ArrayPolicy, build_policy
from routewright.policies.table import POLICIES
from routewright.scorers import SCORERS, build_scorer
from routewright.types import Forecast

DEPENDENT = "a table holds independent answers only"
ONE_REPLY = "a table holds one reply of each model"
NO_REPLIES = "the replies were not kept"
INCOMPARABLE = "its replies have no answers that can be compared"
_CELLS = 500_000  # episodes times models held at once


def check_part(part: Part) -> None:
    """Refuse a policy that does not exist, or whose options it does not have.

    Raises:
        UnknownName: Neither a scorer nor a policy of several calls has this name.
        ConfigError: Its options can not be used.
    """
    if part.several:
        build_policy(part.kind, part.options)
        if part.scorer:
            build_scorer(part.scorer)
        return
    if part.kind not in SCORERS:
        error = UnknownName("policy", part.kind, [*SCORERS, *POLICIES])
        error.args = (f"{error} Of these {', '.join(POLICIES)} run episodes, the others are scorers.",)
        raise error
    if part.scorer:
        raise ConfigError(
            f"policy {part.label!r} is the scorer {part.kind!r} and can not use another, got scorer = {part.scorer!r}. "
            f"Expected a scorer beside one of {', '.join(POLICIES)}; leave it out."
        )
    build_scorer(part.kind, part.options)


def why_not(part: Part, tables: Sequence[Outcomes]) -> str | None:
    """Why a policy can not be judged on these tables (the one trained on and the one judged on); None if it can."""
    if not part.several:
        return None
    if not issubclass(cls := POLICIES.load(part.kind), ArrayPolicy) or cls.contexts != ("query",):
        return DEPENDENT
    samples = part.options.get("samples", 1)  # a count, or whether there are several
    if samples is True or samples > 1:
        return ONE_REPLY
    if not part.compares:
        return None
    if any(t.keys is None for t in tables):
        return NO_REPLIES
    return INCOMPARABLE if any((t.keys < 0).all() for t in tables if t.keys is not None) else None


def not_recorded(settings: Settings, tables: Sequence[Outcomes]) -> dict[str, str]:
    """Label -> why it has no numbers on these tables; with the controls that nobody asked for and no table can have."""
    found = {part.label: why for part in settings.all_parts if (why := why_not(part, tables)) is not None}
    if settings.several:
        kinds = {part.kind for part in settings.policies}
        found |= {
            name: DEPENDENT for kind, name in (("self_refine",) * 2, ("pipeline", "pipelines")) if kind not in kinds
        }
    return found


def follow(
    part: Part, seed: int, train: Outcomes, target: Outcomes, forecasts: tuple[Forecast, Forecast] | None
) -> Course:
    """Fit a policy of several calls and run its episodes on every target query at every trade-off of the grid.

    Args:
        forecasts: For policies that use one: of the training rows, by scorers that had not seen them, and of the target.
    """
    policy = cast(ArrayPolicy, build_policy(part.kind, part.options, seed))
    policy.fit(train, None if forecasts is None else forecasts[0])
    # The most a call can cost is what training showed: the target's own maxima are not the policy's to know.
    world = replace(world_of(target), worst=world_of(train).worst)
    grid, n = value_grid(), len(target)
    rows, values = np.tile(np.arange(n), len(grid)), np.repeat(grid, n)
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // len(world.models))
    played = [
        play(
            policy,
            world,
            rows[at : at + step],
            values[at : at + step],
            forecast=None if forecasts is None else forecasts[1],
            rng=rng,
        )
        for at in range(0, len(rows), step)
    ]
    shape = (len(grid), n)
    return Course(
        np.concatenate([p.chosen for p in played]).astype(np.int16).reshape(shape),
        Steps.of(
            np.concatenate([p.quality for p in played]).reshape(shape),
            np.concatenate([p.cost_usd for p in played]).reshape(shape),
            np.concatenate([p.asked for p in played]).reshape(*shape, len(world.models)),
        ),
    )
