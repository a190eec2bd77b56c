"""A model that joins later: its row of the classes, plans and heads that take it up, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routewright.episodes.batched import play
from routewright.episodes.recorded import world_of
from routewright.errors import RoutewrightError, UnknownName
from routewright.outcomes import Outcomes
from routewright.outcomes.prices import call_usd
from routewright.policies.base import restore_policy
from routewright.policies.cascade import Cascade
from routewright.policies.hops import Hops
from routewright.policies.hops_classes import Classes, fit_classes, parts_of
from routewright.policies.hops_newcomer import newcomer
from routewright.policies.hops_tree import MOST_COLUMNS
from routewright.types import ModelCard
from tests.extras import needs
from tests.policies.test_hops import CLASSES, drawn

KNOWN, NEW = ("m0", "m1", "m3"), "m2"  # m2 is dear, and right where the others are not


def fitted(n: int = 800) -> tuple[Hops, Outcomes]:
    """A policy that never saw m2, and outcomes in which m2 comes last."""
    outcomes = drawn(n).with_models([*KNOWN, NEW])
    policy = Hops()
    policy.fit(outcomes.with_models(KNOWN))
    return policy, outcomes


def surprise(row: Classes, classes: Classes, unseen: Outcomes) -> float:
    """Mean -log chance, in nats, that the row gives the new model's replies to unseen queries."""
    assert unseen.keys is not None
    known = classes.posterior(parts_of(unseen.quality[:, :-1], unseen.keys[:, :-1]))
    part = parts_of(unseen.quality, unseen.keys)[:, -1]
    return float(-np.log((known @ row.chance[:, 0])[np.arange(len(part)), part]).mean())


def test_a_row_without_probes_is_the_mean_of_models_of_such_a_price() -> None:
    row = newcomer(CLASSES, 2.4e-3)
    assert row.chance.sum(axis=2) == pytest.approx(np.ones((2, 1)))
    assert (CLASSES.share @ row.cost_usd)[0] == pytest.approx(
        2.4e-3
    )  # whatever it costs by class, on average the card's
    near = CLASSES.take(np.array([2]))  # costs 2.8e-3; the others a twentieth and less
    assert np.abs(row.chance - near.chance).max() < 0.1
    assert np.abs(newcomer(CLASSES, 1.2e-4).chance - near.chance).max() > 0.3


def test_probes_say_who_it_is_like() -> None:
    """Surprise at 1,000 unseen replies, means over five draws of the probes. Measured: 0.72 by price, 0.62, 0.57 and 0.49."""
    policy, outcomes = fitted()
    unseen = drawn(1000, seed=5).with_models([*KNOWN, NEW])
    classes = policy.classes
    assert classes is not None
    means = []
    for n in (0, 20, 50, 400):
        found = []
        for seed in range(5):
            rows = np.random.default_rng(seed).permutation(len(outcomes))[:n]
            row = newcomer(classes, 2.8e-3, outcomes.take(rows) if n else None)
            found.append(surprise(row, classes, unseen))
        means.append(np.mean(found))
    assert means[0] - 0.05 > means[1] > means[2] > means[3]
    assert outcomes.keys is not None
    whole = fit_classes(outcomes, (4, 8, 16), 4.0).take(np.array([3]))
    assert means[3] < surprise(whole, fit_classes(outcomes.with_models(KNOWN), (4, 8, 16), 4.0), unseen) + 0.1


