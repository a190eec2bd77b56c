"""SQLite: killed, full, damaged, of another version; and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from sqlite3 import connect

import polars as pl
import pytest

from routewright.errors import StoreError
from routewright.outcomes import load
from routewright.stores import sqlite
from routewright.stores.base import Feedback, Store, build_store
from routewright.stores.export import export, rows_of
from routewright.stores.memory import Memory
from routewright.stores.sqlite import SQLite
from tests.stores.records import record

CHILD = """
import asyncio, sys, time
from routewright.stores.base import Feedback, build_store
from tests.stores.records import record

async def main():
    store = build_store("sqlite", {"path": sys.argv[1]})
    await store.open()
    for i in range(100_000):
        one = record()
        store.record(one)
        if i % 5 == 0:
            await store.feedback(Feedback(one.trace_id, 1.0))
            print(one.trace_id, flush=True)

asyncio.run(main())
"""


def test_a_kill_loses_no_acknowledged_feedback(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(40)]
    child.send_signal(signal.SIGKILL)
    acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
    child.wait()

    async def kept() -> set[str]:
        store = build_store("sqlite", {"path": str(path)})
        await store.open()
        found = {r.trace_id for r, _ in await store.judged()}
        await store.aclose()
        return found

    assert set(acknowledged) <= asyncio.run(kept())


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    async def go() -> list[bool]:
        store = build_store("sqlite", {"path": str(tmp_path / "a" / "kept.sqlite")})
        await store.open()
        given = [record() for _ in range(3000)]
        for one in given:
            store.record(one)
        await store.aclose()
        again = build_store("sqlite", {"path": str(tmp_path / "a" / "kept.sqlite")})
        await again.open()
        found = [await again.find(one.trace_id) == one for one in given[::500]]
        await again.aclose()
        return found

    assert all(asyncio.run(go()))


def test_a_full_queue_is_counted() -> None:
    store = SQLite(SQLite.Config(path="never-opened.sqlite", queue=2))
    for _ in range(5):
        store.record(record())
    assert store.lost == 3
    assert store.error == "2 records wait to be written"


def test_a_file_that_can_not_be_written_is_counted_and_told(tmp_path: Path) -> None:
    async def go() -> tuple[int, str, bool]:
        store = build_store("sqlite", {"path": str(tmp_path / "kept.sqlite")})
        await store.open()
        with connect(tmp_path / "kept.sqlite") as db:
            db.execute("drop table decisions")
        store.record(record())
        with pytest.raises(StoreError, match="can not be used"):
            await store.feedback(Feedback("0" * 32, 1.0))
        lost, error = store.lost, store.error
        with connect(tmp_path / "kept.sqlite") as db:
            from routewright.stores.sqlite import _SCHEMA

            db.executescript(_SCHEMA)
        one = record()
        store.record(one)
        back = await store.find(one.trace_id) == one
        await store.aclose()
        return lost, error, back

    lost, error, back = asyncio.run(go())
    assert lost == 1
    assert "no such table" in error
    assert back, "once it can be written again, it is"


@pytest.mark.parametrize("what", ["damaged", "a folder", "newer"])
def test_what_is_no_store_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    if what == "damaged":
        path.write_bytes(b"no database at all" * 100)
    elif what == "a folder":
        path.mkdir()
    else:
        with connect(path) as db:
            db.execute("pragma user_version = 99")
    with pytest.raises(StoreError, match=r"kept\.sqlite"):
        asyncio.run(build_store("sqlite", {"path": str(path)}).open())


async def _unopened(store: Store) -> None:
    await store.feedback(Feedback("0" * 32, 1.0))


def test_a_store_has_to_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not open"):
        asyncio.run(_unopened(build_store("sqlite", {"path": str(tmp_path / "x.sqlite")})))


def test_memory_keeps_the_last_ones() -> None:
    store = Memory(Memory.Config(records=3))
    given = [record() for _ in range(5)]

    async def go() -> list[bool]:
        for one in given:
            store.record(one)
            assert await store.feedback(Feedback(one.trace_id, 1.0))
        assert len(await store.judged()) == 3
        return [await store.find(one.trace_id) is not None for one in given]

    assert asyncio.run(go()) == [False, False, True, True, True]


def test_judged_requests_become_an_outcome_table(tmp_path: Path) -> None:
    one = record(query="2 + 2?", response="4")
    team = record(query="3 + 3?", response="6", calls=3, models=("small", "small", "large"), policy="cascade")
    silent = record()
    judged = [
        (one, Feedback(one.trace_id, 1.0, "a")),
        (one, Feedback(one.trace_id, 0.5, "b")),
        (team, Feedback(team.trace_id, 0.0)),
        (silent, Feedback(silent.trace_id, 1.0)),
    ]
    told = export(judged, tmp_path / "served.parquet")
    assert (told.rows, told.without_text) == (2, 1)
    frame = pl.read_parquet(tmp_path / "served.parquet").sort("query")
    assert frame["model"].to_list() == ["small", "cascade"]
    assert frame["score"].to_list() == [0.75, 0.0]
    assert frame["cost_usd"].to_list() == [2e-5, 2e-5]
    assert set(load(tmp_path / "served.parquet", ["cascade"]).models) == {"cascade"}
    assert rows_of([]) == ([], 0)
    with pytest.raises(StoreError, match="no judged request"):
        export(judged[3:], tmp_path / "none.parquet")


def test_a_file_of_an_earlier_version_grows(tmp_path: Path) -> None:
    path, one = tmp_path / "kept.sqlite", record()
    row = {f.name: getattr(one, f.name) for f in fields(one) if f.name != "baseline_usd"}
    row["models"] = json.dumps(row["models"])
    with connect(path) as db:
        db.execute(f"create table decisions ({', '.join(row)}, primary key (trace_id))")
        db.execute("create index decisions_at on decisions (at)")
        db.execute(f"insert into decisions values ({', '.join('?' * len(row))})", list(row.values()))
        db.execute("pragma user_version = 1")
    new = record(baseline_usd=1.0)

    async def go() -> None:
        store = build_store("sqlite", {"path": str(path)})
        await store.open()
        store.record(new)
        assert await store.find(new.trace_id) == new
        assert await store.find(one.trace_id) == one
        await store.aclose()

    asyncio.run(go())


def test_a_summary_reads_an_index_alone(tmp_path: Path) -> None:
    async def go() -> str:
        store = build_store("sqlite", {"path": str(tmp_path / "kept.sqlite")})
        await store.open()
        span = {"since": 0.0, "until": 1.0, "bucket_s": 1.0}
        with connect(tmp_path / "kept.sqlite") as db:
            plans = [
                db.execute("explain query plan " + q, span).fetchall() for q in (sqlite._SUMMARY, sqlite._LATENCIES)
            ]
        await store.aclose()
        return str(plans)

    assert asyncio.run(go()).count("COVERING INDEX decisions_over_time (at>? AND at<?)") == 2


def test_a_list_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    async def go() -> None:
        store = build_store("sqlite", {"path": str(tmp_path / "kept.sqlite")})
        with pytest.raises(StoreError, match="is not open"):
            await store.recent(1)
        await store.open()
        with connect(tmp_path / "kept.sqlite") as db:
            db.execute("drop table decisions")
        with pytest.raises(StoreError, match="can not be read"):
            await store.over_time(0.0, 1.0, 1.0)
        await store.aclose()

    asyncio.run(go())
