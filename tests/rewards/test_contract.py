"""What every reward of the table promises (`rewards/base.py`). A new one is picked up from the table."""

from __future__ import annotations

import asyncio
import copy
import doctest
import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routewright.config import Config
from routewright.episodes.engine import run
from routewright.errors import ConfigError, ProviderError, RoutewrightError, UnknownName
from routewright.policies.base import Policy, Wish
from routewright.pools.pool import Rules, pool_of
from routewright.pools.providers.base import Ask, Completion, Provider
from routewright.rewards import REWARDS, Reward, build_reward, build_rewards, parts, total
from routewright.rewards.format import malformed
from routewright.types import (
    Answer,
    Call,
    Decision,
    Episode,
    Generate,
    ModelCard,
    Query,
    Reply,
    State,
    Step,
    Think,
    Usage,
)

QUERY = Query("What is 2 + 2?", "q0")
OPTIONS: dict[str, list[dict[str, Any]]] = {  # beside the defaults
    "cost": [{"reference_usd": 1e-4}],
    "latency": [{"reference_s": 30.0}],
    "router_r1": [
        {"form": "code", "alpha": 0.9},
        {"prices": dict.fromkeys(("m0", "m1", "m2", "m"), 0.3), "low": 2.0, "high": 2.0},
    ],
    "success_gated": [{"bonus": 2.0, "lambda_cost": 0.1, "threshold": 0.5}, {"lambda_cost": 0.0}],
}
CASES = [(kind, options) for kind in REWARDS for options in ({}, *OPTIONS.get(kind, []))]

texts = st.text(max_size=20) | st.sampled_from(["", " ", "4", "malformed: no tag", "malformed: "])
dollars = st.floats(0, 1e3)
replies = st.builds(
    Reply,
    texts,
    st.just("m0"),
    st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6)),
    dollars,
    st.floats(0, 1e5),
    st.none() | st.just("503"),
    message=st.none() | st.just({"tool_calls": [{"id": "1"}]}),
)
decisions = st.builds(Decision, st.builds(Think, texts) | st.just(Call("m0")))
steps = st.builds(Step, decisions | st.builds(Generate, st.just("m0"), texts), st.none() | replies)
STOPPED = st.sampled_from(["answer", "budget", "overrun", "steps", "failed", "cancelled"])


@st.composite
def episodes(draw: st.DrawFn) -> Episode:
    """Any finished, scored episode."""
    taken = tuple(draw(st.lists(steps, max_size=5)))
    told = [i for i, step in enumerate(taken) if step.reply is not None]
    chosen = draw(st.sampled_from([None, *told]))
    answer = draw(texts) if chosen is None else taken[chosen].reply.text  # type: ignore[union-attr]
    cost = math.fsum(step.reply.cost_usd for step in taken if step.reply is not None)
    value = draw(st.floats(1e-9, 1e3))
    quality = draw(st.floats(0, 1))
    return Episode(
        QUERY, taken, answer, quality, cost, draw(st.floats(0, 1e6)), value, chosen=chosen, stopped=draw(STOPPED)
    )


def episode(**more: Any) -> Episode:
    facts: dict[str, Any] = {"quality": 1.0, "cost_usd": 0.001, "latency_s": 0.5, "value_usd": 0.004, **more}
    return Episode(QUERY, facts.pop("steps", ()), facts.pop("answer", "4"), **facts)


@pytest.mark.parametrize("kind", REWARDS)
def test_table_and_class_agree(kind: str) -> None:
    cls = REWARDS.load(kind)
    assert cls.kind == kind
    assert issubclass(cls, Reward)
    assert issubclass(cls.Config, Config)
    assert cls.summary
    assert "\n" not in cls.summary
    assert cls.unit
    assert all(field.description for field in cls.Config.model_fields.values()), "every option says what it is"


@pytest.mark.parametrize("kind", REWARDS)
def test_its_example_runs(kind: str) -> None:
    ran = doctest.testmod(importlib.import_module(REWARDS[kind].partition(":")[0]))
    assert ran.attempted >= 1
    assert ran.failed == 0


@pytest.mark.parametrize(("kind", "options"), CASES)
@settings(max_examples=60, deadline=None)
@given(one=episodes())
def test_it_is_pure_finite_and_within_its_bounds(kind: str, options: dict[str, Any], one: Episode) -> None:
    reward = build_reward(kind, options)
    before = copy.deepcopy(one)
    told = reward(one)
    assert type(told) is float
    assert math.isfinite(told)
    low, high = reward.bounds
    assert low <= told <= high
    assert reward(one) == told
    assert build_reward(kind, options)(copy.deepcopy(one)) == told
    assert one == before


@pytest.mark.parametrize("quality", [None, math.nan, -0.1, 1.1])
@pytest.mark.parametrize("kind", ["quality", "success_gated"])
def test_an_episode_nobody_scored_is_not_wrong(kind: str, quality: float | None) -> None:
    with pytest.raises(RoutewrightError, match=r"has quality .*\. Expected a score in \[0, 1\]"):
        build_reward(kind)(episode(quality=quality))


@pytest.mark.parametrize("kind", ["cost", "success_gated"])
def test_a_cost_needs_something_to_be_set_against(kind: str) -> None:
    with pytest.raises(RoutewrightError, match=r"value_usd = 0.*reference_usd"):
        build_reward(kind)(episode(value_usd=0.0))
    assert build_reward(kind, {"reference_usd": 0.002})(episode(value_usd=0.0)) == 0.5


@settings(max_examples=60, deadline=None)
@given(one=episodes())
def test_quality_less_cost_is_utility_over_value(one: Episode) -> None:
    rewards, weights = build_rewards([{"kind": "quality"}, {"kind": "cost", "weight": -1}])
    utility = one.value_usd * (one.quality or 0.0) - one.cost_usd
    assert total(parts(one, rewards), weights) == pytest.approx(utility / one.value_usd, rel=1e-9, abs=1e-9)


