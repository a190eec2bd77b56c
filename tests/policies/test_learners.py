"""Every learner solves a world whose optimum is known. New scorers and policies are picked up from their tables.

What is reached is told as a share of the way from the best single model to the optimum:

    share = (utility of the policy - utility of the best model) / (optimum - utility of the best model)

Scorers, through `single`: trained on 1,000 simulated queries of all families, they play 1,000 fresh ones. The optimum is
that of one call, and their utility the expected one of the models they chose, so no luck of the replies is in it.
Policies over several calls: trained on some 300 queries that are all alike, where knowing more than which replies agree
is impossible, against the exact optimum over what can be seen; they play 44,550 fresh draws.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from routewright.episodes.batched import play
from routewright.episodes.engine import run
from routewright.episodes.recorded import RecordedWorld, recorded_pool
from routewright.episodes.simulated import Truth, simulated_world
from routewright.policies.base import ArrayPolicy, Forecaster, build_policy
from routewright.policies.table import POLICIES
from routewright.router import fit
from routewright.scorers import SCORERS
from routewright.types import Call, Decision

CONTROLS = {
    "fixed": "one model, whatever the query",
    "random": "reads nothing",
    "cheapest": "one model, whatever the query",
    "blind": "the means of the models: its best is the best single model",
    "elo": "one strength a model, whatever the query",
}
# value_usd -> the least share. Lowest of five seeds measured, by scorer: routewright 0.985 and 0.921, task_mean 0.985 and
# 0.900, kmeans 0.962 and 0.906, knn 0.965 and 0.845, ridge 0.942 and 0.827, mlp 0.962 and 0.765, mf 0.982 and 0.919, irt
# 0.958 and 0.854, gbdt 0.902 and 0.850. The best control reached 0.000 at both.
LEAST = {0.003: 0.85, 0.01: 0.70}
# graph falls short of them: 0.723 and 0.408 at least, and 0.882 and 0.605 at most, of five seeds.
LEAST_OF = {"graph": {0.003: 0.65, 0.01: 0.35}}
NOT_LEARNING = {
    "single": "learns nothing by itself: its scorers are tested here one by one",
    "vote": "asks the models it is told to, or the cheapest",
    "mixture": "asks the models it is told to, and shows them replies, which no table recorded",
    "decompose": "does what its planner writes; its router's scorer is tested here",
    "self_refine": "asks the model it is told to, and shows it replies, which no table recorded",
    "pipeline": "asks the models it is told to, and shows them replies, which no table recorded",
    "preference": "does what its routes file says; its router's scorer is tested here",
    "r1": "does what its router writes; the lab's is tested in tests/lab, hostile turns in tests/policies/test_r1.py",
    "r2": "does what its decomposer writes; its allocator is tested in tests/train/test_r2_allocator.py, hostile plans in test_r2_plan.py",
    "relay": "learns from response trees; tests/policies/test_relay.py has a tree whose best policy is known",
}
THREE = ("sim-large", "sim-medium", "sim-encyclopedia")  # right with 0.786, 0.574, 0.750 on rare facts
OPTIONS: dict[str, list[dict[str, object]]] = {"cascade": [{}, {"rule": "verifier"}]}  # beside: the defaults
# At value 0.03: cascade, with either rule, reached 1.01 (deviation of the draws 0.023) in each of ten fits.
LEAST_OF_POLICIES = 0.90


@pytest.fixture(scope="module")
def world() -> RecordedWorld:
    return simulated_world(1000, seed=10)[0]


@pytest.fixture(scope="module")
def fresh() -> tuple[RecordedWorld, Truth]:
    return simulated_world(1000, seed=100)


def shares(kind: str, world: RecordedWorld, fresh: tuple[RecordedWorld, Truth]) -> dict[float, float]:
    """What a scorer reaches at each trade-off, from one fit."""
    test, truth = fresh
    forecast = fit(world.outcomes, kind).forecast(test.outcomes.queries)
    policy = build_policy("single")
    assert isinstance(policy, ArrayPolicy)
    policy.fit(world.outcomes, forecast)
    rows, reached = np.arange(len(test.outcomes)), {}
    for value in LEAST:
        played = play(policy, test, rows, value, forecast=forecast)
        assert (played.calls == 1).all()
        mine = (value * truth.p[rows, played.first] - truth.cost_usd[rows, played.first]).mean()
        base, best = truth.best_model_utility(value), truth.best_single_utility(value).mean()
        assert best > base
        reached[value] = (mine - base) / (best - base)
    return reached


SLOW = {"routewright"}  # grows a forest: two seconds of CPU
LEARNERS = [pytest.param(k, marks=pytest.mark.slow if k in SLOW else ()) for k in SCORERS if k not in CONTROLS]


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_scorer_comes_near_the_best_one_call(
    kind: str, world: RecordedWorld, fresh: tuple[RecordedWorld, Truth]
) -> None:
    reached = shares(kind, world, fresh)
    least = LEAST_OF.get(kind, LEAST)
    assert all(least[value] <= share <= 1.0 for value, share in reached.items()), reached


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_control_does_not(kind: str, world: RecordedWorld, fresh: tuple[RecordedWorld, Truth]) -> None:
    """Or the world would be too easy to tell anything."""
    assert max(shares(kind, world, fresh).values()) <= 0.0


def test_the_engine_chooses_as_the_arrays_do(world: RecordedWorld, fresh: tuple[RecordedWorld, Truth]) -> None:
    test, _ = fresh
    router = fit(world.outcomes, "ridge")
    policy = build_policy("single")
    assert isinstance(policy, ArrayPolicy)
    played = play(policy, test, np.arange(40), 0.01, forecast=router.forecast(test.outcomes.queries))
    policy.forecaster, policy.models = Forecaster(router), router.models
    pool = recorded_pool(test)
    for q in range(40):
        step = asyncio.run(run(policy, pool, test.outcomes.queries[q], 0.01)).steps[0]
        assert isinstance(step.decision, Decision)
        assert isinstance(step.decision.action, Call)
        assert step.decision.action.model == test.models[played.first[q]]


def alike(n: int, seed: int) -> tuple[RecordedWorld, Truth]:
    """The rare facts among `n` queries: about a tenth, all of one difficulty."""
    world, truth = simulated_world(n, seed, models=THREE)
    rows = np.flatnonzero((np.abs(truth.p - [0.786, 0.574, 0.750]) < 0.001).all(axis=1))
    return world.take(rows), truth.take(rows)


def redrawn(world: RecordedWorld, truth: Truth, times: int, seed: int) -> tuple[RecordedWorld, Truth]:
    """The same queries many times over, with new replies."""
    rng, rows = np.random.default_rng(seed), np.tile(np.arange(len(world.outcomes)), times)
    world, truth = world.take(rows), truth.take(rows)
    quality = (rng.random(truth.p.shape) < truth.p).astype(np.float64)
    keys = np.where(quality > 0, 0, rng.integers(1, truth.n_wrong + 1, quality.shape))
    return replace(world, outcomes=replace(world.outcomes, quality=quality, keys=keys), keys=keys), truth


def learning(name: str) -> type[ArrayPolicy]:
    """The policy of that name, if it can be trained on a table."""
    try:
        found = POLICIES.load(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{name} is in the table, its module is not there yet: {error}")
    assert issubclass(found, ArrayPolicy), f"{name} is no ArrayPolicy: say in NOT_LEARNING why it is not tested here"
    return found


@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n in POLICIES if n not in NOT_LEARNING for o in OPTIONS.get(n, [{}])]
)
def test_a_policy_comes_near_the_best_there_is(name: str, options: dict[str, object]) -> None:
    learning(name)
    policy = build_policy(name, options)
    assert isinstance(policy, ArrayPolicy)
    policy.fit(alike(3000, seed=10)[0].outcomes)
    test, truth = redrawn(*alike(3000, seed=2), times=150, seed=0)
    value = 0.03
    played = play(policy, test, np.arange(len(test.outcomes)), value)
    gained = value * played.quality - played.cost_usd
    base, best = truth.best_model_utility(value), truth.best_utility(value).mean()
    deviation = gained.std() / np.sqrt(len(gained)) / (best - base)
    share = (gained.mean() - base) / (best - base)
    assert deviation < 0.03
    assert LEAST_OF_POLICIES <= share <= 1 + 4 * deviation, share


def test_asking_all_and_voting_is_not_the_best_there_is() -> None:
    """What the optimum is better than: a third call where two agree. Measured share: 0.756."""
    test, truth = redrawn(*alike(3000, seed=2), times=150, seed=0)
    vote = build_policy("vote", {"models": THREE})
    assert isinstance(vote, ArrayPolicy)
    played = play(vote, test, np.arange(len(test.outcomes)), 0.03)
    base, best = truth.best_model_utility(0.03), truth.best_utility(0.03).mean()
    assert ((0.03 * played.quality - played.cost_usd).mean() - base) / (best - base) < LEAST_OF_POLICIES
