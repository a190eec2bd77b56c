"""Router-R1's reward: its two forms, what is never free, and rewards made comparable between tasks."""

from __future__ import annotations

import numpy as np
import pytest

from routewright.errors import RoutewrightError
from routewright.rewards.per_task import per_task
from routewright.rewards.router_r1 import CostWindow, RouterR1, normalised, root_cost
from routewright.types import Call, Decision, Episode, Query, Reply, Step, Think, Usage


def episode(quality: float | None, *written: tuple[str, int], malformed: bool = False) -> Episode:
    steps = [
        Step(Decision(Call(model)), Reply("x", model, Usage(5, tokens), tokens * 1e-6, 0.1))
        for model, tokens in written
    ]
    if malformed:
        steps.append(Step(Decision(Think("malformed: no answer"))))
    cost = sum(step.reply.cost_usd for step in steps if step.reply is not None)
    return Episode(Query("q"), tuple(steps), "x", quality, cost, 0.1)


def reward(**options: object) -> RouterR1:
    return RouterR1(RouterR1.Config.model_validate(options))


def test_a_wrong_and_cheap_answer_pays_in_the_paper_and_not_in_the_code() -> None:
    wrong, right = (episode(q, ("small", 4)) for q in (0.0, 1.0))
    assert reward(alpha=0.9, high=4.0)(wrong) == pytest.approx(0.9 * 0.5)
    assert reward(alpha=0.9, high=4.0, form="code")(wrong) == 0.0
    assert reward(alpha=0.9, high=4.0)(right) == pytest.approx(reward(alpha=0.9, high=4.0, form="code")(right))


def test_a_model_without_a_price_is_refused_and_not_free() -> None:
    prices = {"small": 0.3}
    assert root_cost(episode(1.0, ("small", 100)), prices) == pytest.approx(np.sqrt(30.0))
    with pytest.raises(RoutewrightError, match="no price of large"):
        reward(prices=prices)(episode(1.0, ("small", 100), ("large", 100)))


def test_a_malformed_episode_is_worth_minus_one_whatever_else() -> None:
    assert reward()(episode(1.0, ("small", 4), malformed=True)) == -1.0
    assert reward()(episode(None, ("small", 4), malformed=True)) == -1.0  # nobody scored it, and nobody has to
    with pytest.raises(RoutewrightError):
        reward()(episode(None, ("small", 4)))


def test_the_window_is_the_originals() -> None:
    rng = np.random.default_rng(0)
    window, all_roots = CostWindow(1000), np.sqrt(rng.exponential(50.0, 1500))
    for root in all_roots:
        window.add(float(root))
    low, high = window.bounds
    assert (low, high) == pytest.approx(tuple(np.percentile(all_roots[-1000:], [5, 95])))
    roots = np.linspace(0, 30, 50)
    wanted = 1 - np.clip((roots - low) / (high - low), 0, 1)
    assert [normalised(float(r), low, high) for r in roots] == pytest.approx(wanted.tolist())


def test_rewards_of_a_task_are_centred_within_it() -> None:
    rewards, tasks = np.array([0.0, 1.0, 10.0, 30.0]), ["a", "a", "b", "b"]
    assert per_task(rewards, tasks) == pytest.approx([-1, 1, -1, 1], abs=1e-4)
    with pytest.raises(RoutewrightError, match="2 tasks"):
        per_task(rewards, ["a", "b"])
    with pytest.raises(RoutewrightError, match="1 of them no number"):
        per_task(np.array([0.0, np.nan]), ["a", "b"])