def test_its_plan_asks_it_where_it_helps() -> None:
    """Return on 4,000 unseen queries: with 50 probes nearer to fitting on everything than to never asking it.

    Measured: 0.684 without the model, 0.786 with it and 50 probes, 0.812 fitted on all.
    """
    policy, outcomes = fitted()
    whole = Hops()
    whole.fit(outcomes)
    unseen = drawn(4000, seed=7).with_models([*KNOWN, NEW])

    def gained(one: Hops) -> float:
        played = play(one, world_of(unseen.with_models(one.models)), np.arange(4000), 0.05)
        return float(played.quality.mean() - played.cost_usd.mean() / 0.05)

    without, aim = gained(policy), gained(whole)
    quality, cost_usd = policy.add(NEW, 2.8e-3, outcomes.take(np.arange(50)))
    assert policy.models == (*KNOWN, NEW)
    assert quality == pytest.approx(0.86, abs=0.1)  # of its replies 0.862 are right
    assert cost_usd == pytest.approx(2.8e-3, rel=0.2)
    assert aim > without + 0.05
    assert gained(policy) > (without + aim) / 2
    again = restore_policy("hops", *policy.state())
    world = world_of(unseen)
    mine, theirs = (play(one, world, np.arange(4000), 0.05) for one in (policy, again))  # type: ignore[arg-type]
    assert (mine.asked == theirs.asked).all()
    assert mine.asked[:, 3].any()


@pytest.mark.parametrize("guide", ["none", "tree", "cascade"])
def test_a_head_meets_one_more_model(guide: str) -> None:
    needs("torch", "train")
    outcomes = drawn(800).with_models([*KNOWN, NEW])
    training = {"updates": 6 if guide == "none" else 0, "episodes": 512, "watch_every": 3}
    policy = Hops(Hops.Config(trainer="ppo", guide=guide, training=training))
    policy.fit(outcomes.with_models(KNOWN))
    policy.add(NEW, 2.8e-3, outcomes.take(np.arange(50)))
    unseen = drawn(1000, seed=7).with_models([*KNOWN, NEW])
    played = play(policy, world_of(unseen), np.arange(1000), 0.05)
    assert played.asked[:, 3].any() == (
        guide != "cascade"
    )  # untrained it does what its guide does, and that one is a list
    again = restore_policy("hops", *policy.state())
    same = play(again, world_of(unseen), np.arange(1000), 0.05)  # type: ignore[arg-type]
    assert (played.asked == same.asked).all()


def test_without_probes_the_price_has_to_be_known() -> None:
    policy, outcomes = fitted(100)
    with pytest.raises(RoutewrightError, match="What does a call of 'm2' cost"):
        policy.add(NEW)
    with pytest.raises(RoutewrightError, match="cost"):
        policy.add(NEW, -1.0)
    with pytest.raises(RoutewrightError, match="in the pool already"):
        policy.add("m0", 1e-4)
    with pytest.raises(RoutewrightError, match="kept them"):
        policy.add(NEW, 1e-3, replace(outcomes, keys=None))
    with pytest.raises(UnknownName, match="m2"):
        policy.add(NEW, 1e-3, outcomes.with_models(KNOWN))
    with pytest.raises(RoutewrightError, match="not fitted"):
        Hops().add(NEW, 1e-3)
    assert policy.models == KNOWN  # nothing changed
    policy.add(NEW, probes=outcomes.take(np.arange(20)))


def test_other_policies_say_that_they_can_not() -> None:
    policy = Cascade()
    policy.fit(drawn(100))
    with pytest.raises(RoutewrightError, match="Train it on outcomes of the whole pool"):
        policy.add("m9", 1e-3)


def test_a_plan_over_too_many_models_is_refused() -> None:
    policy = Hops(Hops.Config(deepest=1, candidates=MOST_COLUMNS))
    policy.fit(drawn(100))
    for i in range(MOST_COLUMNS - 4):
        policy.add(f"extra {i}", 1e-4 * (i + 1))
    with pytest.raises(RoutewrightError, match="weigh 12 models already"):
        policy.add("one too many", 1e-4)


def test_a_card_prices_a_call_by_the_tokens_of_the_others() -> None:
    outcomes = drawn(100)
    outcomes = replace(outcomes, tokens_in=np.full((100, 4), 1000.0), tokens_out=np.full((100, 4), 200.0))
    assert call_usd(ModelCard("new", 2.0, 10.0), outcomes) == pytest.approx(0.004)
    with pytest.raises(RoutewrightError, match="lacks a price"):
        call_usd(ModelCard("new", 2.0), outcomes)
    with pytest.raises(RoutewrightError, match="no token counts"):
        call_usd(ModelCard("new", 2.0, 10.0), replace(outcomes, tokens_in=np.full((100, 4), np.nan)))
