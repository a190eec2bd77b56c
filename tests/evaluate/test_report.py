"""report.json: the code, its schema and docs/reference/report.md say the same."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routewright.errors import RoutewrightError
from routewright.evaluate.crossfit import Unit
from routewright.evaluate.report import build
from routewright.evaluate.run import evaluate
from routewright.evaluate.schema import check_report
from routewright.evaluate.settings import Part, Settings
from routewright.outcomes import Outcomes
from routewright.types import Query

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "report.md"
# Their keys are names, not fields.
NAMED = {"policies", "tables", "share", "others", "dropped", "options", "not_recorded"}


def outcomes(name: str, seed: int, models: tuple[str, ...] = ("dear", "middle", "cheap")) -> Outcomes:
    """60 queries of two tasks; the dear model is good at both, the cheap one at the first."""
    rng = np.random.default_rng(seed)
    tasks = ["add", "prove"] * 30
    queries = tuple(Query(f"{t} the number {i} in {name}", str(i), t, name) for i, t in enumerate(tasks))
    chance = np.array([[0.95, 0.8, 0.9] if t == "add" else [0.9, 0.6, 0.1] for t in tasks])[:, : len(models)]
    shape = (len(queries), len(models))
    nothing = np.full(shape, np.nan)
    cost = np.array([1e-2, 2e-3, 1e-4])[: len(models)] * rng.uniform(0.8, 1.2, shape)
    quality = (rng.random(shape) < chance).astype(np.float64)
    return Outcomes(name, queries, models, quality, cost, nothing, nothing, nothing, "correct", "made up", "made up")


@cache
def _report(text: str) -> str:
    """The report of `text` in JSON: one (`one`), several (`many`) or two-model (`pair`) tables."""
    settings = Settings(policies=(Part(kind="ridge"), Part(kind="task_mean")), seeds=1, folds=3, draws=50, jobs=1)
    units = {
        "one": [Unit("sums", outcomes("sums", 0))],
        "many": [Unit("sums", outcomes("sums", 0)), Unit("more", outcomes("more", 1))],
        "pair": [Unit("two", outcomes("two", 2, ("dear", "middle")))],
    }[text]
    made = {"command": "routewright evaluate", "date": "2025-01-01", "device": "a test"}
    return json.dumps(build(settings, evaluate(units, settings), None, ["a note"], made), allow_nan=False)


def report(which: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_report(which))
    return loaded


def keys(value: Any, named: bool = False) -> Iterator[str]:
    """All field names of a report; names of policies, tables and models are not fields."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not named:
                yield key
            yield from keys(inner, not named and key in NAMED)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


@pytest.mark.parametrize("which", ["one", "many", "pair"])
def test_a_real_report_keeps_to_the_schema(which: str) -> None:
    check_report(report(which))


@pytest.mark.parametrize("which", ["one", "many", "pair"])
def test_every_field_is_documented(which: str) -> None:
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text(encoding="utf-8")))
    documented |= set(re.findall(r"\w+", " ".join(re.findall(r"`\{([^`]*)\}`", DOCS.read_text(encoding="utf-8")))))
    missing = set(keys(report(which))) - documented
    assert not missing


def test_pooled_kinds() -> None:
    assert report("one")["pooled"]["kind"] == "table"
    many = report("many")
    assert many["pooled"] == {"kind": "tables", "tables": ["sums", "more"], "queries": 120}
    assert many["policies"]["ridge"]["gain_over_line"]["mean"] == pytest.approx(
        np.mean([t["policies"]["ridge"]["gain_over_line"]["mean"] for t in many["tables"].values()])
    )


@pytest.mark.parametrize(
    "path",
    [
        ("notes",),
        ("policies", "ridge", "aiq"),
        ("policies", "ridge", "aiq", "low"),
        ("tables", "sums", "cost_source"),
        ("tables", "sums", "policies", "ridge", "collapse", "entropy_bits"),
        ("tables", "sums", "controls", "oracle"),
        ("comparisons", "others", "blind", "p_better"),
        ("tables", "sums", "policies", "ridge"),
    ],
)
def test_a_missing_field_is_named(path: tuple[str, ...]) -> None:
    broken = report("one")
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    with pytest.raises(RoutewrightError, match=path[-1]):
        check_report(broken)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(RoutewrightError, match="surprise"):
        check_report({**report("one"), "surprise": 1})


def test_another_schema_is_refused() -> None:
    with pytest.raises(RoutewrightError, match="schema 7"):
        check_report({**report("one"), "schema": 7})


def test_a_saving_stated_without_proof_is_a_contradiction() -> None:
    broken = report("one")
    policy = broken["policies"]["ridge"]
    policy["operating_point"]["difference_to_best_single"] = {"mean": -0.1, "low": -0.2, "high": 0.0}
    policy["saving_at_best_single"] = copy.deepcopy(policy["operating_point"]["saving"])
    with pytest.raises(RoutewrightError, match="null exactly where"):
        check_report(broken)
