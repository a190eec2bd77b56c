"""The standing of a pool whose models are exact solvers of their families: every figure is known."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from routewright.lab.families import FAMILIES
from routewright.lab.questions import questions
from routewright.lab.standing import GoldPlan, StepByStep, allocate, markdown, played, standing
from routewright.pools.providers.base import Ask, Completion
from routewright.types import Usage
from tests.pools.doubles import Scripted, scripted_pool


class Solver(Scripted):
    """Knows some families exactly, and nothing else."""

    def __init__(self, *families: str) -> None:
        super().__init__()
        self.families = [FAMILIES.load(name) for name in families]

    async def complete(self, ask: Ask) -> Completion:
        text = ask.messages[0]["content"].removeprefix("Q: ").removesuffix("\nA:")
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
    asked = questions("composed", 40, "test")
    free = asyncio.run(played(GoldPlan(asked, allocation), pool, asked))
    assert all(free.right)
    assert min(free.usd) >= 2 * 20e-6  # two steps at least, each charged
    paid = asyncio.run(played(GoldPlan(asked, allocation, "m0"), pool, asked))
    assert all(paid.right)
    assert paid.row.usd == pytest.approx(free.row.usd + 20e-6)  # and one more for the planner
    assert paid.row.calls == free.row.calls + 1


def test_the_table_has_everybody_and_the_oracle_is_their_best() -> None:
    pool = scripted_pool(Solver("facts"), Solver("text"))
    found = asyncio.run(standing(pool, pool.models, 12))
    assert list(found) == [*FAMILIES, "composed"]
    assert found["facts"]["m0"].share.share == 1.0
    assert found["facts"]["m1"].share.share == 0.0
    assert found["facts"]["oracle"].share.share == 1.0
    assert found["composed"]["m0"].share.share == found["composed"]["oracle"].share.share == 0.0
    assert "gold plan" in found["composed"]
    text = markdown(found)
    assert "| m0 | 100.0 |" in text
    assert "| gold plan |" in text
    low, high = found["facts"]["m0"].share.interval
    assert 0.7 < low < high <= 1.0


class Noter(Scripted):
    """Writes two notes, then answers."""

    async def complete(self, ask: Ask) -> Completion:
        notes = ask.messages[0]["content"].count("\nN: ")
        return Completion(f"note:{notes}=x" if notes < 2 else "answer:7", Usage(10, 5))


def test_step_by_step_goes_on_until_there_is_an_answer() -> None:
    pool = replace(scripted_pool(Noter()), transcripts="lab")
    asked = questions("composed", 5, "test")
    found = asyncio.run(played(StepByStep("m0"), pool, asked))
    assert [len(episode.steps) for episode in found.episodes] == [3] * 5
    assert found.right == [q.answer == "7" for q in asked]
