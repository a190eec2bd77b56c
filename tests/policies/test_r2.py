"""`r2`: plans that are run, mended, reviewed and made again; allocation by forecasts and by a language model."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routewright.coordinator import Coordinator, load_coordinator
from routewright.episodes.engine import run
from routewright.episodes.trace import replay, to_lines
from routewright.errors import ConfigError, EpisodeError, ProviderError
from routewright.policies.base import Forecaster, build_policy
from routewright.policies.plan_text import answer_text
from routewright.policies.r2 import R2
from routewright.policies.r2_allocate import WIDTH, Probes, chances, features, joined
from routewright.policies.r2_allocate import read as read_allocation
from routewright.policies.r2_fits import fit_fits, shape_of
from routewright.policies.r2_plan import Unreadable
from routewright.types import Answer, Call, Decision, Episode, Generate, Plan, Query, Think
from tests.episodes.worlds import random_outcomes
from tests.policies.test_decompose import Router
from tests.pools.doubles import Scripted, scripted_pool

QUESTION = Query("How many vowels are in the capital of Peru, times 2?")
LINES = "1. What is the capital of Peru?\n2. How many vowels are in '{1}'?\n3. What is {2} times 2?"
DIAMOND = json.dumps(
    {
        "subtasks": [
            {"id": "a", "task": "What is 2 + 3?"},
            {"id": "b", "task": "What is 4 + 5?"},
            {"id": "c", "task": "What is {a} + {b}?", "after": ["a", "b"]},
        ]
    }
)
DOWN = ProviderError("400", "refused", reached=False)


def play(*providers: Scripted, policy: R2 | None = None, **options: Any) -> Episode:
    pool = scripted_pool(*providers, retries=0)
    made = policy or build_policy("r2", {"decomposer": "m0", **options})
    episode = asyncio.run(run(made, pool, QUESTION, 0.01))
    assert replay(to_lines(episode, pool.cards)) == episode
    return episode


def actions(episode: Episode, kind: type[Any]) -> list[Any]:
    return [s.action for s in episode.steps if isinstance(s.action, kind)]


def prompts(provider: Scripted) -> list[str]:
    return [str(a.messages[0]["content"]) for a in provider.asked]


def test_a_diamond_runs_side_by_side_and_tells_its_critical_path() -> None:
    worker = Scripted(0.02, 0.02, "answer:5", "answer:9", "answer:14")
    episode = play(Scripted(DIAMOND), worker)
    assert worker.most == 2
    assert answer_text(episode.answer) == "14"
    assert episode.ending is not None
    assert episode.ending.reason.startswith("critical path ")
    assert episode.ending.action == Answer("last", of=(len(episode.steps) - 1,))


def test_the_lines_form_of_the_labs_planner() -> None:
    worker = Scripted("answer:Lima", "i1 a2 answer:2", "2*2=4 answer:4")
    planner = Scripted(LINES)
    episode = play(planner, worker, form="lines")
    assert prompts(planner) == [f"Q: {QUESTION.text}\nP:"]
    assert prompts(worker) == ["What is the capital of Peru?", "How many vowels are in 'Lima'?", "What is 2 times 2?"]
    assert answer_text(episode.answer) == "4"


def test_the_last_subtask_answers_whichever_ends_last() -> None:
    """Two ends: the answer is the plan's last one, not the one that happened to be slow."""
    plan = json.dumps({"subtasks": [{"id": "a", "task": "Slow?"}, {"id": "b", "task": "Quick?"}]})
    slow, quick = Scripted(0.05, "answer:slow"), Scripted("answer:quick")
    policy = build_policy("r2", {"decomposer": "m0", "allocator": "m3"})
    episode = play(Scripted(plan), slow, quick, Scripted("1. m1\n2. m2"), policy=policy)  # type: ignore[arg-type]
    assert episode.steps[-1].reply.text == "answer:slow"  # type: ignore[union-attr]
    assert episode.answer == "answer:quick"


def test_no_plan_is_one_call() -> None:
    worker = Scripted("6")
    episode = play(Scripted('{"direct": true}'), worker)
    assert prompts(worker) == [QUESTION.text]
    assert episode.answer == "6"
    assert not actions(episode, Plan)


