"""What a request that names a model costs in the process, part by part, and how long a forecast holds the event loop.

Hot loops, nothing else running, an upstream that answers in the process: the least each part can cost. Served, with cold
caches, it is more.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gateway.servers import KEY, configured

CALLS, ROUNDS = 200, 40
TEXTS = {"1kB": 1_000, "64kB": 64_000}


def parts() -> dict[str, float]:
    """Microseconds of each, the best of the rounds."""
    os.environ["BENCH_KEY"] = KEY
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_parts(Path(folder)))


async def _parts(folder: Path) -> dict[str, float]:
    from benchmarks.gateway.measure import body_of
    from routewright.gateway.app import build_service
    from routewright.gateway.dialects.chat import Chat
    from routewright.gateway.settings import read_settings
    from routewright.outcomes.simulated import POOL
    from routewright.pools.providers.base import Ask, Completion
    from routewright.types import Usage

    service = build_service(read_settings(configured(folder, "http://127.0.0.1:9", 0)), folder)

    async def complete(ask: Ask) -> Completion:
        return Completion("word " * 120, Usage(200, 120))

    for member in service.pool.members.values():
        member.endpoint.provider.complete = complete  # type: ignore[method-assign]
    await service.open()
    chat, body, headers = Chat(), body_of(next(iter(POOL)), 1_000, False), {"authorization": f"Bearer {KEY}"}
    asked, key = chat.read(body, headers), service.keyring.find(headers["authorization"])
    job = service._job(asked, key, "a" * 32, None)
    gc.collect()
    gc.freeze()
    gc.disable()
    found = {
        "read": _best(lambda: chat.read(body, headers)),
        "key": _best(lambda: service.keyring.find(headers["authorization"])),
        "job": _best(lambda: service._job(asked, key, "a" * 32, None)),
        "call": await _best_of(lambda: service._direct(job)),
        "record": _best(lambda: service.recorder.record(job.served(), "bench", 200, False, None)),
        "metrics": _best(lambda: service.metrics.count(job.served(), 200, None)),
        "body": _best(lambda: chat.whole(job.served())),
        "headers": _best(lambda: job.served().headers()),
    }
    gc.enable()
    gc.unfreeze()
    await service.aclose()
    return {name: round(us, 1) for name, us in found.items()}


def _best(do: Callable[[], Any]) -> float:
    best = np.inf
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            do()
        best = min(best, time.perf_counter() - began)
    return float(1e6 * best / CALLS)


async def _best_of(do: Callable[[], Any]) -> float:
    best = np.inf
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            await do()
        best = min(best, time.perf_counter() - began)
    return float(1e6 * best / CALLS)


def hold() -> dict[str, dict[str, float]]:
    """Milliseconds that the default scorer with the hashing encoder holds the loop: one text, and a full batch of them."""
    import json

    from benchmarks.gateway.measure import body_of
    from routewright.gateway.together import LONGEST, MOST
    from routewright.outcomes import load
    from routewright.outcomes.simulated import TABLE
    from routewright.policies.base import Forecaster
    from routewright.router import fit
    from routewright.types import Query

    router, found = fit(load(TABLE), "routewright"), {}
    for name, characters in TEXTS.items():
        body = body_of("x", characters, False)
        texts = [json.loads(body.replace(b"NUMBER", b"%06d" % i, 1))["messages"][0]["content"] for i in range(2400)]
        for n in (1, min(MOST, LONGEST // min(characters, 2_000))):
            forecaster, took = Forecaster(router), []
            for at in range(0, len(texts) if n > 1 else 600, n):
                began = time.perf_counter()
                forecaster.forecast([Query(text) for text in texts[at : at + n]])
                took.append(1e3 * (time.perf_counter() - began))
            p50, p99 = np.quantile(took, [0.5, 0.99])
            found[f"{name}, {n} at once"] = {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}
    return found
