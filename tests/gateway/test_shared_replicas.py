"""Two gateways, each a process, behind one PostgreSQL and one Redis: they hold a shared budget exactly."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.extras import needs
from tests.gateway.replicas import COST_PICO, WORST_PICO, Process, Traffic, rows, turned
from tests.gateway.world import Upstream, listening
from tests.servers import Server, redis

needs("redis", "redis")
needs("psycopg", "postgres")

CAP_USD, CAP_PICO = 0.01, 10_000_000_000


@pytest.fixture
def world(postgres: Server, tmp_path: Path) -> Iterator[tuple[Upstream, list[Process], str]]:
    prefix = f"t{tmp_path.name[-20:].replace('-', '_')}_"
    upstream = Upstream()
    with ExitStack() as stack:
        up, server = stack.enter_context(listening(upstream.app)), stack.enter_context(redis())
        sections = (
            f'log = "errors"\n[store]\nkind = "postgresql"\nurl = "{postgres.url}"\nprefix = "{prefix}"\n'
            f'[shared]\nurl = "{server.url}"\nsettle_s = 0.5\n'
        )
        made = [
            Process(tmp_path / name, up, sections, usd_per_day=CAP_USD, usd_per_month=CAP_USD)
            for name in ("one", "two")
        ]
        for process in made:
            stack.callback(process.stop)
            process.start()
        yield upstream, made, f"{postgres.url} {prefix}"


def test_two_gateways_hold_a_shared_budget_exactly(world: tuple[Upstream, list[Process], str]) -> None:
    upstream, (one, two), place = world
    url, prefix = place.split()

    async def go() -> Traffic:
        seen = Traffic()
        urls = [one.url, two.url]
        await asyncio.gather(*(seen.client(turned(urls, i), most=25) for i in range(32)))
        return seen

    seen = asyncio.run(go())
    assert len(seen.answers) == 800, "far more than the budget holds"
    assert {(status, code) for status, code, *_ in seen.answers} == {(200, ""), (429, "insufficient_quota")}
    charged = seen.count(200) * COST_PICO
    assert len(upstream.bodies) == seen.count(200), "what was refused was never asked"
    assert CAP_PICO - 2 * WORST_PICO < charged <= CAP_PICO
    for process in (one, two):
        ready = json.load(urllib.request.urlopen(process.url + "/readyz"))
        assert ready == {"status": "ready", "store": "ok", "shared": "ok"}
        process.stop()
    table = f"select count(*), round(sum(cost_usd) * 1e12) from {prefix}decisions where cost_usd > 0"
    assert rows(url, table) == [(seen.count(200), charged)], "the store agrees with the upstream"
    (record_count,) = rows(url, f"select count(*) from {prefix}decisions")
    assert record_count == (800,)
