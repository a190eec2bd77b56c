"""PostgreSQL: stopped and started, killed writers, several at once, tables of another version; and what becomes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from routewright.errors import ConfigError, StoreError
from routewright.stores.base import Feedback, Store, build_store
from tests.extras import needs
from tests.servers import Server, free_port, postgresql
from tests.stores.records import record

needs("psycopg", "postgres")


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """One that may be killed and started again."""
    with postgresql(durable=True) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    return f"t{os.urandom(6).hex()}_"


def rows(server: Server, query: str) -> list[tuple[Any, ...]]:
    import psycopg

    with psycopg.connect(server.url) as db:
        done = db.execute(query)  # type: ignore[call-overload,unused-ignore]
        return done.fetchall() if done.description else []


async def until(true: Callable[[], Any], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.01)


def test_records_wait_while_the_server_is_away_and_arrive_once(own: Server, prefix: str) -> None:
    given = [record() for _ in range(2500)]

    async def go() -> None:
        store = build_store("postgresql", {"url": own.url, "prefix": prefix})
        await store.open()
        store.record(given[0])
        assert await store.feedback(Feedback(given[0].trace_id, 1.0))
        own.stop(signal.SIGKILL)
        for one in given[1:2000]:
            store.record(one)
        await until(lambda: store.error)
        began = time.monotonic()
        with pytest.raises(StoreError, match="can not be used"):
            await store.feedback(Feedback(given[0].trace_id, 0.0))
        assert time.monotonic() - began < 1.0, "who waits is told at once"
        assert store.lost == 0
        own.start()
        for one in given[2000:]:
            store.record(one)
        await until(lambda: not store.error)
        assert await store.find(given[-1].trace_id) == given[-1]
        assert await store.feedback(Feedback(given[0].trace_id, 0.5))
        assert store.lost == 0
        await store.aclose()

    asyncio.run(go())
    assert rows(own, f"select count(*), count(distinct trace_id) from {prefix}decisions") == [(2500, 2500)]
    assert rows(own, f"select score from {prefix}feedback") == [(0.5,)]


def test_a_restart_that_nobody_noticed_costs_nothing(own: Server, prefix: str) -> None:
    one = record()

    async def go() -> None:
        store = build_store("postgresql", {"url": own.url, "prefix": prefix})
        await store.open()
        store.record(one)
        assert await store.find(one.trace_id) == one
        own.stop(signal.SIGINT)
        own.start()
        assert await store.feedback(Feedback(one.trace_id, 1.0)), "the stale connection is replaced"
        await store.aclose()

    asyncio.run(go())


def test_what_is_above_the_queue_is_lost_and_counted(own: Server, prefix: str) -> None:
    async def go() -> tuple[int, float]:
        store = build_store("postgresql", {"url": own.url, "prefix": prefix, "queue": 10})
        await store.open()
        own.stop()
        for _ in range(5):
            store.record(record(key="q", cost_usd=1.0))
        await until(lambda: store.error)
        for _ in range(10):
            store.record(record(key="q", cost_usd=1.0))
        lost = store.lost
        own.start()
        await until(lambda: not store.error)
        spent = await store.spent_usd("q", 0.0)
        await store.aclose()
        return lost, spent

    assert asyncio.run(go()) == (5, 10.0)


def test_a_server_that_is_away_at_the_start_is_waited_for(own: Server, prefix: str) -> None:
    one = record()
    own.stop()

    async def go() -> None:
        store = build_store("postgresql", {"url": own.url, "prefix": prefix})
        await store.open()
        assert "OperationalError" in store.error
        store.record(one)
        with pytest.raises(StoreError):
            await store.spent_usd("team", 0.0)
        own.start()
        await until(lambda: not store.error)
        assert await store.find(one.trace_id) == one
        await store.aclose()

    asyncio.run(go())


def test_closing_while_it_is_away_counts_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routewright.stores.postgresql._GOODBYE_S", 0.3)

    async def go() -> int:
        store = build_store("postgresql", {"url": f"postgresql://tester@127.0.0.1:{free_port()}/postgres"})
        await store.open()
        for _ in range(3):
            store.record(record())
        await store.aclose()
        return store.lost

    assert asyncio.run(go()) == 3


def test_one_bad_record_costs_no_other(postgres: Server, prefix: str) -> None:
    good, bad = record(key="x", cost_usd=1.0), record(tokens_in=2**70)

    async def go() -> tuple[int, float]:
        store = build_store("postgresql", {"url": postgres.url, "prefix": prefix})
        await store.open()
        for one in (bad, good):
            store.record(one)
        spent = await store.spent_usd("x", 0.0)
        await store.aclose()
        return store.lost, spent

    assert asyncio.run(go()) == (1, 1.0)


def test_several_may_begin_at_once(postgres: Server, prefix: str) -> None:
    given = [record() for _ in range(6)]

    async def go() -> list[bool]:
        stores = [build_store("postgresql", {"url": postgres.url, "prefix": prefix}) for _ in given]
        await asyncio.gather(*(store.open() for store in stores))
        for store, one in zip(stores, given, strict=True):
            store.record(one)
        found = [await store.find(one.trace_id) == one for store, one in zip(stores, given, strict=True)]
        await asyncio.gather(*(store.aclose() for store in stores))
        return found

    assert all(asyncio.run(go()))
    assert rows(postgres, f"select count(*) from {prefix}decisions") == [(6,)]


def test_a_record_that_waits_at_another_gateway_is_found(postgres: Server, prefix: str) -> None:
    async def go() -> tuple[bool, bool]:
        one, two = [build_store("postgresql", {"url": postgres.url, "prefix": prefix}) for _ in range(2)]
        await asyncio.gather(one.open(), two.open())
        given = record()
        one.record(given)
        found = await two.find(given.trace_id)
        judged = await two.feedback(Feedback(given.trace_id, 1.0))
        await asyncio.gather(one.aclose(), two.aclose())
        return found == given, judged

    assert asyncio.run(go()) == (True, True)


def test_a_table_that_is_gone_is_told_and_made_again(postgres: Server, prefix: str) -> None:
    async def go() -> None:
        store = build_store("postgresql", {"url": postgres.url, "prefix": prefix})
        await store.open()
        rows(postgres, f"drop table {prefix}feedback")
        with pytest.raises(StoreError, match=r"can not be read.*does not exist"):
            await store.judged()
        rows(postgres, f"drop table {prefix}decisions")
        one = record()
        store.record(one)
        assert await store.find(one.trace_id) == one
        assert store.lost == 0
        await store.aclose()

    asyncio.run(go())


def test_a_server_that_hangs_holds_nobody_up(own: Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routewright.stores.postgresql._ANSWER_S", 0.3)
    monkeypatch.setattr("routewright.stores.postgresql.PostgreSQL.goodbye_s", 0.3)

    async def go() -> int:
        store = build_store("postgresql", {"url": own.url, "prefix": prefix})
        await store.open()
        with own.hanging():
            store.record(record())
            with pytest.raises(StoreError, match="did not answer within"):
                await store.feedback(Feedback("0" * 32, 1.0))
            await store.aclose()
        return store.lost

    assert asyncio.run(go()) >= 1


def test_much_that_is_too_old_goes_bit_by_bit(postgres: Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routewright.stores.schema._SWEPT", 2)

    async def go() -> None:
        store = build_store("postgresql", {"url": postgres.url, "prefix": prefix}, 500.0)
        await store.open()
        for _ in range(5):
            store.record(record(at=1.0))
        for _ in range(4):
            await store.spent_usd("team", 0.0)
        await store.aclose()

    asyncio.run(go())
    assert rows(postgres, f"select count(*) from {prefix}decisions") == [(0,)]


async def opened(**options: Any) -> Store:
    store = build_store("postgresql", options)
    await store.open()
    return store


def test_what_can_not_be_used_refuses_the_start(postgres: Server, prefix: str) -> None:
    async def newer() -> None:
        await (await opened(url=postgres.url, prefix=prefix)).aclose()
        rows(postgres, f"update {prefix}format set version = 99 returning version")
        await opened(url=postgres.url, prefix=prefix)

    with pytest.raises(StoreError, match="has format 99, this version reads 1"):
        asyncio.run(newer())
    with pytest.raises(StoreError, match=r"refuses us.*does not exist"):
        asyncio.run(opened(url=postgres.url.replace("/postgres", "/nowhere")))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either url or url_env"),
        ({"url": "postgresql://a:secret-word@b/c"}, "has a password in it"),
        ({"url": "mysql://b/c"}, "begins with 'mysql'"),
        ({"url": "nothing"}, "is no URL"),
        ({"url_env": "RW_TEST_URL"}, "RW_TEST_URL is not set"),
        ({"url": "postgresql://b/c", "prefix": "a b"}, "prefix"),
    ],
)
def test_addresses_that_can_not_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        build_store("postgresql", options)
    assert "secret-word" not in str(caught.value)


def test_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RW_TEST_URL", f"postgresql://a:secret-word@127.0.0.1:{free_port()}/c")

    async def go() -> str:
        store = await opened(url_env="RW_TEST_URL")
        with pytest.raises(StoreError) as caught:
            await store.feedback(Feedback("0" * 32, 1.0))
        await store.aclose()
        return store.error + str(caught.value)

    said = asyncio.run(go())
    assert "secret-word" not in said
    assert "a:***@127.0.0.1" in said


CHILD = """
import asyncio, sys
from routewright.stores.base import Feedback, build_store
from tests.stores.records import record

