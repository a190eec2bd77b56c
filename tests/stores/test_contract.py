"""What every store does: the cases are the table's."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routewright.errors import ConfigError, UnknownName
from routewright.stores.base import Feedback, Store, build_store
from routewright.stores.summary import Bucket, Summary
from routewright.stores.table import STORES
from tests.stores.records import record


def options(kind: str, tmp_path: Path) -> dict[str, Any]:
    return {"path": str(tmp_path / "kept.sqlite")} if kind == "sqlite" else {}


def played(kind: str, tmp_path: Path, play: Any, retain_s: float = 0.0) -> Any:
    async def go() -> Any:
        store = build_store(kind, options(kind, tmp_path), retain_s)
        await store.open()
        try:
            return await play(store)
        finally:
            await store.aclose()
            await store.aclose()

    return asyncio.run(go())


@pytest.mark.parametrize("kind", STORES)
def test_what_is_recorded_is_found(kind: str, tmp_path: Path) -> None:
    given = record(query="q é", response="r", models=("small", "large"), probability=None, streamed=True)

    async def play(store: Store) -> None:
        store.record(given)
        assert await store.find(given.trace_id) == given, "at once"
        assert await store.find("0" * 32) is None
        assert (store.lost, store.error) == (0, "")

    played(kind, tmp_path, play)


@pytest.mark.parametrize("kind", STORES)
def test_feedback_belongs_to_a_record(kind: str, tmp_path: Path) -> None:
    first, second = record(at=1.0), record(at=2.0)

    async def play(store: Store) -> list[Any]:
        for one in (second, first):
            store.record(one)
        assert not await store.feedback(Feedback("0" * 32, 1.0))
        assert await store.feedback(Feedback(first.trace_id, 0.0, "user", at=1.0))
        assert await store.feedback(Feedback(first.trace_id, 1.0, "user", "better", "team", at=2.0))
        assert await store.feedback(Feedback(first.trace_id, 0.5, "judge", at=3.0))
        assert await store.feedback(Feedback(second.trace_id, 0.25, at=4.0))
        return await store.judged()

    pairs = played(kind, tmp_path, play)
    assert [(r.trace_id, f.name, f.score, f.comment) for r, f in pairs] == [
        (first.trace_id, "user", 1.0, "better"),
        (first.trace_id, "judge", 0.5, ""),
        (second.trace_id, "", 0.25, ""),
    ]


@pytest.mark.parametrize("kind", STORES)
def test_spending_is_summed_by_key_and_time(kind: str, tmp_path: Path) -> None:
    async def play(store: Store) -> list[float]:
        for key, at, usd in (("a", 10.0, 1.0), ("a", 20.0, 2.0), ("b", 20.0, 4.0)):
            store.record(record(key=key, at=at, cost_usd=usd))
        return [await store.spent_usd(k, since) for k, since in (("a", 0), ("a", 20), ("b", 0), ("c", 0))]

    assert played(kind, tmp_path, play) == [3.0, 2.0, 4.0, 0.0]


@pytest.mark.parametrize("kind", STORES)
def test_what_is_too_old_goes(kind: str, tmp_path: Path) -> None:
    old, new = record(at=time.time() - 1000), record()

    async def play(store: Store) -> tuple[Any, Any]:
        store.record(old)
        store.record(new)
        await store.find(new.trace_id)
        return await store.find(old.trace_id), await store.find(new.trace_id)

    assert played(kind, tmp_path, play, retain_s=500) == (None, new)


@pytest.mark.parametrize("kind", STORES)
def test_the_newest_come_first_without_their_texts(kind: str, tmp_path: Path) -> None:
    given = [record(at=float(at), query="q", response="r", models=("a", "b"), baseline_usd=0.5) for at in range(1, 8)]

    async def play(store: Store) -> tuple[Any, ...]:
        for one in given:
            store.record(one)
        await store.find(given[-1].trace_id)
        first = await store.recent(3)
        return first, await store.recent(3, first[-1].at), await store.recent(3, 1.0)

    first, then, none = played(kind, tmp_path, play)
    slim = [replace(one, query=None, response=None, trace=b"") for one in reversed(given)]
    assert (first, then, none) == (slim[:3], slim[3:6], [])


@pytest.mark.parametrize("kind", STORES)
def test_a_summary_counts_by_time(kind: str, tmp_path: Path) -> None:
    given = [
        record(at=99.9, latency_s=9.0),
        record(at=100.0, latency_s=0.3, cost_usd=1.0, baseline_usd=4.0, models=("a",)),
        record(at=109.9, latency_s=0.1, cost_usd=2.0, baseline_usd=0.0, models=("a", "b"), status=502),
        record(at=109.9, latency_s=0.2, cost_usd=4.0, models=(), status=404),
        record(at=125.0, latency_s=0.4, cost_usd=8.0, baseline_usd=1.0, models=("b", "b")),
        record(at=130.0, latency_s=9.0),
    ]

    async def play(store: Store) -> tuple[Summary, Summary]:
        for one in given:
            store.record(one)
        await store.find(given[-1].trace_id)
        return await store.over_time(100.0, 130.0, 10.0), await store.over_time(500.0, 600.0, 10.0)

    found, none = played(kind, tmp_path, play)
    assert found.buckets == (
        Bucket(100.0, 3, 1, 7.0, 3.0, 4.0, {"a": 2, "b": 1}),
        Bucket(120.0, 1, 0, 8.0, 8.0, 1.0, {"b": 2}),
    )
    assert found.total == Bucket(100.0, 4, 1, 15.0, 11.0, 5.0, {"a": 2, "b": 3})
    assert (found.latency_s(0.5), found.latency_s(0.99), found.whole) == (0.2, 0.4, True)
    assert (none.buckets, none.latency_s(0.5), none.whole) == ((), None, True)


@pytest.mark.parametrize("kind", STORES)
def test_a_store_says_what_it_is(kind: str, tmp_path: Path) -> None:
    made = build_store(kind, options(kind, tmp_path))
    assert made.kind == kind
    assert made.summary
    with pytest.raises(ConfigError):
        build_store(kind, {"nonsense": 1})


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(UnknownName, match="No store is called 'sqlit'"):
        build_store("sqlit")