def test_a_bad_plan_is_told_and_written_again() -> None:
    planner, worker = Scripted('{"subtasks": []}', DIAMOND), Scripted("answer:5", "answer:9", "answer:14")
    episode = play(planner, worker)
    (note,) = actions(episode, Think)
    assert note.text == "malformed: the plan has 0 subtasks. Expected 1 to 12."
    assert "The plan before failed: the plan has 0 subtasks." in prompts(planner)[1]
    assert [a.sample for a in planner.asked] == [0, 1]  # another text, not the same again
    assert answer_text(episode.answer) == "14"


def test_bad_plans_are_never_run() -> None:
    worker = Scripted("6")
    episode = play(Scripted("1", "2", "3", "4"), worker, repairs=2)
    assert len(actions(episode, Think)) == 3
    assert not actions(episode, Plan)
    assert prompts(worker) == [QUESTION.text]


def test_what_had_to_be_mended_is_told() -> None:
    episode = play(Scripted(f"Sure:\n{DIAMOND}"), Scripted("answer:5", "answer:9", "answer:14"))
    (plan,) = [s.decision for s in episode.steps if isinstance(s.action, Plan)]
    assert isinstance(plan, Decision)
    assert plan.reason == "3 subtasks; left out what stood around the plan: 'Sure:'"


def test_a_failed_subtask_is_asked_of_another_before_what_waits_for_it() -> None:
    ill, well = Scripted(DOWN), Scripted("answer:Lima")
    episode = play(Scripted(LINES), ill, well, form="lines")
    nodes = [(s.node, s.reply.model, s.reply.error is None) for s in episode.steps if s.node is not None and s.reply]
    assert nodes[:3] == [(0, "m1", False), (0, "m2", True), (1, "m1", True)]
    assert sum(isinstance(s.action, Plan) for s in episode.steps) == 1


def test_after_all_tries_a_new_plan_is_made_from_there() -> None:
    """The first subtask stands; it is not asked again."""
    planner = Scripted(LINES, LINES)
    worker = Scripted("answer:Lima", DOWN, "answer:2", "answer:4")
    episode = play(planner, worker, form="lines", retries=0)
    assert prompts(worker) == [
        "What is the capital of Peru?",
        "How many vowels are in 'Lima'?",
        "How many vowels are in 'Lima'?",
        "What is 2 times 2?",
    ]
    _, second = [s for s in episode.steps if isinstance(s.action, Plan)]
    assert second.decision.reason == "2 subtasks, 1 answered before"  # type: ignore[union-attr]
    assert answer_text(episode.answer) == "4"
    (stop,) = actions(episode, Think)
    assert stop.text.startswith("subtask 2 has no answer that could stand")


def test_a_new_plan_asks_somebody_else_what_did_not_stand() -> None:
    first, second = Scripted("answer:Lima", DOWN, "answer:4"), Scripted("answer:2")
    episode = play(Scripted(LINES, LINES), first, second, form="lines", retries=0)
    assert prompts(second) == ["How many vowels are in 'Lima'?"]
    assert prompts(first)[-1] == "What is 2 times 2?"
    assert answer_text(episode.answer) == "4"


def test_without_replans_the_question_is_asked_as_it_is() -> None:
    worker = Scripted("answer:Lima", DOWN, "answer:6")
    episode = play(Scripted(LINES), worker, form="lines", retries=0, replans=0)
    assert prompts(worker)[-1] == QUESTION.text
    assert episode.answer == "answer:6"


def test_an_unlikely_answer_is_asked_again_and_two_that_agree_stand() -> None:
    policy = build_policy("r2", {"decomposer": "m0", "form": "lines", "confident": 0.5, "retries": 2})
    policy.forecaster = Forecaster(Router(m1=0.4, m2=0.3, m3=0.2))
    first = Scripted("answer:Lyma", "answer:2", "answer:4")
    second, third = Scripted("answer:Lima", "answer:2", "answer:4"), Scripted("answer:lima")
    episode = play(Scripted(LINES), first, second, third, policy=policy)  # type: ignore[arg-type]
    asked = [(s.node, s.reply.model) for s in episode.steps if s.node is not None and s.reply]
    assert asked == [(0, "m1"), (0, "m2"), (0, "m3"), (1, "m1"), (1, "m2"), (2, "m1"), (2, "m2")]
    assert prompts(first)[1] == "How many vowels are in 'Lima'?"  # the likelier of the two
    assert answer_text(episode.answer) == "4"


