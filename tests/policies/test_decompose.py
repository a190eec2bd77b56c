"""`decompose`: plans that work, plans that can not be read, subtasks that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from routewright.episodes.engine import run
from routewright.episodes.trace import replay, to_lines
from routewright.errors import ConfigError, ProviderError
from routewright.policies.base import build_policy
from routewright.policies.plan_text import answer_text
from routewright.types import Decision, Episode, Plan, Query, Think
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
