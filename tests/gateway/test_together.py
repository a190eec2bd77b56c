"""Queries that come together are prepared together, and nobody waits for others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from routewright.coordinator import find
from routewright.gateway.together import MOST, Together
from routewright.gateway.watch import Unfit, Watched
from routewright.policies.base import Forecaster, build_policy
from routewright.types import Forecast, ModelCard, Query, State


class Log:
    def __init__(self, error: Exception | None = None) -> None:
        self.batches: list[list[str]] = []
        self.error = error

    def __call__(self, queries: Sequence[Query]) -> None:
        self.batches.append([q.text for q in queries])
        if self.error is not None:
            raise self.error


def test_those_of_one_turn_are_one_batch() -> None:
    log = Log()

    async def main() -> None:
        together = Together(log)
        await asyncio.gather(*(together.ask(Query(str(i))) for i in range(5)))
        await together.ask(Query("alone"))
        await asyncio.gather(*(together.ask(Query(str(i))) for i in range(MOST + 2)))

    asyncio.run(main())
    assert [len(batch) for batch in log.batches] == [5, MOST, 2]  # one alone is read when it is decided on


def test_long_texts_make_smaller_batches() -> None:
    log = Log()

    async def main() -> None:
        together = Together(log)
        await asyncio.gather(*(together.ask(Query("x" * 64_000)) for _ in range(MOST)))

    asyncio.run(main())
    assert [len(batch) for batch in log.batches] == [12, 12]


def test_who_has_gone_is_left_out() -> None:
    log = Log()

    async def main() -> None:
        together = Together(log)
        asked = [together.ask(Query(str(i))) for i in range(4)]
        asked[1].cancel()
        await asyncio.wait(asked)

    asyncio.run(main())
    assert log.batches == [["0", "2", "3"]]


def test_a_failure_is_left_to_the_decisions() -> None:
    log = Log(ValueError("no"))

    async def main() -> list[float]:
        together = Together(log)
        return list(await asyncio.gather(*(together.ask(Query(str(i))) for i in range(3))))

    assert asyncio.run(main()) == [0.0] * 3


class Router:
    """A scorer that fails on one text."""

    models = ("a", "b")

    class encoder:
        slow = False

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def forecast(self, queries: Sequence[Query]) -> Forecast:
        self.sizes.append(len(queries))
        if any(q.text == "bad" for q in queries):
            raise ValueError("a bad text")
        ones = np.ones((len(queries), 2))
        return Forecast(self.models, ones * [0.2, 0.9], ones * 0.1, ones * 1e-4, None, None)


def test_one_bad_query_harms_no_other() -> None:
    router = Router()
    policy = build_policy("single")
    policy.models, policy.forecaster = router.models, Forecaster(router)
    watched = Watched(policy)
    cards = (ModelCard("a", 1, 1), ModelCard("b", 1, 1))

    async def one(text: str) -> str:
        await watched.ready(Query(text), 1.0, alone=False)
        try:
            wish = watched.decide([State(Query(text), cards, 0.01, legal=(True, True))], np.random.default_rng(0))[0]
        except Unfit:
            return "unfit"
        return str(wish.action.model)  # type: ignore[union-attr]

    async def main() -> list[str]:
        return list(await asyncio.gather(*(one(text) for text in ("x", "bad", "y"))))

    assert asyncio.run(main()) == ["b", "unfit", "b"]
    assert router.sizes == [3, 1, 1, 1]


def test_what_is_prepared_is_remembered() -> None:
    router = Router()
    policy = build_policy("single")
    policy.models, policy.forecaster = router.models, Forecaster(router)
    watched = Watched(policy)

    async def main() -> None:
        await asyncio.gather(*(watched.ready(Query(str(i)), 1.0, alone=False) for i in range(8)))
        for i in range(8):
            policy.forecaster.forecast([Query(str(i))])  # type: ignore[union-attr]

    asyncio.run(main())
    assert router.sizes == [8]


def test_without_forecasts_nothing_waits() -> None:
    watched = Watched(find("single", {"model": "a"}).policy)
    with pytest.raises(StopIteration):
        watched.ready(Query("x"), 1.0, alone=False).send(None)
