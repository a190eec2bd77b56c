"""`decompose`: plans that work, plans that can not be read, subtasks that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from routewright.episodes.engine import run
from routewright.episodes.trace import replay, to_lines
from routewright.errors import ConfigError, ProviderError
from routewright.policies.base import Forecaster, build_policy
from routewright.policies.plan_text import answer_text
from routewright.types import Decision, Episode, Forecast, Plan, Query, Think
from tests.pools.doubles import Scripted, scripted_pool

QUESTION = Query("How many vowels are in the capital of Peru, times 2?")
PLAN = "1. What is the capital of Peru?\n2. How many vowels are in '{1}'?\n3. What is {2} times 2?"
DOWN = ProviderError("400", "refused", reached=False)


def play(planner: Scripted, *workers: Scripted, **options: Any) -> Episode:
    pool = scripted_pool(planner, *workers, retries=0)
    episode = asyncio.run(run(build_policy("decompose", {"planner": "m0", **options}), pool, QUESTION, 0.01))
    assert replay(to_lines(episode, pool.cards)) == episode
    return episode


def actions(episode: Episode) -> list[Any]:
    return [s.decision.action for s in episode.steps if isinstance(s.decision, Decision)]


def test_a_plan_is_solved_step_by_step() -> None:
    planner, worker = Scripted(PLAN), Scripted("answer:Lima", "i1 a2 answer:2", "2*2=4 answer:4")
    episode = play(planner, worker)
    assert planner.asked[0].messages[0]["content"] == f"Q: {QUESTION.text}\nP:"
    assert [a.messages[0]["content"] for a in worker.asked] == [
        "What is the capital of Peru?",
        "How many vowels are in 'Lima'?",
        "What is 2 times 2?",
    ]
    assert answer_text(episode.answer) == "4"
    assert episode.cost_usd == pytest.approx(4 * 20e-6)  # the planner's tokens too


def test_independent_subtasks_go_out_together() -> None:
    plan = "1. What is 2 + 3?\n2. What is 4 + 5?\n3. What is {1} + {2}?"
    worker = Scripted(0.02, 0.02, "answer:5", "answer:9", "answer:14")
    episode = play(Scripted(plan), worker)
    assert worker.most == 2
    assert worker.asked[-1].messages[0]["content"] in ("What is 5 + 9?", "What is 9 + 5?")
    assert answer_text(episode.answer) == "14"


@pytest.mark.parametrize("text", ["I do not know", "1. What is {2}?", "2. What?", ""])
def test_a_plan_that_can_not_be_read_is_noted_and_the_question_asked(text: str) -> None:
    worker = Scripted("answer:6")
    episode = play(Scripted(text), worker)
    (note,) = [a for a in actions(episode) if isinstance(a, Think)]
    assert note.text.startswith("malformed: ")
    assert worker.asked[0].messages[0]["content"] == QUESTION.text
    assert episode.answer == "answer:6"


def test_no_plan_at_all_is_no_crash() -> None:
    episode = play(Scripted(DOWN), Scripted("answer:6"))
    assert episode.answer == "answer:6"


def test_after_a_failure_the_question_is_planned_again_and_another_model_asked() -> None:
    planner, ill, well = Scripted(PLAN, PLAN), Scripted(DOWN), Scripted(*["answer:Lima", "answer:2", "answer:4"])
    episode = play(planner, ill, well)
    assert sum(isinstance(a, Plan) for a in actions(episode)) == 2
    assert len(well.asked) == 3
    assert answer_text(episode.answer) == "4"


def test_in_the_end_the_question_is_asked_as_it_is() -> None:
    planner, worker = Scripted(PLAN, PLAN), Scripted(DOWN, DOWN, "answer:6")
    episode = play(planner, worker, replans=1)
    assert worker.asked[-1].messages[0]["content"] == QUESTION.text
    assert episode.answer == "answer:6"


def test_a_worker_can_be_named() -> None:
    first, second = Scripted(), Scripted("answer:Lima", "answer:2", "answer:4")
    play(Scripted(PLAN), first, second, worker="m2")
    assert not first.asked
    assert len(second.asked) == 3


def test_a_planner_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"decompose\.planner = 'nobody'"):
        asyncio.run(run(build_policy("decompose", {"planner": "nobody"}), scripted_pool(Scripted()), QUESTION, 0.01))


class Router:
    """Forecasts that are known beforehand."""

    def __init__(self, **promised: float) -> None:
        self.models = tuple(promised)
        self.quality = list(promised.values())
        self.encoder = type("Quick", (), {"slow": False})()

    def forecast(self, queries: Sequence[Query]) -> Forecast:
        shape = (len(queries), len(self.models))
        return Forecast(
            self.models,
            np.broadcast_to(np.array(self.quality), shape),
            np.zeros(shape),
            np.full(shape, 1e-6),
            None,
        )


@pytest.mark.parametrize(("promised", "plans"), [(0.9, 1), (0.2, 0)])
def test_a_question_is_planned_only_where_that_promises_more(promised: float, plans: int) -> None:
    planner, worker = Scripted(PLAN), Scripted("answer:Lima", "answer:2", "answer:4")
    policy = build_policy("decompose", {"planner": "m0"})
    policy.forecaster = Forecaster(Router(m1=0.5, decompose=promised))
    pool = scripted_pool(planner, worker, retries=0)
    episode = asyncio.run(run(policy, pool, QUESTION, 0.01))
    assert sum(isinstance(a, Plan) for a in actions(episode)) == plans
    assert len(planner.asked) == plans
    if not plans:
        (step,) = episode.steps
        assert step.decision.choices == ("m1", "decompose")  # type: ignore[union-attr]
        assert step.decision.reason.endswith("planning 0.200 at 1e-06 USD")  # type: ignore[union-attr]


def test_a_router_without_the_column_always_plans() -> None:
    planner, worker = Scripted(PLAN), Scripted("answer:Lima", "answer:2", "answer:4")
    policy = build_policy("decompose", {"planner": "m0"})
    policy.forecaster = Forecaster(Router(m1=0.9))
    asyncio.run(run(policy, scripted_pool(planner, worker, retries=0), QUESTION, 0.01))
    assert len(planner.asked) == 1
