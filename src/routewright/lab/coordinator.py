"""The lab's coordinator: plan what is worth a plan, each subtask to the model that suits it; trained here, shipped trained.

Three steps, on validation questions, which no model was trained on:

    1. every model answers every question alone          -> an outcome table -> a router that allocates
    2. every question is planned and solved with it       -> one more column of the table, `decompose`
    3. a router on all columns                            -> whom to ask, and whether to plan at all

The table is in the project's one format, in a folder; an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from routewright import outcomes as tables
from routewright.coordinator import Coordinator, load_coordinator
from routewright.lab.families import FAMILIES, Question
from routewright.lab.pool import SHIPPED, solvers
from routewright.lab.questions import questions
from routewright.lab.record import record, row_of
from routewright.lab.roster import PLAN, ROSTER, ROUTE
from routewright.lab.router import descriptions
from routewright.lab.standing import VALUE_USD, allocate, played
from routewright.outcomes.table import beside
from routewright.policies.base import build_policy
from routewright.pools.pool import Pool
from routewright.router import Router, fit

FOLDER, ROUTED = SHIPPED / "coordinator", SHIPPED / "r1"
POLICY = "decompose"
VALUES_USD = tuple(float(v) for v in np.geomspace(1e-5, 1e-1, 9))  # that presets are chosen from
_AT_ONCE, _FOR_PRESETS = 100, 200

Progress = Callable[[str, int, int], None]  # what, done, of


def shipped() -> Coordinator:
    """The coordinator that ships with the package."""
    return load_coordinator(FOLDER)


def shipped_r1() -> Coordinator:
    """The other one that ships: the trained router, asked at every turn."""
    return load_coordinator(ROUTED)


async def describe(pool: Pool, per_family: int = 50, generalists: Sequence[str] = ("large",)) -> Coordinator:
    """A coordinator of the policy `r1` for a pool that has a router: what is said of each model is what it was best at on
    validation questions.

    Args:
        pool: The lab's models.
        per_family: Questions of each family.
        generalists: Models to be called good at everything; the first of them answers where the router can not.
    """
    router = next(name for name in pool.models if name in ROSTER and ROUTE in ROSTER[name].shares)
    able = solvers(pool.models)
    best = await allocate(pool, able, per_family)
    said = dict.fromkeys(able, "") | descriptions(best, [name for name in generalists if name in able])
    options = {"router": router, "form": "short", "rounds": 6, "turn_tokens": 96, "models": able, "descriptions": said}
    made = Coordinator(
        build_policy("r1", {**options, "fallback": generalists[0]}), about={"queries": per_family * len(FAMILIES)}
    )
    made.presets = {"default": VALUE_USD}
    return made


def training_questions(per_family: int, split: str = "validation", seed: int = 0) -> list[Question]:
    """As many of each family, and three times as many composed ones."""
    asked = [q for family in FAMILIES for q in questions(family, per_family, split, seed)]
    return asked + questions("composed", 3 * per_family, split, seed)


async def train(
    pool: Pool, out: Path, per_family: int = 200, scorer: str = "routewright", progress: Progress | None = None
) -> Coordinator:
    """Train a coordinator for a pool that has a planner.

    Args:
        pool: The lab's models.
        out: Folder for the outcome table.
        per_family: Questions of each family; composed ones are three times as many.
        scorer: What forecasts.
        progress: Told how far each part is.
    """
    tell = progress or (lambda what, done, of: None)
    asked, names = training_questions(per_family), solvers(pool.models)
    await record(pool, asked, 0, out, names, lambda done, of, _: tell("models alone", done, of))
    router = fit(tables.load(out, names), scorer)
    path = out / f"{POLICY}.parquet"
    if not path.exists():
        rows = await _planned(pool, asked, router, lambda done: tell("planned", done, len(asked)))
        with beside(path) as temporary:
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary, compression="zstd")
    whole = fit(tables.load(out, [*names, POLICY]), scorer)
    made = _coordinator(whole)
    made.about = dict(whole.about) | {"best_single": router.about["best_single"]}
    found = await presets(made, pool, str(router.about["best_single"]), tell)
    made.presets = {**found, "default": VALUE_USD}  # keeping the quality of so poor a best model is no aim
    return made


def _coordinator(router: Router) -> Coordinator:
    planner = next(name for name, recipe in ROSTER.items() if PLAN in recipe.shares)
    return Coordinator(build_policy(POLICY, {"planner": planner}), router)


async def _planned(
    pool: Pool, asked: Sequence[Question], router: Router, tell: Callable[[int], None]
) -> list[dict[str, Any]]:
    """A row per question: what planning and solving it gave, at the cost of all its calls."""
    policy = _coordinator(router).policy
    rows: list[dict[str, Any]] = []
    for at in range(0, len(asked), _AT_ONCE):
        some = asked[at : at + _AT_ONCE]
        done = await played(policy, pool, some)
        rows += [row_of(question, POLICY, episode) for question, episode in zip(some, done.episodes, strict=True)]
        tell(len(rows))
    return rows


async def presets(made: Coordinator, pool: Pool, best_single: str, tell: Progress) -> dict[str, float]:
    """The cheapest `value_usd` that keeps 95, 99 and 100 % of the best single model's right answers, on further validation
    questions; a preset that none keeps is left out."""
    asked = questions("mix", _FOR_PRESETS, "validation", seed=1)
    alone = build_policy("single", {"model": best_single})
    rival = (await played(alone, pool, asked)).row.share.share
    kept: list[tuple[float, float]] = []
    for number, value in enumerate(VALUES_USD, 1):
        mine = (await played(made.policy, pool, asked, value)).row.share.share
        kept.append((value, mine / max(rival, 1e-9)))
        tell("trade-offs", number, len(VALUES_USD))
    found = {}
    for name, share in (("q95", 0.95), ("q99", 0.99), ("q100", 1.0)):
        enough = [value for value, part in kept if part >= share]
        if enough:
            found[name] = min(enough)
    return found
