"""`hops`: classes of queries, planning over them, what a head sees; checked against one another and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routewright.episodes.batched import Batch, play
from routewright.episodes.recorded import world_of
from routewright.errors import ConfigError, RoutewrightError
from routewright.outcomes import Outcomes
from routewright.policies import hops
from routewright.policies.base import build_policy, restore_policy
from routewright.policies.cascade import Cascade
from routewright.policies.frontier import search
from routewright.policies.hops import Hops
from routewright.policies.hops_belief import believe
from routewright.policies.hops_classes import MISTAKE, NONE, OWN, TRUTH, Classes, fit_classes, parts_of
from routewright.policies.hops_patterns import joins, number_of, patterns, sequences
from routewright.policies.hops_tree import grow, plan, situations
from routewright.profiles.profile import profiles
from routewright.types import Query

CLASSES = Classes(
    np.array([0.6, 0.4]),
    np.array(
        [
            [[0.85, 0.05, 0.08, 0.02], [0.9, 0.05, 0.04, 0.01], [0.97, 0.01, 0.01, 0.01], [0.8, 0.1, 0.05, 0.05]],
            [[0.2, 0.4, 0.35, 0.05], [0.35, 0.3, 0.3, 0.05], [0.7, 0.15, 0.1, 0.05], [0.15, 0.5, 0.3, 0.05]],
        ]
    ),
    np.tile([1.0, 0.0, 0.0, 0.0], (4, 1)),
    np.array([[1e-4, 2e-4, 2e-3, 1e-4], [1.5e-4, 3e-4, 4e-3, 2e-4]]),
)


def drawn(n: int, seed: int = 0, classes: Classes = CLASSES) -> Outcomes:
    """Recorded answers of queries drawn from the classes."""
    rng = np.random.default_rng(seed)
    m = len(classes.right)
    z = rng.choice(len(classes.share), n, p=classes.share)
    parts = (classes.chance[z].cumsum(axis=2) < rng.random((n, m))[:, :, None]).sum(axis=2).clip(max=3)
    keys = np.select([parts == TRUTH, parts == MISTAKE, parts == NONE], [0, 1, -1], 2 + np.arange(m)[None])
    return Outcomes(
        "drawn",
        tuple(Query(f"question {i}", f"q{i}", "task", "drawn") for i in range(n)),
        tuple(f"m{i}" for i in range(m)),
        (parts == TRUTH).astype(float),
        classes.cost_usd[z],
        np.ones((n, m)),
        np.ones((n, m)),
        np.ones((n, m)),
        "correct",
        keys=keys,
    )


def test_parts_by_hand() -> None:
    keys = np.array([[0, 0, 1, 1, 2, -1], [0, 1, 1, 2, 3, 4], [0, 0, 0, 1, 1, 2]])
    quality = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]])
    assert parts_of(quality.astype(float), keys).tolist() == [
        [TRUTH, TRUTH, MISTAKE, MISTAKE, OWN, NONE],
        [OWN, MISTAKE, MISTAKE, OWN, OWN, OWN],
        [MISTAKE, MISTAKE, MISTAKE, OWN, OWN, TRUTH],
    ]


def test_there_are_as_many_patterns_as_partitions_with_a_rest() -> None:
    assert [len(patterns(d)) for d in range(5)] == [1, 2, 5, 15, 52]
    assert joins(np.array([[5, -1, 7]]), np.array([7]), np.array([[0, -1, 1]])).tolist() == [1]
    assert joins(np.array([[5, -1, 7]]), np.array([9]), np.array([[0, -1, 1]])).tolist() == [2]
    assert joins(np.array([[5, -1, 7]]), np.array([-1]), np.array([[0, -1, 1]])).tolist() == [-1]


def test_classes_explain_unseen_queries_better_than_independent_models() -> None:
    seen, unseen = drawn(800), drawn(800, seed=1)
    assert unseen.keys is not None
    parts = parts_of(unseen.quality, unseen.keys)
    several = fit_classes(seen, (2, 4), 4.0).log_likelihood(parts).mean()
    alone = fit_classes(seen, (1,), 4.0).log_likelihood(parts).mean()
    assert several > alone + 0.1  # nats a query; measured 0.43


def test_the_plan_is_worth_what_it_promises_and_no_list_is_worth_more() -> None:
    """On 20,000 queries drawn from the very classes planned over; a standard error is 0.003."""
    outcomes = drawn(20_000, seed=2)
    assert outcomes.keys is not None
    part = np.zeros(len(outcomes), dtype=np.int64)
    lists = search(outcomes.quality, outcomes.cost_usd, outcomes.keys, part, 16, 4)
    policy = Hops()
    policy.models, policy.tree, policy._alone = outcomes.models, grow(CLASSES, lists, 4, 4), np.ones((2, 4))
    world = world_of(outcomes)
    members = sequences(4, 4)
    calls = []
    for value in (0.001, 0.01, 0.1):  # of the planned trade-offs
        played = play(policy, world, np.arange(len(outcomes)), value)
        gained = played.quality.mean() - played.cost_usd.mean() / value
        _, promised = plan(situations(CLASSES, members), members, np.array([value]))
        best = (lists.quality[0] - lists.cost_usd[0] / value).max()
        assert abs(gained - promised[0]) < 0.01
        assert gained > best - 0.002
        calls.append(played.calls.mean())
    assert max(calls) > 1.5  # it does plan several calls


def test_situations_are_probabilities() -> None:
    members = sequences(4, 4)
    for d, known in enumerate(situations(CLASSES, members)):
        assert known.mass.sum(axis=1) == pytest.approx(np.ones(len(known.mass)))
        assert (known.last <= known.mass + 1e-12).all()
        if d < 4:
            usual = CLASSES.share @ CLASSES.cost_usd
            assert known.cost_usd.sum(axis=1) == pytest.approx(np.broadcast_to(usual, (len(known.mass), 4)))


def test_a_belief_says_what_the_plans_situations_say() -> None:
    """Two ways to the same chance: by hypotheses about groups, and by summing over all choices of parts."""
    outcomes = drawn(400, seed=3)
    members, known = sequences(4, 4), situations(CLASSES, sequences(4, 4))
    batch = Batch(world_of(outcomes), np.arange(400), 0.01)
    rng = np.random.default_rng(0)
    columns = np.arange(4)
    order = np.argsort(rng.random((400, 4)), axis=1)
    code = [{tuple(s): i for i, s in enumerate(members.members[d].tolist())} for d in range(5)]
    for d in range(1, 4):
        batch.step(order[:, d - 1])
        obs = batch.observation()
        belief = believe(CLASSES, obs, columns)
        for b in range(400):
            asked = order[b, :d]
            ids: dict[int, int] = {}
            groups = tuple(-1 if key < 0 else ids.setdefault(key, len(ids)) for key in obs.key[b, asked].tolist())
            s, p = code[d][tuple(asked.tolist())], number_of(d)[groups]
            mass = known[d].mass[s, p]
            assert belief.last[b] == pytest.approx(known[d].last[s, p] / mass, abs=1e-3)
            assert belief.vote[b] == pytest.approx(known[d].vote[s, p] / mass, abs=1e-3)
            assert belief.cost_usd[b] == pytest.approx(known[d].cost_usd[s, p] / mass, rel=1e-3)
        assert (belief.gain[~obs.called] > -1e-9).all()  # one more reply never makes the likeliest answer less likely


def test_before_any_reply_a_belief_holds_a_profiles_score_and_cost() -> None:
    """What a profile says of a model without reading the query, the head has already."""
    outcomes = drawn(600, seed=5)
    classes = fit_classes(outcomes, (4, 8, 16), 4.0)
    belief = believe(classes, Batch(world_of(outcomes), np.arange(3), 0.01).observation(), np.arange(4))
    told = {p.model: p for p in profiles(outcomes, np.random.default_rng(0).random((600, 8), dtype=np.float32))}
    for m, name in enumerate(outcomes.models):
        assert belief.right[:, m] == pytest.approx(told[name].score, abs=0.01)
        assert belief.cost_usd[:, m] == pytest.approx(told[name].cost_usd, rel=0.02)


def test_who_is_asked_depends_on_what_was_said() -> None:
    """Classes in which m2 is dear and right: it is asked where the cheap ones differ, and not where they agree."""
    outcomes = drawn(1000)
    policy = Hops()
    policy.fit(outcomes)
    world = world_of(outcomes)
    played = play(policy, world, np.arange(1000), 0.02)
    assert outcomes.keys is not None
    agree = (outcomes.keys[:, 0] == outcomes.keys[:, 1]) & (outcomes.keys[:, 0] >= 0)
    assert played.asked[~agree, 2].mean() > played.asked[agree, 2].mean() + 0.3


@pytest.mark.parametrize("budget", [0.0, 1e-4, 1e-3, np.inf])
def test_budgets_are_kept_and_something_is_answered(budget: float) -> None:
    outcomes = drawn(300)
    policy = Hops()
    policy.fit(outcomes)
    world = world_of(outcomes)
    played = play(policy, world, np.arange(300), 0.05, budget)
    assert (played.cost_usd <= budget + 1e-12).all()
    if budget >= 1e-3:
        assert (played.chosen >= 0).all()


def test_where_the_best_does_not_fit_the_next_best_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget below the dear model's worst call: return on 4,000 queries beside falling back to what there is at once.

    Measured: 0.695 against 0.577.
    """
    policy = Hops()
    policy.fit(drawn(1500))
    world = world_of(drawn(4000, seed=4))

    def gained() -> float:
        played = play(policy, world, np.arange(4000), 0.05, 1e-3)
        assert not played.asked[:, 2].any()
        return float(played.quality.mean() - played.cost_usd.mean() / 0.05)

    ranked = gained()
    monkeypatch.setattr(hops, "_first", lambda obs, actions: actions[:, 0])
    assert ranked > gained() + 0.02


