"""The Gymnasium face: passes Gymnasium's own checker, and is the batched world one episode at a time."""

from __future__ import annotations

import builtins
import importlib
import math
import warnings
from typing import Any

import numpy as np
import pytest

from routewright.episodes import gym
from routewright.episodes.batched import Batch
from routewright.errors import EpisodeError, MissingExtra
from tests.episodes.worlds import random_world
from tests.extras import needs

needs("gymnasium", "train")
from gymnasium.utils.env_checker import check_env  # noqa: E402

RouteEnv = gym.RouteEnv
WORLD = random_world(60, 4)


def vectors(d: int = 6) -> Any:
    return np.random.default_rng(0).normal(size=(60, d)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"value_usd": 0.01, "budget_usd": 0.003},
        {"budget_usd": (1e-4, 1e-1), "vectors": vectors()},
        {"max_illegal": 1},
    ],
    ids=["plain", "budget", "vectors", "impatient"],
)
def test_gymnasium_finds_nothing_wrong(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(RouteEnv(WORLD, **options), skip_render_check=True)  # nothing to draw


def test_random_episodes_are_those_of_the_batched_world() -> None:
    """500 episodes: what is seen, allowed, paid and won, at every step."""
    rng = np.random.default_rng(3)
    n = 500
    rows, values = rng.integers(0, 60, n), rng.lognormal(-6, 1.5, n)
    budgets = np.where(rng.random(n) < 0.5, np.inf, rng.lognormal(-5, 1, n))
    x = vectors()
    batch, env = Batch(WORLD, rows, values, budgets), RouteEnv(WORLD, vectors=x)
    taken, features, masks, costs = [], [], [], [batch.cost_usd]
    while not batch.done.all():
        obs = batch.observation()
        features.append(obs.features())
        masks.append(obs.mask)
        taken.append(np.where(obs.mask, rng.random(obs.mask.shape), -1).argmax(axis=1))
        batch.step(taken[-1], obs)
        costs.append(batch.cost_usd)
    ends = {"overrun": 0, "nothing": 0, "voted": 0}
    for b in range(n):
        seen, info = env.reset(options={"row": rows[b], "value_usd": values[b], "budget_usd": budgets[b]})
        assert info["row"] == rows[b]
        gained, step, ended = 0.0, 0, False
        while not ended:
            wanted = np.concatenate([features[step][b], x[rows[b]]])
            np.testing.assert_array_equal(seen[:-6], wanted[:-6].astype(np.float32))
            np.testing.assert_array_equal(seen[-6:], x[rows[b]])
            np.testing.assert_array_equal(env.action_masks(), masks[step][b])
            action = taken[step][b]
            seen, reward, ended, truncated, info = env.step(action)
            assert not truncated
            assert env.observation_space.contains(seen)
            paid = (costs[step + 1][b] - costs[step][b]) / values[b]
            assert reward == pytest.approx((batch.quality[b] if ended else 0.0) - paid, abs=1e-12)
            gained += reward
            step += 1
        assert gained == pytest.approx(batch.quality[b] - batch.cost_usd[b] / values[b], abs=1e-9)
        assert (info["quality"], info["chosen"]) == (batch.quality[b], batch.chosen[b])
        assert info["cost_usd"] == batch.cost_usd[b]
        ends["overrun"] += bool(action < 4)
        ends["nothing"] += info["chosen"] == -1
        ends["voted"] += bool(action == 5)
    assert min(ends.values()) > 10, ends  # the trajectories met what they were to meet


def test_a_forbidden_action_costs_and_changes_nothing() -> None:
    env = RouteEnv(WORLD, 0.01, illegal_penalty=0.25, max_illegal=3)
    seen, _ = env.reset(seed=1)
    assert not env.action_masks()[4]  # nothing to answer with yet
    again, reward, terminated, truncated, info = env.step(4)
    np.testing.assert_array_equal(again, seen)
    assert (reward, terminated, truncated, info["illegal"], info["cost_usd"]) == (-0.25, False, False, 1, 0.0)
    seen, _, terminated, _, _ = env.step(1)
    assert not terminated
    assert env.step(1)[1:4] == (-0.25, False, False)  # asked before
    again, reward, terminated, truncated, info = env.step(1)
    np.testing.assert_array_equal(again, seen)
    assert (reward, terminated, truncated, info["illegal"]) == (-0.25, False, True, 3)
    with pytest.raises(EpisodeError, match="No episode is running"):
        env.step(1)


def test_strict_raises_instead() -> None:
    env = RouteEnv(WORLD, strict=True)
    env.reset(seed=1)
    with pytest.raises(EpisodeError, match="answering is not allowed here"):
        env.step(5)
    with pytest.raises(EpisodeError, match=r"Action 6 does not exist\. Expected 0 to 5"):
        env.step(6)


def test_the_seed_decides_and_values_are_log_uniform() -> None:
    """2,000 draws over four decades: 500 each, deviation 19; the margin is five of those."""
    env, other = RouteEnv(WORLD, (1e-5, 1e-1), (1e-3, 1e-2)), RouteEnv(WORLD, (1e-5, 1e-1), (1e-3, 1e-2))
    first, again = env.reset(seed=7), other.reset(seed=7)
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    drawn = [env.reset()[1] for _ in range(2000)]
    decades = np.bincount(np.floor(np.log10([d["value_usd"] for d in drawn]) + 5).astype(int), minlength=4)
    assert (np.abs(decades - 500) < 97).all(), decades
    assert len({d["row"] for d in drawn}) == 60
    assert env.reset(seed=7)[1] == first[1]
    assert env.reset(seed=8)[1] != first[1]


@pytest.mark.parametrize(
    "options",
    [
        {"value_usd": 0.0},
        {"value_usd": math.nan},
        {"value_usd": math.inf},
        {"value_usd": (0.1, 0.01)},
        {"budget_usd": (0.1, math.inf)},
        {"budget_usd": 0.0},
        {"vectors": vectors()[:3]},
        {"vectors": vectors() * np.nan},
    ],
    ids=str,
)
def test_what_can_not_be_drawn_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(EpisodeError, match=r"must be finite|is no amount|Expected one finite row"):
        RouteEnv(WORLD, **options)


def test_unknown_options_of_reset_are_refused() -> None:
    with pytest.raises(EpisodeError, match="Unknown option 'query'"):
        RouteEnv(WORLD).reset(options={"query": 3})


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "gymnasium":
            raise ImportError(name)
        return real(name, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "__import__", without)
        bare = importlib.reload(gym)
    try:
        with pytest.raises(MissingExtra, match=r"needs gymnasium: pip install \"routewright\[train\]\""):
            bare.RouteEnv(WORLD)
    finally:
        importlib.reload(gym)