def test_an_answerer_sees_all_results() -> None:
    last = Scripted("It is 14.")
    episode = play(Scripted(DIAMOND), Scripted("answer:5", "answer:9", "answer:14"), last, answerer="m2", models=["m1"])
    assert "3. What is 5 + 9?\n   14" in prompts(last)[0]
    assert episode.answer == "It is 14."


def test_a_review_knows_what_reinforcement_has_added() -> None:
    """Forecasts of 0.1 alone would be asked again; with what was learnt about m1 they are not."""
    policy = build_policy("r2", {"decomposer": "m0", "form": "lines", "confident": 0.5})
    assert isinstance(policy, R2)
    policy.forecaster = Forecaster(Router(m1=0.1, m2=0.05))
    asked = []
    for learnt in (0.0, 0.6):
        weights = np.zeros((WIDTH + 1, 1))
        weights[WIDTH] = learnt
        policy.take(["m1"], weights)
        pool = scripted_pool(Scripted(LINES), Scripted(), Scripted(), retries=0)
        episode = asyncio.run(run(policy, pool, QUESTION, 0.01))
        asked.append(sum("asked again" in getattr(s.decision, "reason", "") for s in episode.steps))
    assert asked[0] > 0
    assert asked[1] == 0


def test_a_language_model_allocates() -> None:
    one, two = Scripted("answer:5", "answer:14"), Scripted("answer:9")
    allocator = Scripted("1. m1\n2. m2\n3. m1")
    episode = play(Scripted(DIAMOND), one, two, allocator, allocator="m3")
    assert "What is 4 + 5?" in prompts(allocator)[0]
    told = Scripted("1. m1\n2. m2\n3. m1")
    play(Scripted(DIAMOND), Scripted(), Scripted(), told, allocator="m3", descriptions={"m2": "good at sums"})
    assert "good at sums" in prompts(told)[0]
    assert "good at sums" not in prompts(allocator)[0]
    assert prompts(two) == ["What is 4 + 5?"]
    assert episode.cost_usd == pytest.approx(5 * 20e-6)  # both language models too
    (why,) = {s.decision.reason for s in episode.steps if s.node is not None}  # type: ignore[union-attr]
    assert why == "m3 named it"


def test_an_allocation_that_can_not_be_read_is_told_and_done_without() -> None:
    planner = Scripted(DIAMOND)
    episode = play(planner, Scripted(), Scripted("1. nobody\n2. m1\n3. m1"), allocator="m2", worker="m1")
    (note,) = actions(episode, Think)
    assert note.text == "malformed: no model is called 'nobody'. Expected one of: m1."
    assert len(planner.asked) == 1
    assert len(actions(episode, Plan)) == 1


@pytest.mark.parametrize("text", ["", "1. a", "1. a\n3. b", "1. a\n2. c", "a\nb", "1. a\n2. b\n3. a"])
def test_allocations_are_read_strictly(text: str) -> None:
    assert read_allocation("1. a\n2. b", 2, ["a", "b"]) == ("a", "b")
    with pytest.raises(Unreadable):
        read_allocation(text, 2, ["a", "b"])


@pytest.mark.parametrize(("promised", "plans"), [(0.9, 1), (0.2, 0)])
def test_whether_to_plan_is_forecast(promised: float, plans: int) -> None:
    policy = build_policy("r2", {"decomposer": "m0", "form": "lines"})
    policy.forecaster = Forecaster(Router(m1=0.5, r2=promised))
    planner = Scripted(LINES)
    episode = play(planner, Scripted(), policy=policy)  # type: ignore[arg-type]
    assert len(actions(episode, Plan)) == len(planner.asked) == plans


def test_what_reinforcement_learnt_moves_the_choice_and_is_saved(tmp_path: Any) -> None:
    policy = build_policy("r2", {"decomposer": "m0", "form": "lines"})
    assert isinstance(policy, R2)
    policy.forecaster = Forecaster(Router(m1=0.6, m2=0.5))
    weights = np.zeros((WIDTH + 1, 2))
    weights[:WIDTH, 1] = 0.2 * features("How many vowels are in 'Lima'?")[:WIDTH]  # 0.1 is what m2 lacks
    policy.take(("m1", "m2"), weights)
    one, two = Scripted("answer:Lima", "answer:4"), Scripted("answer:2")
    play(Scripted(LINES), one, two, policy=policy)
    assert prompts(two) == ["How many vowels are in 'Lima'?"]
    policy.forecaster, policy.fits = None, fit_fits(["What is 2?", "Who?"] * 4, ["2", "Ann"] * 4)
    Coordinator(policy).save(tmp_path / "r2")
    again = load_coordinator(tmp_path / "r2").policy
    assert isinstance(again, R2)
    assert again.names == ("m1", "m2")
    assert np.array_equal(again.weights, weights)  # type: ignore[arg-type]
    assert again.fits is not None
    assert again.fits.chance("Who?", "Ann") == policy.fits.chance("Who?", "Ann")


