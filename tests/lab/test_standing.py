"""The standing of a pool whose models are exact solvers of their families: every figure is known."""

from __future__ import annotations

import asyncio

from routewright.lab.families import FAMILIES
from routewright.lab.questions import questions
from routewright.lab.standing import allocate, gold, standing
from routewright.pools.providers.base import Ask, Completion
from routewright.types import Usage
from tests.pools.doubles import Scripted, scripted_pool


class Solver(Scripted):
    """Knows some families exactly, and nothing else."""

    def __init__(self, *families: str) -> None:
        super().__init__()
        self.families = [FAMILIES.load(name) for name in families]

    async def complete(self, ask: Ask) -> Completion:
        text = ask.messages[0]["content"]
        for family in self.families:
            worked = family.solve(text)
            if worked is not None:
                return Completion(f"answer:{worked.answer}", Usage(10, 5))
        return Completion("answer:unknown", Usage(10, 5))


def test_the_gold_plan_is_right_where_specialists_are() -> None:
    half = list(FAMILIES)[::2]
    pool = scripted_pool(Solver(*half), Solver(*[f for f in FAMILIES if f not in half]))
    allocation = asyncio.run(allocate(pool, pool.models, 10))
    assert allocation == {f: "m0" if f in half else "m1" for f in FAMILIES}
    right, usd = asyncio.run(gold(pool, questions("composed", 40, "test"), allocation))
    assert all(right)
    assert min(usd) >= 2 * 20e-6  # two steps at least, each charged


def test_the_table_has_everybody_and_the_oracle_is_their_best() -> None:
    pool = scripted_pool(Solver("facts"), Solver("text"))
    found = asyncio.run(standing(pool, pool.models, 12))
    assert list(found) == [*FAMILIES, "composed"]
    assert found["facts"]["m0"].share.share == 1.0
    assert found["facts"]["m1"].share.share == 0.0
    assert found["facts"]["oracle"].share.share == 1.0
    assert found["composed"]["m0"].share.share == found["composed"]["oracle"].share.share == 0.0
    assert "gold plan" in found["composed"]
    low, high = found["facts"]["m0"].share.interval
    assert 0.7 < low < high <= 1.0
