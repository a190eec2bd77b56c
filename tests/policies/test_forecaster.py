"""Forecasts are remembered while episodes go on, by something small, and by several threads at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from routewright.policies import base
from routewright.policies.base import Forecaster
from routewright.types import Forecast, Query


class Counted:
    """A router whose forecast of a text is its length; it counts what it was asked."""

    encoder = SimpleNamespace(slow=False)
    models = ("a", "b")

    def __init__(self) -> None:
        self.asked = 0

    def forecast(self, queries: Sequence[Query]) -> Forecast:
        self.asked += len(queries)
        quality = np.array([[len(q.text), 0.0] for q in queries])
        return Forecast(self.models, quality, np.zeros_like(quality), np.ones_like(quality))


def test_a_text_is_forecast_once_and_no_long_one_is_held() -> None:
    router = Counted()
    made = Forecaster(router)
    texts = ["short", "long " * 10_000, "long " * 10_000 + "!"]
    for _ in range(3):
        found = made.forecast([Query(t) for t in texts])
        assert found.quality[:, 0].tolist() == [len(t) for t in texts]
    assert router.asked == 3
    assert max(len(key) for key in made._kept) < 300


def test_threads_that_push_one_another_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_REMEMBERED", 2)
    made = Forecaster(Counted())

    def one(i: int) -> Any:
        return made.forecast([Query("x" * (i % 7)), Query("y" * (i % 5))]).quality[:, 0].tolist()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(2000))) == [[i % 7, i % 5] for i in range(2000)]
