"""A router's forecasts between the steps of episodes: remembered, bounded, and safe where several threads ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from routewright.episodes.engine import run
from routewright.policies import base
from routewright.policies.base import Forecaster, build_policy
from routewright.types import Forecast, Query
from tests.pools.doubles import Scripted, scripted_pool


class Router:
    """Forecasts the length of a text for two models; `meanwhile` happens while it is at it."""

    models = ("m0", "m1")

    def __init__(self, slow: bool = False, meanwhile: Any = None) -> None:
        self.encoder = SimpleNamespace(slow=slow)
        self.asked: list[str] = []
        self.threads: set[int] = set()
        self.meanwhile = meanwhile

    def forecast(self, queries: Sequence[Query]) -> Forecast:
        self.asked += [q.text for q in queries]
        self.threads.add(threading.get_ident())
        if self.meanwhile is not None:
            now, self.meanwhile = self.meanwhile, None
            now()
        quality = np.array([[len(q.text) / 100, 0.0] for q in queries])
        return Forecast(self.models, quality, quality * 0, quality * 0)


def lengths(forecaster: Forecaster, *texts: str) -> list[int]:
    return [round(100 * q) for q in forecaster.forecast([Query(text) for text in texts]).quality[:, 0]]


def test_a_text_is_forecast_once_and_old_ones_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_REMEMBERED", 2)
    router = Router()
    forecaster = Forecaster(router)
    assert lengths(forecaster, "a", "bb", "a") == [1, 2, 1]
    assert lengths(forecaster, "a") == [1]
    assert router.asked == ["a", "bb"]
    assert lengths(forecaster, "ccc") == [3]  # lets "bb" go, for "a" was asked for since
    assert lengths(forecaster, "a", "bb") == [1, 2]
    assert router.asked == ["a", "bb", "ccc", "bb"]
    assert lengths(forecaster, "dddd", "eeeee", "ffffff") == [4, 5, 6]  # more at once than are kept


def test_what_one_thread_lets_go_is_not_missed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_REMEMBERED", 1)
    router = Router()
    forecaster = Forecaster(router)
    lengths(forecaster, "a")
    router.meanwhile = lambda: lengths(forecaster, "ccc")  # what another thread does while this one forecasts "bb"
    assert lengths(forecaster, "a", "bb") == [1, 2]


def test_a_slow_encoder_never_runs_in_the_event_loop() -> None:
    """Not for the query, and not for the texts of subtasks either, which are known only when they are ready."""
    router = Router(slow=True)
    policy = build_policy("decompose", {"planner": "m0"})
    policy.forecaster = Forecaster(router)
    pool = scripted_pool(Scripted("1. What is 2 + 2?\n2. Double {1}."), Scripted("answer:4", "answer:8"))
    episode = asyncio.run(run(policy, pool, Query("Twice the sum of 2 and 2?"), 0.01))
    assert len(router.asked) >= 3, [s.decision for s in episode.steps]
    assert threading.get_ident() not in router.threads


def test_no_long_text_is_held() -> None:
    router = Router()
    made = Forecaster(router)
    texts = ["short", "long " * 10_000, "long " * 10_000 + "!"]
    for _ in range(3):
        assert lengths(made, *texts) == [len(text) for text in texts]
    assert len(router.asked) == 3
    assert max(len(key) for key in made._kept) < 300


def test_threads_that_push_one_another_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_REMEMBERED", 2)
    made = Forecaster(Router())

    def one(i: int) -> list[int]:
        return lengths(made, "x" * (i % 7), "y" * (i % 5))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(2000))) == [[i % 7, i % 5] for i in range(2000)]