def test_exploring_draws_by_the_probability_it_records() -> None:
    policy = build_policy("r2", {"decomposer": "m0", "temperature": 0.5})
    assert isinstance(policy, R2)
    assert policy.random
    policy.forecaster = Forecaster(Router(m1=0.6, m2=0.5))
    expected = chances(np.array([0.006, 0.005]) - 1e-6, 0.01, 0.5)
    assert expected.sum() == pytest.approx(1.0)
    drawn: list[str] = []
    for seed in range(60):
        pool = scripted_pool(Scripted(DIAMOND), Scripted(), Scripted())
        episode = asyncio.run(run(policy, pool, QUESTION, 0.01, rng=np.random.default_rng(seed)))
        for step in episode.steps:
            if step.node is not None and isinstance(step.action, Call) and isinstance(step.decision, Decision):
                drawn.append(str(step.action.model))
                assert step.decision.probability == pytest.approx(expected[int(drawn[-1] == "m2")])
    assert abs(np.mean([d == "m1" for d in drawn]) - expected[0]) < 0.08  # 180 draws: deviation 0.037


def test_kinds_of_answers_are_told_apart() -> None:
    texts = [f"How many vowels are in '{w}'?" for w in ("Lima", "Oslo", "Rome", "Bern")] * 5
    texts += [f"What is the capital of {w}?" for w in ("Peru", "Norway", "Italy", "Japan")] * 5
    fits = fit_fits(texts, ["2"] * 20 + ["Lima"] * 20)
    assert fits.chance("How many vowels are in 'Quito'?", "3") > 0.8
    assert fits.chance("How many vowels are in 'Quito'?", "Berlin") < 0.2
    assert fits.chance("What is the capital of Chile?", "7") < 0.2
    assert shape_of("12:30") == "9:9"


def test_a_model_joins_a_table_by_probes() -> None:
    """Two kinds of subtasks; the new model is good where the first is. 30 probes of 200 say so."""
    kind = np.arange(200) % 2
    quality = np.stack([kind == 0, kind == 1, np.ones(200), kind == 0], axis=1).astype(float)
    whole = replace(
        random_outcomes(200, 4, seed=0), quality=quality, cost_usd=np.full((200, 4), 1e-4) * [1, 1, 10, 0.5], keys=None
    )
    known = whole.with_models(whole.models[:3])
    rows = np.arange(30)
    wide = joined(known, "new", Probes(rows, quality[rows, 3], whole.cost_usd[rows, 3]))
    assert wide.models == (*known.models, "new")
    assert np.array_equal(wide.quality[:, :3], known.quality)
    rest = wide.quality[30:, 3]
    assert rest[kind[30:] == 0].mean() > 0.9  # measured: 0.94
    assert rest[kind[30:] == 1].mean() < 0.1  # measured: 0.07
    assert wide.cost_usd[:, 3] == pytest.approx(5e-5, rel=0.2)


def test_who_is_not_in_the_pool_is_named() -> None:
    with pytest.raises(ConfigError, match=r"r2\.answerer = 'nobody'"):
        play(Scripted(DIAMOND), answerer="nobody")


class Careless(R2):
    """Reviews with what is no call."""

    def review(self, state: Any) -> Decision | None:
        return Decision(Answer("last"))


def test_the_engine_refuses_a_review_that_answers() -> None:
    with pytest.raises(EpisodeError, match="Expected a Call or a Think"):
        play(Scripted(DIAMOND), Scripted(), policy=Careless(R2.Config(decomposer="m0")))


def test_a_plan_is_a_priced_step_with_its_sample_in_the_trace() -> None:
    episode = play(Scripted("nothing", DIAMOND), Scripted("answer:5", "answer:9", "answer:14"))
    made = [s.decision for s in episode.steps if isinstance(s.decision, Generate)]
    assert [g.sample for g in made] == [0, 1]
