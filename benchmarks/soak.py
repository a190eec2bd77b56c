"""The gateway under load for ten minutes: is a request lost, does memory grow, how late are the slow ones?

    python -m benchmarks soak            # SOAK_S=60 for a shorter one

First its capacity (64 at once, as fast as they go), then requests at 80 % of it, evenly spaced, to a model whose upstream
answers one request in a hundred with 503; the pool asks again at once. Then a thousand slow streams held together. What was
answered is compared with what the store kept. Latency is told over all, and by windows of a sixtieth of the time: what else
the machine does shows in some of them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from yarl import URL

from benchmarks.gateway.measure import body_of, call, load
from benchmarks.gateway.servers import KEY, Servers
from routewright.pools.providers.connections import Connections

SHARE, CLIENTS = 0.8, 256
SECONDS = float(os.environ.get("SOAK_S", "600"))
HELD = 1000


def run() -> dict[str, Any]:
    """Requests, losses, latency and memory."""
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder), with_peers=False)
        try:
            return asyncio.run(_soak(servers, Path(folder) / "served.sqlite"))
        finally:
            servers.stop()


async def _soak(servers: Servers, store: Path) -> dict[str, Any]:
    url = servers.urls["gateway"]
    await load(url, "faulty", 1000, False, 64, 3.0)
    rates = []
    for _ in range(10):
        began = time.perf_counter()
        rates.append(len(await load(url, "faulty", 1000, False, 64, 3.0)) / (time.perf_counter() - began))
    capacity = float(np.median(rates))
    await asyncio.sleep(1.0)  # the last of them are kept a moment later
    before = _kept(store)
    memory: list[float] = []
    took, failed, ends = await _at(servers, url, SHARE * capacity, memory)
    ratios = sorted(_windows(took, ends))
    await asyncio.sleep(1.0)
    kept = _kept(store) - before
    held = await load(url, "paced", 200, True, HELD, 0.0)
    p50, p99 = (float(np.quantile(took, q)) for q in (0.5, 0.99))
    half = len(memory) // 2
    return {
        "seconds": SECONDS,
        "capacity_per_s": round(capacity, 1),
        "sent_per_s": round(SHARE * capacity, 1),
        "answered": len(took),
        "failed": failed,
        "recorded": kept,
        "p50_ms": round(1e3 * p50, 3),
        "p99_ms": round(1e3 * p99, 3),
        "worst_ms": round(1e3 * max(took), 1),
        "p99_over_p50": round(p99 / p50, 2),
        "windows": {
            "number": len(ratios),
            "p99_over_p50_median": round(float(np.median(ratios)), 2),
            "within_5": sum(ratio <= 5 for ratio in ratios),
        },
        "memory_mb": {
            "start": memory[0],
            "first_half": round(float(np.median(memory[:half])), 1),
            "second_half": round(float(np.median(memory[half:])), 1),
            "end": memory[-1],
        },
        "held_streams": {
            "streams": len(held),
            "p50_s": round(float(np.median(held)), 2),
            "worst_s": round(max(held), 2),
        },
    }


async def _at(servers: Servers, url: str, per_s: float, memory: list[float]) -> tuple[list[float], int, list[int]]:
    """Requests at an even rate: seconds of those answered, how many were not, and how many had come by the end of each window.

    Each is due at its moment, and its time counts from there, also where all `CLIENTS` are still busy: a gateway that is slow
    for a while is not spared the requests that were due meanwhile.
    """
    connections = Connections(URL(url), {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}, None)
    head, tail = body_of("faulty", 1000, False).split(b"NUMBER", 1)
    took, failed, began = list[float](), 0, time.perf_counter()
    numbers = iter(range(int(SECONDS * per_s)))
    ends: list[int] = []

    async def client() -> None:
        nonlocal failed
        for number in numbers:
            due = began + number / per_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            try:
                await call(connections, b"%b%07d%b" % (head, number, tail))
                took.append(time.perf_counter() - due)
            except Exception as error:
                failed += 1
                if failed < 5:
                    print(f"failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    async def look() -> None:
        while True:
            ends.append(len(took))
            memory.append(round(servers.memory_mb("gateway"), 1))
            late = 1e3 * float(np.median(took[-1000:])) if took else 0.0
            told = f"{len(took)} answered, {failed} failed, p50 {late:.2f} ms, {memory[-1]} MB"
            print(f"{time.perf_counter() - began:6.1f} s, {told}", file=sys.stderr, flush=True)
            await asyncio.sleep(max(1.0, SECONDS / 60))

    looking = asyncio.ensure_future(look())
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    looking.cancel()
    connections.close()
    return took, failed, ends


def _windows(took: list[float], ends: list[int]) -> list[float]:
    """p99 over p50 of each window."""
    found = []
    for first, last in itertools.pairwise(ends):
        if last > first:
            p50, p99 = np.quantile(took[first:last], [0.5, 0.99])
            found.append(float(p99 / p50))
    return found


def _kept(store: Path) -> int:
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        return int(db.execute("select count(*) from decisions where status = 200").fetchone()[0])