async def main():
    store = build_store("postgresql", {"url": sys.argv[1], "prefix": sys.argv[2]})
    await store.open()
    for i in range(100_000):
        one = record()
        store.record(one)
        if i % 5 == 0:
            await store.feedback(Feedback(one.trace_id, 1.0))
            print(one.trace_id, flush=True)

asyncio.run(main())
"""


def test_a_kill_loses_no_acknowledged_feedback(postgres: Server, prefix: str) -> None:
    arguments = [sys.executable, "-c", CHILD, postgres.url, prefix]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(40)]
    child.send_signal(signal.SIGKILL)
    acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
    child.wait()
    child.stdout.close()
    kept = rows(postgres, f"select trace_id from {prefix}feedback join {prefix}decisions using (trace_id)")
    assert len(acknowledged) >= 40
    assert set(acknowledged) <= {row[0] for row in kept}


def test_export_reads_it(
    postgres: Server, prefix: str, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        store = await opened(url=postgres.url, prefix=prefix)
        one = record(query="2 + 2?", response="4")
        store.record(one)
        assert await store.feedback(Feedback(one.trace_id, 1.0))
        await store.aclose()

    asyncio.run(go())
    monkeypatch.setenv("RW_TEST_URL", postgres.url)
    out = tmp_path / "served.parquet"
    ran = cli("export", "--url-env", "RW_TEST_URL", "--prefix", prefix, "--out", out)
    assert ran.out.startswith("1 rows in"), ran.err
    assert pl.read_parquet(out)["query"].to_list() == ["2 + 2?"]
    assert cli("export", "--out", out).code == 2
    assert "either the file" in cli("export", tmp_path / "x", "--url-env", "RW_TEST_URL", "--out", out).err
