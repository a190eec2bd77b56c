"""What every policy of the table keeps to, whatever it does. New entries are found here by themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from routewright.episodes.batched import play
from routewright.episodes.engine import run
from routewright.episodes.recorded import recorded_pool
from routewright.episodes.trace import replay, to_lines
from routewright.errors import BudgetExceeded, ConfigError, ProviderError
from routewright.policies.base import ArrayPolicy, Forecaster, Policy, build_policy, restore_policy
from routewright.policies.relay import Relay
from routewright.policies.relay_net import Net, Rows
from routewright.policies.relay_rows import rows_of
from routewright.policies.table import POLICIES
from routewright.router import fit
from routewright.types import Episode, Query, State
from tests.episodes.worlds import random_outcomes, random_world
from tests.pools.doubles import Scripted, scripted_pool

OPTIONS: dict[str, dict[str, Any]] = {
    "pipeline": {"models": ["m0", "m1"]},
    "decompose": {"planner": "m0"},
    "relay": {"mark": ""},
    "r1": {"router": "m0"},
    "r2": {"decomposer": "m0"},
    "preference": {
        "routes": {
            "routes": [
                {"name": "choice_questions", "description": "which of several is right", "models": ["m0", "m1"]}
            ],
            "other": {"models": ["m2"]},
        }
    },
}  # what a policy can not do without
QUERY = Query("Which?\nA) one\nB) two\nC) three")
DOWN = ProviderError("503", "server", retryable=True)


def fitted(name: str) -> Policy:
    """The policy, fitted on a small world if it learns."""
    policy = build_policy(name, OPTIONS.get(name))
    if isinstance(policy, ArrayPolicy):
        policy.fit(random_outcomes(80, 4, seed=3))
    if isinstance(policy, Relay):  # learns from a tree; here it does what noise says
        rows = rows_of(np.eye(4), np.full(4, 1e-5))
        policy.take(Net.start(8, rows.shape[1], 0), Rows(rows, np.full((4, 3), 1e-5)), ("m0", "m1", "m2", "m3"), 1e-3)
    return policy


def ask(policy: Policy, *providers: Scripted, budget_usd: float = float("inf")) -> Episode:
    pool = scripted_pool(*providers)
    episode = asyncio.run(run(policy, pool, QUERY, 0.01, budget_usd))
    assert replay(to_lines(episode, pool.cards)) == episode
    return episode


@pytest.mark.parametrize("name", POLICIES)
def test_it_answers_on_a_live_pool(name: str) -> None:
    episode = ask(fitted(name), *(Scripted(*["The answer is B"] * 20) for _ in range(4)))
    assert episode.answer == "The answer is B"
    assert episode.stopped == "answer"
    assert episode.cost_usd > 0


@pytest.mark.parametrize("name", POLICIES)
def test_it_survives_a_pool_that_only_fails(name: str) -> None:
    episode = ask(fitted(name), *(Scripted(*[DOWN] * 60) for _ in range(4)))
    assert (episode.answer, episode.stopped) == ("", "failed")
    assert 0 < len([s for s in episode.steps if s.reply]) <= 8  # gives up, in bounded time


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "self_refine"])  # which has but one model
def test_it_works_with_one_model_down(name: str) -> None:
    providers = [Scripted(*[DOWN] * 60), *(Scripted(*["The answer is B"] * 20) for _ in range(3))]
    assert ask(fitted(name), *providers).answer == "The answer is B"


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("budget_usd", [1e-6, 0.0003, 0.0006, 0.002])
def test_it_never_passes_the_budget(name: str, budget_usd: float) -> None:
    providers = [Scripted(*["The answer is B"] * 20) for _ in range(4)]
    try:
        episode = ask(fitted(name), *providers, budget_usd=budget_usd)
    except BudgetExceeded:
        assert budget_usd == 1e-6
        assert not any(p.asked for p in providers)
    else:
        assert episode.cost_usd <= budget_usd


@pytest.mark.parametrize("name", POLICIES)
def test_a_saved_one_decides_the_same(name: str) -> None:
    policy = fitted(name)
    again = restore_policy(name, *policy.state())
    state = State(
        QUERY, scripted_pool(*(Scripted() for _ in range(4))).cards, 0.01, legal=(True,) * 4, worst_usd=(1e-4,) * 4
    )
    rng = np.random.default_rng
    assert again.decide([state] * 3, rng(0)) == policy.decide([state] * 3, rng(0))
    assert again.models == policy.models


@pytest.mark.parametrize("name", POLICIES)
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Unknown key 'sped'"):
        build_policy(name, {**OPTIONS.get(name, {}), "sped": 1})


ARRAYS = [name for name in POLICIES if issubclass(POLICIES.load(name), ArrayPolicy)]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("budget_usd", [np.inf, 0.02])
def test_both_faces_play_the_same_episodes(name: str, budget_usd: float) -> None:
    """What is judged on arrays is what the engine serves: same answers, same bills."""
    world = random_world(120, 4, seed=5, tight=False)
    policy = build_policy(name, OPTIONS.get(name))
    assert isinstance(policy, ArrayPolicy)
    policy.fit(world.outcomes)
    rows = np.arange(60)
    played = play(policy, world, rows, 0.01, budget_usd)
    pool = recorded_pool(world)

    async def one(row: int) -> None:
        try:
            episode = await run(policy, pool, world.outcomes.queries[row], 0.01, budget_usd)
        except BudgetExceeded:
            assert played.calls[row] == 0
            return
        assert episode.quality == played.quality[row]
        assert episode.cost_usd == pytest.approx(played.cost_usd[row], abs=1e-13)
        assert sum(s.reply is not None for s in episode.steps) == played.calls[row]

    async def every() -> None:
        for row in rows:
            await one(int(row))

    asyncio.run(every())
    assert played.calls.max() >= 1


def test_the_quick_path_of_single_is_the_same_rule() -> None:
    outcomes = random_outcomes(60, 4, seed=1)
    router = fit(outcomes, "ridge")
    quick, slow = build_policy("single"), build_policy("single")
    assert isinstance(quick, ArrayPolicy)
    assert isinstance(slow, ArrayPolicy)
    for policy in (quick, slow):
        policy.models = router.models
        policy.forecaster = Forecaster(router)
    cards = recorded_pool(random_world(2, 4)).cards
    rng = np.random.default_rng(0)
    for query in outcomes.queries:
        legal = tuple((rng.random(4) < 0.7).tolist())
        state = State(query, cards, float(rng.lognormal(-6, 2)), legal=legal, worst_usd=(1e-3,) * 4)
        one = quick.decide([state], rng)[0]
        many = ArrayPolicy.decide(slow, [state], rng)[0]
        assert one.action == many.action  # type: ignore[union-attr]


def test_exploration_is_recorded_with_its_probability() -> None:
    policy = build_policy("single", {"epsilon": 0.3})
    assert policy.random
    cards = recorded_pool(random_world(2, 4)).cards
    state = State(QUERY, cards, 0.01, legal=(True, True, True, False), worst_usd=(1e-3,) * 4)
    rng = np.random.default_rng(0)
    taken = [policy.decide([state], rng)[0] for _ in range(2000)]
    share = np.mean([d.action.model == "m0" for d in taken])  # type: ignore[union-attr]
    assert abs(share - 0.8) < 0.03
    for d in taken:
        assert d.probability == pytest.approx(0.8 if d.action.model == "m0" else 0.1)  # type: ignore[union-attr]
        assert "m3" not in d.choices  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "texts", "says"),
    [
        ({"k": 3}, ("It is A.", "Answer: B", "The answer is B"), "2 of 3 replies agree"),
        ({"k": 3}, ("hm", "I can not say", "?"), "no answers that can be compared, so the last reply stands"),
        ({"models": ["m0"], "samples": True, "k": 3}, ("Answer: A", "Answer: B", "Answer: A"), "2 of 3 replies agree"),
        ({"k": 2}, ("Answer: A", "Answer: B"), "no two replies agree, so the first that can be compared stands"),
    ],
)
def test_a_vote_says_how_it_fell(options: dict[str, Any], texts: tuple[str, ...], says: str) -> None:
    query = Query("Which?\nA) one\nB) two\nC) three")
    providers = [Scripted(*texts)] if "samples" in options else [Scripted(text) for text in texts]
    episode = asyncio.run(run(build_policy("vote", options), scripted_pool(*providers), query, 0.01))
    assert episode.ending is not None
    assert episode.ending.reason == says
    assert replay(to_lines(episode)) == episode
