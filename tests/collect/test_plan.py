"""What is refused before anything is spent, and how cells are numbered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.collect.plan import Plan, make_plan
from routewright.collect.queries import Asked
from routewright.collect.settings import Settings
from routewright.errors import ConfigError, RoutewrightError, TableError, UnknownName
from routewright.types import Query

from .world import asked, plan_of, pool_config


def plan_with(asked_: list[Asked], **settings: Any) -> Plan:
    return make_plan(asked_, pool_config("a", "b"), Settings(**settings))


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3))
def test_cells_are_numbered_in_the_tables_order(queries: int, models: int, samples: int) -> None:
    plan = plan_of(queries, *[f"m{i}" for i in range(models)], samples=samples)
    places = [(q, m, s) for q in range(queries) for m in range(models) for s in range(samples)]
    assert [plan.cell(*place) for place in places] == list(range(plan.cells))
    assert [plan.split(cell) for cell in range(plan.cells)] == places


def test_models_come_in_the_pools_order() -> None:
    assert make_plan(asked(1), pool_config("a", "b", "c"), Settings(models=("c", "a"))).models == ("a", "c")


@pytest.mark.parametrize(
    ("one", "settings", "kind", "words"),
    [
        (Asked(Query("x", "1"), "1", ""), {}, TableError, ["1 of 1", "without a metric", "--metric"]),
        (Asked(Query("x", "1"), "1", "vibes"), {}, TableError, ["'vibes'", "numeric"]),
        (Asked(Query("x", "1"), None, "numeric"), {}, TableError, ["'1'", "no reference", "Nothing was asked"]),
        (Asked(Query("x", "1"), "blue", "numeric"), {}, TableError, ["'1'", "blue", "no number"]),
        (Asked(Query("x", "1"), "1"), {"metric": "none"}, ConfigError, ["requires a score"]),
        (Asked(Query("x", "1"), "1"), {"metric": "numeri"}, UnknownName, ["numeric"]),
        (Asked(Query("x", "1"), "1"), {"metric": "numeric", "metric_options": {"tol": 1}}, ConfigError, ["tol"]),
        (Asked(Query("x", "1"), "1", "numeric"), {"metric_options": {"rel_tol": 1}}, ConfigError, ["--metric"]),
        (Asked(Query("x", "1"), "1", "numeric"), {"models": ("c",)}, UnknownName, ["'c'", "a, b"]),
        (Asked(Query("x", "1"), "1", "numeric"), {"models": ("a", "a")}, ConfigError, ["twice"]),
        (Asked(Query("x", "1"), "1", "numeric"), {"judge": "a"}, ConfigError, ["--judge"]),
        (Asked(Query("x", "1"), None, "judge"), {}, ConfigError, ["--judge MODEL"]),
        (Asked(Query("x", "1"), None, "judge"), {"judge": "z"}, UnknownName, ["'z'"]),
    ],
)
def test_refused_before_anything_is_spent(
    one: Asked, settings: dict[str, Any], kind: type[RoutewrightError], words: list[str]
) -> None:
    with pytest.raises(kind) as refusal:
        plan_with([one], **settings)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_a_judge_needs_no_reference() -> None:
    assert plan_with([Asked(Query("x", "1"), None, "judge")], judge="a").cells == 2


def test_metrics_by_label_and_by_option() -> None:
    mixed = [
        Asked(Query("x", "1"), "1", "numeric"),
        Asked(Query("y", "2"), "b", "exact_match"),
        Asked(Query("z", "3"), "2", "numeric"),
    ]
    plan = plan_with(mixed)
    assert [plan.measures[m].name for m in plan.measure_of] == ["numeric", "exact_match", "numeric"]
    plan = plan_with(mixed[::2], metric="numeric", metric_options={"rel_tol": 0.1})
    assert [m.label for m in plan.measures] == ['numeric {"rel_tol": 0.1}']


def test_facts_tell_what_would_change_the_rows() -> None:
    base = plan_of(3).facts()
    json.dumps(base)
    assert plan_of(3).facts() == base
    assert plan_of(3, concurrency=2, budget_usd=1.0, patience_s=1.0).facts() == base
    others = [
        plan_of(4),
        plan_of(3, "a"),
        plan_of(3, samples=2),
        plan_of(3, max_tokens=9),
        plan_of(3, metric="contains"),
    ]
    others.append(plan_of(3, config=pool_config("a", "b", usd_per_mtok_in=3.0)))
    others.append(plan_of(3, config=pool_config("a", "b", upstream="else")))
    assert all(other.facts() != base for other in others)