def test_wrong_answers_get_nothing_whatever_they_cost() -> None:
    gated = build_reward("success_gated", {"threshold": 0.5, "lambda_cost": 2.0})
    assert gated(episode(quality=0.49, cost_usd=5.0)) == 0.0
    assert gated(episode(quality=0.5)) == 1.0 - 2.0 * 0.25
    assert gated(episode(cost_usd=0.004)) == -1.0  # right, at more than the bonus is worth


def test_what_counts_as_malformed() -> None:
    form = REWARDS.load("format")()

    def fault(*taken: Step, **more: Any) -> str:
        return form.fault(episode(steps=taken, **more))  # type: ignore[attr-defined, no-any-return]

    empty = Reply("", "m0", Usage(1, 1), 0.0, 0.0)
    tools = Reply("", "m0", Usage(1, 1), 0.0, 0.0, message={"tool_calls": []})
    assert fault() == ""
    assert fault(Step(Decision(Think("is this malformed: no")))) == ""
    assert fault(Step(Decision(Think("hm"))), Step(malformed("no tag")), Step(malformed("later"))) == "no tag"
    assert fault(Step(malformed(""))) == "malformed"
    assert fault(answer=" \n") == "the answer is empty"
    assert fault(Step(Decision(Call("m0")), empty), answer="", chosen=0) == "the answer is empty"
    assert fault(Step(Decision(Call("m0")), tools), answer="", chosen=0) == ""
    assert fault(answer="", stopped="failed") == fault(answer="", stopped="budget") == ""


class _Flaky(Provider):
    """Fails for model `bad`, after having worked."""

    kind: ClassVar[str] = "flaky"

    async def complete(self, ask: Ask) -> Completion:
        if ask.model == "bad":
            raise ProviderError("503", "server", partial=Completion("ha", Usage(10, 5)))
        return Completion("4" if ask.role != "policy" else "?", Usage(100, 10))


class _Writes(Policy):
    """Has a model write twice what it can not read, asks one that fails, then a good one."""

    kind: ClassVar[str] = "writes"

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        taken = [s.decision for s in states[0].steps]
        thoughts = sum(isinstance(d, Decision) and isinstance(d.action, Think) for d in taken)
        calls = sum(isinstance(d, Decision) and isinstance(d.action, Call) for d in taken)
        if thoughts < 2:
            return [Generate("good", "which?")]
        return [[Decision(Call("bad")), Decision(Call("good")), Decision(Answer())][calls]]

    def parse(self, reply: Reply, state: State) -> Wish:
        return malformed(f"can not read {reply.text!r}")


def test_every_step_is_priced_and_malformed_turns_are_seen() -> None:
    """Two turns of the policy's own, a failed call and the answer: 3 x (100 x 1 + 10 x 2) + (10 x 1 + 5 x 2) = 380."""
    cards = [ModelCard("good", 1.0, 2.0, output_tokens=50), ModelCard("bad", 1.0, 2.0, output_tokens=50)]

    async def judge(query: Query, reply: Reply | None, answer: str) -> float:
        return float(answer == "4")

    done = asyncio.run(run(_Writes(), pool_of(cards, _Flaky(), Rules(), judge), QUERY, value_usd=0.00038))
    rewards, _ = build_rewards([{"kind": "quality"}, {"kind": "cost"}, {"kind": "format"}])
    assert parts(done, rewards) == {"quality": 1.0, "cost": pytest.approx(1.0), "format": -1.0}
    assert done.cost_usd == pytest.approx(380e-6)


@pytest.mark.parametrize(
    ("entries", "error", "says"),
    [
        ([], ConfigError, "reward is empty"),
        ([{"weight": 1.0}], ConfigError, "kind = None"),
        ([{"kind": "cots"}], UnknownName, "Did you mean 'cost'"),
        ([{"kind": "cost"}, {"kind": "cost"}], ConfigError, "listed twice"),
        ([{"kind": "cost", "weight": math.inf}], ConfigError, "finite"),
        ([{"kind": "cost", "weight": True}], ConfigError, "finite"),
        ([{"kind": "cost", "reference_usd": 0}], ConfigError, "reference_usd = 0"),
        ([{"kind": "quality", "scale": 2}], ConfigError, "Unknown key 'scale'"),
    ],
)
def test_wrong_entries_are_refused(entries: list[dict[str, Any]], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        build_rewards(entries)


def test_parts_stay_apart_and_weights_must_fit() -> None:
    assert total({"quality": 1.0, "cost": 0.25}, {"quality": 2.0, "cost": -1.0}) == 1.75
    with pytest.raises(RoutewrightError, match="differ in format"):
        total({"quality": 1.0}, {"quality": 1.0, "format": 1.0})
    with pytest.raises(RoutewrightError, match="differ in cost"):
        total({"quality": 1.0, "cost": 0.1}, {"quality": 1.0})
    with pytest.raises(RoutewrightError, match="'quality' is nan"):
        total({"quality": math.nan}, {"quality": 1.0})


def test_every_reward_and_option_has_its_row() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "rewards.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    stated: dict[tuple[str, str], str] = {}
    kind = ""
    for cells in rows:
        kind = cells[0] or kind
        stated[kind, cells[1]] = cells[2]
    for name in REWARDS:
        assert sum(row[0] == name and row[3] not in ("", "what it is") for row in rows) >= 1, name
        for option, field in REWARDS.load(name).Config.model_fields.items():
            default = "none" if field.get_default() is None else str(field.get_default())
            assert stated[name, option] == default, (name, option)
