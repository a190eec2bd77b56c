"""The lab's coordinator on a pool of exact solvers and a perfect planner: what it should learn is known."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from routewright.coordinator import load_coordinator
from routewright.lab.coordinator import train, training_questions
from routewright.lab.demo import asked_questions, collapse, compare, shown_questions, told
from routewright.lab.families import FAMILIES
from routewright.lab.page import render, verdict
from routewright.lab.questions import questions
from routewright.lab.standing import played
from routewright.lab.text import plan_prompt, plan_text
from routewright.policies.base import Policy, build_policy
from routewright.pools.config import CallSettings
from routewright.pools.pool import Endpoint, Member, Pool
from routewright.pools.providers.base import Ask, Completion
from routewright.types import ModelCard, Plan, Usage
from tests.lab.test_standing import Solver
from tests.pools.doubles import Scripted

HALVES = (tuple(FAMILIES)[::2], tuple(FAMILIES)[1::2])


class Planner(Scripted):
    """Knows the gold plan of every question it may be asked, and answers a simple one with one line."""

    def __init__(self) -> None:
        super().__init__()
        asked = [
            *training_questions(20),
            *questions("mix", 200, "validation", 1),
            *asked_questions(60),
            *shown_questions(3),
        ]
        self.plans = {plan_prompt(q.text): plan_text(q.plan) if q.plan else f"1. {q.text}" for q in asked}

    async def complete(self, ask: Ask) -> Completion:
        self.asked.append(ask)
        return Completion(self.plans[ask.messages[0]["content"]], Usage(10, 60))


def solver_pool() -> Pool:
    """Two solvers of half the families each, a cheap one that knows nothing, and the planner; prices like the lab's."""
    providers = {"facts": Solver(*HALVES[0]), "words": Solver(*HALVES[1]), "cheap": Solver(), "planner": Planner()}
    prices = {"facts": 2.0, "words": 2.0, "cheap": 0.2, "planner": 2.0}
    return Pool(
        {
            name: Member(
                ModelCard(name, prices[name], prices[name], None, "", None, 100),
                Endpoint(name, provider, CallSettings(retries=0, breaker_failures=0)),
                name,
            )
            for name, provider in providers.items()
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator trained on 200 questions, saved."""
    folder = tmp_path_factory.mktemp("lab")
    made = asyncio.run(train(solver_pool(), folder / "outcomes", 20, "ridge"))
    made.save(folder / "coordinator")
    return folder


def test_it_plans_what_no_single_call_solves_and_asks_the_rest_as_it_is(trained: Path) -> None:
    coordinator = load_coordinator(trained / "coordinator")
    asked = asked_questions(60)
    done = asyncio.run(played(coordinator.policy, solver_pool(), asked, 3e-4))  # a plan costs 0.4 of a right answer
    planned = [any(isinstance(s.action, Plan) for s in episode.steps) for episode in done.episodes]
    composed = [bool(q.plan) for q in asked]
    simple = [p for p, c in zip(planned, composed, strict=True) if not c]
    assert sum(p for p, c in zip(planned, composed, strict=True) if c) >= 0.9 * sum(composed)  # measured: 27 of 28
    assert sum(simple) <= 0.25 * len(simple)  # measured: 2 of 28
    assert done.row.share.share >= 0.85  # measured: 55 of 56
    assert coordinator.about["best_single"] in ("facts", "words")
    assert set(coordinator.presets) == {"q95", "q99", "q100", "default"}
    assert coordinator.default_value_usd == 0.01


def test_an_interrupted_training_asks_nothing_twice(trained: Path) -> None:
    pool = solver_pool()
    again = asyncio.run(train(pool, trained / "outcomes", 20, "ridge"))
    assert again.presets == load_coordinator(trained / "coordinator").presets
    facts = pool.member("facts").endpoint.provider
    assert isinstance(facts, Scripted)
    validation = {plan_prompt(q.text) for q in training_questions(20)}
    planner = pool.member("planner").endpoint.provider
    assert isinstance(planner, Scripted)
    assert not validation & {ask.messages[0]["content"] for ask in planner.asked}  # only further ones, for the presets


def test_the_comparison_counts_everybody_on_the_same_questions(trained: Path) -> None:
    coordinator = load_coordinator(trained / "coordinator")
    pool, asked, told_of = solver_pool(), asked_questions(60), []
    facts = asyncio.run(
        compare(pool, coordinator, asked, lambda done, of, note: told_of.append((done, of)), (1e-3, 1e-2))
    )
    assert told_of[-1] == (5, 5)
    assert list(facts["rows"]) == ["facts", "words", "cheap", "oracle of one call", "coordinator"]
    for row in facts["rows"].values():
        assert row["all"]["right"] == row["simple"]["right"] + row["composed"]["right"]
        assert row["all"]["n"] == len(asked) == facts["questions"]
    assert facts["rows"]["oracle of one call"]["composed"]["right"] <= 2  # a solver reads no composed question
    assert facts["difference"]["low"] > 0
    assert facts["collapse"]["calls_per_question"] == facts["rows"]["coordinator"]["all"]["calls"]
    assert sum(facts["collapse"]["share"].values()) == pytest.approx(1.0)
    assert verdict(facts)[0].startswith("The coordinator answers more questions right")
    page = render(facts, [], {"command": "<test>"})
    assert "&lt;test&gt;" in page
    assert "<script" not in page
    assert "best single" in page


def test_nothing_more_is_claimed_than_the_interval_allows() -> None:
    facts = {
        "best_single": "large",
        "cost_ratio": 1.4,
        "questions": 100,
        "composed": 50,
        "difference": {"mean": 0.01, "low": -0.02, "high": 0.04},
    }
    assert "not provably more or fewer" in verdict(facts)[0]
    assert "1.4 times the cost" in verdict(facts)[0]
    facts["difference"] = {"mean": -0.03, "low": -0.05, "high": -0.01}
    assert "answers fewer questions" in verdict(facts)[0]


def test_shown_questions_are_not_picked_by_who_can_answer_them() -> None:
    found = shown_questions(6)
    assert [len(q.plan) for q in found] == [2, 3, 4, 2, 3, 4]
    stream = questions("composed", 120, "test", 0)
    assert next(q.text for q in found if len(q.plan) == 2) == next(q.text for q in stream if len(q.plan) == 2)


def test_every_step_can_be_told(trained: Path) -> None:
    coordinator = load_coordinator(trained / "coordinator")
    done = asyncio.run(played(coordinator.policy, solver_pool(), shown_questions(3)))
    lines = [line for episode in done.episodes for step in episode.steps for line in told(step)]
    assert any(line.startswith("planner writes a plan (10+60 tokens, ") for line in lines)
    assert any(line.startswith("  1. ") for line in lines)
    assert any(line.startswith("1. facts <- ") or line.startswith("1. words <- ") for line in lines)


def test_the_collapse_block_of_one_model() -> None:
    asked = asked_questions(28)
    done = asyncio.run(played(load_single("cheap"), solver_pool(), asked))
    block = collapse(done.episodes, asked)
    assert block == {
        "share": {"cheap": 1.0},
        "entropy_bits": 0.0,
        "calls_per_question": 1.0,
        "information_bits": 0.0,
        "planned": 0.0,
    }


def load_single(model: str) -> Policy:
    return build_policy("single", {"model": model})
