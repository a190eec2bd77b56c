"""Profiles: what they say of models whose abilities are known, and pages that stay pages."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from routewright.intervals import wilson
from routewright.outcomes import Outcomes, load
from routewright.outcomes.simulated import TABLE
from routewright.profiles.pages import file_of, index, page
from routewright.profiles.profile import ProfileConfig, expected, profiles, reliability
from routewright.types import Query
from tests.profiles.worlds import made


@pytest.fixture(scope="module")
def simulated() -> Outcomes:
    return load(TABLE)


def vectors(outcomes: Outcomes) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((len(outcomes), 8)).astype(np.float32)


def test_specialists_are_found(simulated: Outcomes) -> None:
    told = {
        p.model: {t.task.split("/")[1]: t.verdict for t in p.tasks} for p in profiles(simulated, vectors(simulated))
    }
    assert told["sim-coder"]["code"] == "strength"
    assert told["sim-mathematician"]["arithmetic"] == "strength"
    assert told["sim-encyclopedia"]["facts"] == "strength"
    assert told["sim-coder"]["facts"] == told["sim-mathematician"]["facts"] == "weakness"


def test_nothing_is_found_where_there_is_nothing() -> None:
    """Tasks of this world are labels without meaning; 24 models x 3 tasks, 5% a model."""
    whole = made()
    wrongly = sum(any(t.verdict for t in p.tasks) for p in profiles(whole, vectors(whole)))
    assert wrongly <= 3  # seen: 0 or 1 over seeds 0 to 4


def test_order_intervals_and_frontier(simulated: Outcomes) -> None:
    all_ = profiles(simulated, vectors(simulated))
    assert [p.place for p in all_] == list(range(1, 7))
    assert all(a.score >= b.score for a, b in pairwise(all_))
    assert all(p.low < p.score < p.high for p in all_)
    dear = replace(simulated, cost_usd=simulated.cost_usd * np.where(np.array(simulated.models) == "sim-small", 1e4, 1))
    (small,) = (p for p in profiles(dear, vectors(dear)) if p.model == "sim-small")
    assert small.dominated_by == "sim-large"


def test_what_is_expected_has_the_mean_of_what_was_seen() -> None:
    whole = made()
    for m in range(5):
        assert expected(whole.quality, m).mean() == pytest.approx(whole.quality[:, m].mean(), abs=0.005)


def test_reliability_counts_every_query_and_sees_a_bias() -> None:
    score = (np.random.default_rng(0).random(1000) < 0.5).astype(float)
    rows, error = reliability(np.full(1000, 0.8), score, 5)
    assert sum(n for n, _, _ in rows) == 1000
    assert error == pytest.approx(0.3, abs=0.05)
    assert reliability(score, score, 4)[1] == 0


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_intervals_at_the_ends(mean: float) -> None:
    low, high = wilson(mean, 20)
    assert 0 <= low <= mean <= high <= 1
    assert high - low > 0.1


def test_examples_are_where_others_fail(simulated: Outcomes) -> None:
    (one,) = (p for p in profiles(simulated, vectors(simulated), ProfileConfig(examples=2)) if p.model == "sim-coder")
    assert 0 < len(one.alone_right) <= 2
    column = simulated.models.index("sim-coder")
    place = {q.text: i for i, q in enumerate(simulated.queries)}
    assert all(simulated.quality[place[text], column] == 1 for text in one.alone_right)
    assert all(simulated.quality[place[text], column] == 0 for text in one.alone_wrong)


def test_text_of_others_stays_text() -> None:
    whole = made(60, 6)
    evil = "<script>alert(1)</script> | [x](http://e) \n# head"
    hostile = replace(whole, queries=tuple(replace(q, text=evil, task="a|b") for q in whole.queries))
    told = profiles(hostile, vectors(hostile))
    text = page(told[0], 6) + index(evil, told, "correct", "")
    assert "<script" not in text
    assert "\n# head" not in text
    assert not re.search(r"(?<!\\)\]\(http", text)


def test_pages_have_names_of_their_own() -> None:
    names = ["GPT", "gpt", "a/b", "a-b", "a b", "../x", "index", "Index", "模型", ""]
    files = [file_of(n) for n in names]
    assert len({f.lower() for f in files}) == len(names)
    assert not any("/" in f or f.startswith(".") for f in files)


def test_one_task_and_no_latency() -> None:
    whole = made(60, 6)
    single = replace(whole, queries=tuple(Query(q.text, q.query_id, "", "d") for q in whole.queries))
    told = profiles(single, vectors(single))
    assert all(t.verdict == "" for p in told for t in p.tasks)
    assert "By task" not in page(told[0], 6)
    assert "nan" not in page(told[0], 6)
