"""Reinforcement of `r2`'s allocator: its gradient is the derivative it says, and it learns what forecasts do not know."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routewright.episodes.engine import run
from routewright.policies.base import Forecaster, build_policy
from routewright.policies.r2 import R2
from routewright.policies.r2_allocate import WIDTH, chances, features, worths
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Ask, Completion
from routewright.train.r2_allocator import Reinforcement, like, reinforce, score_gradient
from routewright.train.remembering import remembering
from routewright.types import Call, Episode, Query, Usage
from tests.policies.test_decompose import Router
from tests.pools.doubles import Scripted, scripted_pool

QUESTIONS = [Query(f"What is the capital of country {i}, in capitals?", f"q{i}") for i in range(8)]


class Planner(Scripted):
    async def complete(self, ask: Ask) -> Completion:
        i = ask.query.query_id[1:]
        plan = [
            {"id": "a", "task": f"Name the capital of country {i}."},
            {"id": "b", "task": "Shout '{a}'.", "after": ["a"]},
        ]
        return Completion(json.dumps({"subtasks": plan}), Usage(10, 10))


class Solver(Scripted):
    """Knows capitals, or how to shout."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word

    async def complete(self, ask: Ask) -> Completion:
        text = str(ask.messages[0]["content"])
        good = {"Name": f"answer:city {ask.query.query_id}", "Shout": f"answer:CITY of {text[7:-2]}"}
        return Completion(good[text.split()[0]] if text.startswith(self.word) else "answer:no", Usage(10, 5))


def world() -> Pool:
    async def judge(query: Query, reply: Any, answer: str) -> float:
        return float(answer == f"answer:CITY of city {query.query_id}")

    return replace(remembering(scripted_pool(Planner(), Solver("Name"), Solver("Shout"))), judge=judge)


def policy() -> R2:
    made = build_policy("r2", {"decomposer": "m0", "retries": 0, "replans": 0})
    assert isinstance(made, R2)
    made.forecaster = Forecaster(Router(m1=0.5, m2=0.5))
    return made


def log_p(made: R2, episode: Episode, temperature: float) -> float:
    """Of an episode's allocations, worked out anew."""
    total = 0.0
    for step in episode.steps:
        if step.node is not None and isinstance(step.action, Call):
            assert made.forecaster is not None
            text = str(step.action.prompt)
            worth = worths(made.forecaster.forecast([Query(text)]), episode.value_usd, made._delta(["m1", "m2"], text))
            total += float(
                np.log(chances(worth, episode.value_usd, temperature)[["m1", "m2"].index(str(step.action.model))])
            )
    return total


def test_the_gradient_is_the_derivative() -> None:
    rng = np.random.default_rng(0)
    made = policy()
    made.take(("m1", "m2"), 0.1 * rng.standard_normal((WIDTH + 1, 2)))
    episode = asyncio.run(run(like(made, temperature=0.3, itself=""), world(), QUESTIONS[0], 0.01, rng=rng))
    gradient = score_gradient(made, episode, ("m1", "m2"), 0.3)
    assert made.weights is not None
    around = [(WIDTH, 0), (WIDTH, 1), *((int(i), 0) for i in np.flatnonzero(features("Shout 'no'.")[:WIDTH])[:3])]
    for at in around:
        step = np.zeros_like(made.weights)
        step[at] = 1e-5
        up, down = policy(), policy()
        up.take(("m1", "m2"), made.weights + step)
        down.take(("m1", "m2"), made.weights - step)
        assert gradient[at] == pytest.approx((log_p(up, episode, 0.3) - log_p(down, episode, 0.3)) / 2e-5, abs=1e-6)


def test_it_learns_who_is_good_at_what_from_whole_answers_alone() -> None:
    made = policy()
    settings = Reinforcement(
        updates=12, questions=6, rollouts=6, rate=0.05, watch_every=4, least_usd=0.01, most_usd=0.02
    )
    history = asyncio.run(reinforce(made, world(), QUESTIONS[:6], QUESTIONS[6:], settings, 0))
    assert history[-1]["kept"]
    assert history[-2]["quality"] > 0.8  # measured: 1.0; forecasts alone: 0
    done = [asyncio.run(run(made, world(), q, 0.01)) for q in QUESTIONS]
    assert [e.quality for e in done] == [1.0] * 8


def test_what_does_not_beat_its_start_is_not_kept() -> None:
    made = policy()
    made.forecaster = Forecaster(Router(m1=0.6, m2=0.5))
    settings = Reinforcement(updates=2, questions=2, rollouts=2, rate=1e-9)
    history = asyncio.run(reinforce(made, world(), QUESTIONS[:6], QUESTIONS[6:], settings, 0))
    assert not history[-1]["kept"]
    assert made.weights is not None
    assert not made.weights.any()