def test_a_table_without_replies_is_refused() -> None:
    with pytest.raises(RoutewrightError, match="kept them"):
        Hops().fit(replace(drawn(50), keys=None))


def test_another_pool_is_refused() -> None:
    policy = Hops()
    policy.fit(drawn(100))
    other = drawn(20).with_models(["m1", "m0", "m2", "m3"])
    with pytest.raises(RoutewrightError, match="Fit it on this pool"):
        play(policy, world_of(other), np.arange(20), 0.01)


def test_settings_of_a_trainer_are_read_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="updtes"):
        build_policy("hops", {"trainer": "ppo", "training": {"updtes": 3}})
    with pytest.raises(ConfigError, match="nothing to set"):
        build_policy("hops", {"training": {"updates": 3}})


def test_a_saved_plan_is_the_same_plan() -> None:
    outcomes = drawn(300)
    policy = Hops()
    policy.fit(outcomes)
    again = restore_policy("hops", *policy.state())
    world, rows = world_of(outcomes), np.tile(np.arange(300), 5)
    values = np.repeat([0.0, 1e-3, 0.017, 0.4, 1e6], 300)
    first, second = play(policy, world, rows, values), play(again, world, rows, values)  # type: ignore[arg-type]
    assert (first.asked == second.asked).all()
    assert (first.chosen == second.chosen).all()


def test_it_is_no_worse_than_the_cascade_where_queries_are_few() -> None:
    """200 queries to learn from, 4,000 to be judged on, four deals: mean return minus the cascade's.

    Measured: +0.001 to +0.009 a deal.
    """
    difference = []
    for seed in range(4):
        seen, unseen = drawn(200, seed=10 + seed), drawn(4000, seed=100 + seed)
        world = world_of(unseen)
        gains = []
        for policy in (Hops(), Cascade()):
            policy.fit(seen)
            played = play(policy, world, np.arange(4000), 0.01)
            gains.append(played.quality.mean() - played.cost_usd.mean() / 0.01)
        difference.append(gains[0] - gains[1])
    assert np.mean(difference) > -0.002
