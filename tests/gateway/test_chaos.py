"""Gateways killed, PostgreSQL and Redis stopped and started again, all during traffic; real processes throughout."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.extras import needs
from tests.gateway.replicas import COST_PICO, HEADERS, Process, Traffic, rows, traffic, until
from tests.gateway.world import Upstream, listening
from tests.servers import Server, postgresql, redis

needs("redis", "redis")
needs("psycopg", "postgres")
LOST_S = 0.2  # a decision may be lost if it was answered so shortly before a kill


@pytest.fixture(scope="module")
def durable() -> Iterator[Server]:
    """A PostgreSQL that may be killed and started again."""
    with postgresql(durable=True) as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def upstream(stack: ExitStack) -> Upstream:
    made = Upstream()
    made.url = stack.enter_context(listening(made.app))  # type: ignore[attr-defined]
    return made


def gateway(stack: ExitStack, folder: Path, upstream: Upstream, sections: str, **key: object) -> Process:
    made = Process(folder, upstream.url, sections, **key)  # type: ignore[attr-defined]
    stack.callback(made.stop)
    made.start()
    return made


def store_of(server: Server, tmp_path: Path) -> tuple[str, str]:
    """The section of a store, and the prefix of its tables."""
    prefix = f"t{tmp_path.name[-20:].replace('-', '_')}_"
    return f'[store]\nkind = "postgresql"\nurl = "{server.url}"\nprefix = "{prefix}"\n', prefix


@pytest.mark.parametrize("what", ["feedback", "records"])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_kill_9_loses_no_acknowledged_feedback_and_a_moment_of_records(
    kind: str, what: str, stack: ExitStack, upstream: Upstream, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sections, prefix = '[store]\nkind = "sqlite"\npath = "kept.sqlite"\n', ""
    if kind == "postgresql":
        sections, prefix = store_of(request.getfixturevalue("durable"), tmp_path)
    process = gateway(stack, tmp_path / "one", upstream, sections)

    async def go() -> tuple[Traffic, float]:
        options = {"judge": True} if what == "feedback" else {}  # each feedback has all before it committed
        async with traffic(4, [process.url], **options) as seen:
            await until(lambda: len(seen.answers) > 400)
            killed = time.monotonic()
            process.stop(signal.SIGKILL)
        return seen, killed

    seen, killed = asyncio.run(go())
    assert bool(seen.acknowledged) == (what == "feedback")
    decisions, feedback = (
        "select trace_id from {}decisions",
        "select trace_id from {}feedback join {}decisions using (trace_id)",
    )
    if kind == "sqlite":
        with sqlite3.connect(tmp_path / "one" / "kept.sqlite") as db:
            kept, judged = (db.execute(q.format("", "")).fetchall() for q in (decisions, feedback))
        db.close()
    else:
        url = request.getfixturevalue("durable").url
        kept, judged = (rows(url, q.format(prefix, prefix)) for q in (decisions, feedback))
    assert {(a,) for a in seen.acknowledged} <= set(judged)
    ids = {row[0] for row in kept}
    assert len(ids) == len(kept)
    lost = [killed - at for _, _, trace_id, at in seen.answers if trace_id not in ids]
    assert all(ago <= LOST_S for ago in lost), f"{len(lost)} records lost, up to {max(lost):.3f} s before the kill"


def test_postgresql_may_stop_and_start_again(
    stack: ExitStack, upstream: Upstream, durable: Server, tmp_path: Path
) -> None:
    sections, prefix = store_of(durable, tmp_path)
    process = gateway(stack, tmp_path / "one", upstream, sections)

    def ready() -> str:
        return str(json.load(urllib.request.urlopen(process.url + "/readyz"))["store"])

    async def go() -> Traffic:
        async with traffic(6, [process.url], pause_s=0.005) as seen, aiohttp.ClientSession(headers=HEADERS) as session:
            await until(lambda: len(seen.answers) > 100)
            durable.stop(signal.SIGKILL)
            before = len(seen.answers)
            await until(lambda: len(seen.answers) > before + 300)
            assert await asyncio.to_thread(ready) == "in trouble"
            known = seen.answers[0][2]
            assert await seen.judge(session, process.url, known) == 503
            durable.start()
            before = len(seen.answers)
            await until(lambda: len(seen.answers) > before + 100)
            while await seen.judge(session, process.url, known) != 200:
                await asyncio.sleep(0.05)
        return seen

    seen = asyncio.run(go())
    assert {status for status, *_ in seen.answers} == {200}
    assert ready() == "ok"
    process.stop()
    found = rows(durable.url, f"select count(*), count(distinct trace_id) from {prefix}decisions")
    assert found == [(len(seen.answers), len(seen.answers))]
    assert len(upstream.bodies) == len(seen.answers)
    assert rows(durable.url, f"select count(*) from {prefix}feedback") == [(1,)]


@pytest.mark.slow
def test_redis_may_stop_and_start_again(stack: ExitStack, upstream: Upstream, postgres: Server, tmp_path: Path) -> None:
    section, prefix = store_of(postgres, tmp_path)
    shared = stack.enter_context(redis())
    sections = f'log = "errors"\n{section}[shared]\nurl = "{shared.url}"\nsettle_s = 0.5\nahead = 0.1\n'
    cap = 0.02
    made = [gateway(stack, tmp_path / n, upstream, sections, usd_per_day=cap, usd_per_month=1) for n in ("one", "two")]

    async def go() -> Traffic:
        async with traffic(6, [process.url for process in made], pause_s=0.005) as seen:
            await until(lambda: seen.count(200) > 100)
            shared.stop()
            during = seen.count(200)
            await until(lambda: seen.count(200) > during + 20)  # within the leases
            await until(lambda: seen.count(503))  # and then no more
            assert seen.count(200) * COST_PICO < cap * 1e12
            shared.start()
            again = seen.count(200)
            await until(lambda: seen.count(200) > again + 100)
            shared.stop()
            shared.start()
            await until(lambda: seen.count(429) > 20)
        return seen

    seen = asyncio.run(go())
    assert {(status, code) for status, code, *_ in seen.answers} == {
        (200, ""),
        (503, "budget_unknown"),
        (429, "insufficient_quota"),
    }
    assert seen.count(200) * COST_PICO <= cap * 1e12
    assert len(upstream.bodies) == seen.count(200)
    for process in made:
        process.stop()
    spent = rows(postgres.url, f"select round(sum(cost_usd) * 1e12) from {prefix}decisions")
    assert spent == [(seen.count(200) * COST_PICO,)]


@pytest.mark.slow
def test_a_gateway_of_two_is_killed_again_and_again(
    stack: ExitStack, upstream: Upstream, postgres: Server, tmp_path: Path
) -> None:
    """Each kill costs at most a lease; the budget is never passed, by what the upstream has seen."""
    section, _ = store_of(postgres, tmp_path)
    shared = stack.enter_context(redis())
    sections = f'log = "errors"\n{section}[shared]\nurl = "{shared.url}"\nsettle_s = 0.5\n'
    cap = 0.03
    one, two = (gateway(stack, tmp_path / n, upstream, sections, usd_per_day=cap) for n in ("one", "two"))

    async def go() -> None:
        async with traffic(4, [one.url], pause_s=0.002):
            for _ in range(3):
                async with traffic(4, [two.url]) as seen:
                    await until(lambda: seen.count(200) > 60)
                    two.stop(signal.SIGKILL)
                two.start()
        async with traffic(4, [one.url, two.url]) as seen:
            await until(lambda: seen.count(429) > 20)

    asyncio.run(go())
    assert len(upstream.bodies) * COST_PICO <= cap * 1e12
    assert len(upstream.bodies) * COST_PICO > cap * 1e12 * 0.6


def test_a_key_with_a_budget_waits_for_the_store(
    stack: ExitStack, upstream: Upstream, durable: Server, tmp_path: Path
) -> None:
    """Alone, without Redis: what was spent is in the store, so until that answers such a key is refused."""
    section, _ = store_of(durable, tmp_path)
    durable.stop()
    stack.callback(lambda: durable.stop() or durable.start())
    process = gateway(stack, tmp_path / "one", upstream, section, usd_per_day=1)

    async def go() -> Traffic:
        async with traffic(1, [process.url], pause_s=0.05) as seen:
            await until(lambda: seen.count(503))
            durable.start()
            await until(lambda: seen.count(200))
        return seen

    seen = asyncio.run(go())
    assert {(status, code) for status, code, *_ in seen.answers} == {(503, "budget_unknown"), (200, "")}
