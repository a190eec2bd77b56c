"""The simulated world: its truth is the truth, and its optima are optima."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest

from routewright.episodes.batched import Batch, play
from routewright.episodes.simulated import Truth, simulated_world
from routewright.errors import EpisodeError
from routewright.outcomes.simulated import POOL
from routewright.policies.base import ArrayPolicy, build_policy

THREE = ("sim-small", "sim-medium", "sim-large")


def test_the_world_is_what_the_truth_says() -> None:
    """4,000 queries x 6 models: deviation of a mean score 0.006 or less, of a mean cost 0.4 %; margins of five."""
    world, truth = simulated_world(4000, seed=3)
    assert world.models == truth.models == tuple(POOL)
    o = world.outcomes
    assert np.abs(o.quality.mean(axis=0) - truth.p.mean(axis=0)).max() < 0.03
    assert np.abs(o.cost_usd.mean(axis=0) / truth.cost_usd.mean(axis=0) - 1).max() < 0.02
    np.testing.assert_array_equal(world.keys == 0, o.quality == 1)
    wrong = o.quality == 0
    for a, b in itertools.combinations(range(6), 2):
        both = wrong[:, a] & wrong[:, b]
        share = (world.keys[both, a] == world.keys[both, b]).mean()
        assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / both.sum()), (a, b)


def test_the_seed_and_the_models_decide() -> None:
    one, truth = simulated_world(50, seed=1)
    same, _ = simulated_world(50, seed=1)
    other, _ = simulated_world(50, seed=2)
    np.testing.assert_array_equal(one.keys, same.keys)
    assert [q.text for q in one.outcomes.queries] != [q.text for q in other.outcomes.queries]
    some, fewer = simulated_world(50, seed=1, models=THREE)
    columns = [one.models.index(m) for m in THREE]
    np.testing.assert_array_equal(some.keys, one.keys[:, columns])
    np.testing.assert_array_equal(some.outcomes.cost_usd, one.outcomes.cost_usd[:, columns])
    np.testing.assert_array_equal(fewer.p, truth.p[:, columns])


def test_one_call_is_closed_form() -> None:
    truth = Truth(("a", "b"), np.array([[0.5, 0.9], [0.8, 0.9]]), np.array([[0.1, 0.3], [0.1, 0.3]]), 4)
    np.testing.assert_allclose(truth.best_single_utility(1.0), [0.6, 0.7])
    assert truth.best_model_utility(1.0) == pytest.approx(0.6)
    np.testing.assert_allclose(truth.best_utility(1.0, most_calls=1), [0.6, 0.7])


def test_two_models_by_hand() -> None:
    """Both right; or they differ and one is right, the likelier is answered. Two that agree and are wrong gain nothing."""
    p, c, v = np.array([[0.5, 0.7], [0.9, 0.95], [0.2, 0.2]]), np.full((3, 2), 0.01), 1.0
    truth = Truth(("a", "b"), p, c, 3)
    one = v * p.max(axis=1) - 0.01
    both = v * (p.prod(axis=1) + np.maximum(p[:, 0] * (1 - p[:, 1]), p[:, 1] * (1 - p[:, 0]))) - 0.02
    np.testing.assert_allclose(truth.best_utility(v), np.maximum(one, both))
    assert both[2] > one[2] or np.isclose(both[2], one[2] - 0.01)  # two equals: agreement alone changes no answer


@pytest.mark.parametrize("n_wrong", [1, 2, 4])
@pytest.mark.parametrize("value", [0.5, 2.0, 50.0])
def test_three_models_by_enumeration(n_wrong: int, value: float) -> None:
    """Against a second solution: every triple of replies written out, states as sets of the triples that look alike."""
    rng = np.random.default_rng(n_wrong)
    for _ in range(5):
        p, c = rng.uniform(0.1, 0.95, 3), rng.uniform(0.01, 0.3, 3)
        mine = Truth(("a", "b", "c"), p[None], c[None], n_wrong).best_utility(value)[0]
        assert mine == pytest.approx(enumerated(p, c, n_wrong, value), abs=1e-12)


def enumerated(p: np.ndarray, c: np.ndarray, n_wrong: int, value: float) -> float:
    """Answer 0 is right. A state is what was asked, in order, and the replies that can not be told apart by agreement."""
    chance = {
        triple: float(np.prod([p[m] if k == 0 else (1 - p[m]) / n_wrong for m, k in enumerate(triple)]))
        for triple in itertools.product(range(n_wrong + 1), repeat=3)
    }

    def solve(asked: tuple[int, ...], triples: list[tuple[int, ...]]) -> float:
        options = []
        if asked:
            heard = [triples[0][m] for m in asked]
            voted = asked[max(range(len(heard)), key=lambda i: (heard.count(heard[i]), -i))]
            options = [value * sum(chance[t] for t in triples if t[m] == 0) for m in (asked[-1], voted)]
        for m in set(range(3)) - set(asked):
            after: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
            for t in triples:
                heard = [t[i] for i in (*asked, m)]
                after[tuple(heard.index(k) for k in heard)].append(t)
            then = sum(solve((*asked, m), alike) for alike in after.values())
            options.append(then - c[m] * sum(chance[t] for t in triples))
        return max(options)

    return solve((), list(chance))


def test_more_calls_never_gain_less_and_no_policy_gains_more() -> None:
    """Random play, and asking all three and voting, against the optimum; 4,000 queries, five deviations of slack."""
    world, truth = simulated_world(4000, seed=5, models=THREE)
    rng = np.random.default_rng(0)
    vote = build_policy("vote", {"models": THREE})
    assert isinstance(vote, ArrayPolicy)
    for value in (1e-3, 1e-2, 1e-1):
        one, two, best = (truth.best_utility(value, k) for k in (1, 2, 3))
        np.testing.assert_allclose(two, one, rtol=1e-12)  # a second reply alone changes no answer for the better
        assert (best >= two - 1e-15).all()
        if value > 1e-3:  # where further calls can pay
            assert best.mean() > 1.01 * one.mean()
        batch = Batch(world, np.arange(4000), value)
        while not batch.done.all():
            obs = batch.observation()
            batch.step(np.where(obs.mask, rng.random(obs.mask.shape), -1).argmax(axis=1), obs)
        for played in (batch, play(vote, world, np.arange(4000), value)):
            gained = value * played.quality - played.cost_usd
            assert gained.mean() < best.mean() + 5 * gained.std() / np.sqrt(4000)


def test_the_exact_optimum_is_for_few_models() -> None:
    _, truth = simulated_world(5)
    with pytest.raises(EpisodeError, match="4 models at most, got 6"):
        truth.best_utility(0.01)
    with pytest.raises(EpisodeError, match="n_wrong must be 1 or more"):
        simulated_world(5, n_wrong=0)
