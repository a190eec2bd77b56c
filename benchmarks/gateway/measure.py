"""The cases, and what is measured in each: targets in turns, round by round, so that what else the machine does hits all alike."""

from __future__ import annotations

import asyncio
import importlib.metadata
import itertools
import json
import time
from typing import Any

import numpy as np
from yarl import URL

from benchmarks.gateway import peers
from benchmarks.gateway.servers import KEY, Servers
from routewright.pools.providers.connections import Connections

ROUNDS, SECONDS = 5, 0.8  # a case is measured so often, so long each
AT_ONCE = (1, 16, 64)
SIZES = {"1kB": 1_000, "64kB": 64_000}
STREAMS, HELD = 64, 1000  # paced streams at once: 250 pieces each, 50 a second
_numbers = itertools.count()


async def measure(servers: Servers) -> dict[str, Any]:
    """Everything; see the module."""
    from routewright.outcomes.simulated import POOL

    targets = {"upstream": ("upstream", "m"), "relay": ("relay", "m"), "relay, our client": ("lean", "m")}
    targets |= {"a model named": ("gateway", next(iter(POOL))), "routed": ("gateway", "auto")}
    targets |= {name: (name, "m") for name in peers.PEERS if name in servers.children}
    out: dict[str, Any] = {
        "versions": {name: importlib.metadata.version(name) for name in ("uvicorn", "aiohttp", "httptools")}
        | peers.VERSIONS,
        "commands": servers.commands,
        "missing": servers.why_not,
        "memory_idle_mb": {name: round(servers.memory_mb(name), 1) for name in servers.children},
    }
    for size, characters in SIZES.items():
        for stream in (False, True):
            for at_once in AT_ONCE:
                case = f"{size}, {'streamed' if stream else 'whole'}, {at_once} at once"
                out[case] = await _case(servers, targets, characters, stream, at_once)
    named = {n: server for n, (server, model) in targets.items() if model != "auto"}
    slow = {n: (server, "slow") for n, server in named.items()}
    out["answers after 100 ms, 64 at once"] = await _case(servers, slow, 1_000, False, 64, prefix="/slow")
    paced = f"{STREAMS} paced streams"
    out[paced] = {n: await _paced(servers, server, STREAMS) for n, server in named.items() if n != "upstream"}
    out[f"{HELD} paced streams"] = {"a model named": await _paced(servers, "gateway", HELD)}
    out["memory_loaded_mb"] = {name: round(servers.memory_mb(name), 1) for name in servers.children}
    out["ratios"] = _ratios(out)
    return out


async def _case(
    servers: Servers,
    targets: dict[str, tuple[str, str]],
    characters: int,
    stream: bool,
    at_once: int,
    prefix: str = "",
) -> dict[str, Any]:
    taken: dict[str, list[float]] = {name: [] for name in targets}
    rates: dict[str, list[float]] = {name: [] for name in targets}
    cpu: dict[str, list[float]] = {name: [] for name in targets}
    for turn in range(ROUNDS + 1):
        for name, (server, model) in targets.items():
            url = _below(servers, server, prefix)
            before, began = servers.cpu_s(server), time.perf_counter()
            took = await load(url, model, characters, stream, at_once, SECONDS if turn else 0.2)
            spent, lasted = servers.cpu_s(server) - before, time.perf_counter() - began
            if turn:  # the first is to warm up
                taken[name] += took
                rates[name].append(len(took) / lasted)
                cpu[name].append(1e3 * spent / len(took))
    direct = taken.get("upstream", [0.0])
    return {
        name: {
            "p50_ms": _ms(taken[name], 0.5),
            "p99_ms": _ms(taken[name], 0.99),
            "added_p50_ms": round(_ms(taken[name], 0.5) - _ms(direct, 0.5), 4),
            "per_s": round(float(np.median(rates[name])), 1),
            "best_per_s": round(max(rates[name]), 1),
            "cpu_ms": round(float(np.median(cpu[name])), 4),
        }
        for name in targets
    }


async def load(url: str, model: str, characters: int, stream: bool, at_once: int, seconds: float) -> list[float]:
    """Workers that ask again and again for so long; seconds of every request that was answered. Anything else raises."""
    connections = Connections(URL(url), {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}, None)
    head, tail = body_of(model, characters, stream).split(b"NUMBER", 1)
    until, took = time.perf_counter() + seconds, list[float]()

    async def worker() -> None:
        while time.perf_counter() < until or not took:
            took.append(await call(connections, b"%b%07d%b" % (head, next(_numbers), tail)))

    try:
        await asyncio.gather(*(worker() for _ in range(at_once)))
    finally:
        connections.close()
    return took


async def call(connections: Connections, body: bytes) -> float:
    """One request, read to its end; seconds. Each has a text of its own, so that no forecast is remembered."""
    began = time.perf_counter()
    answer = await connections.post({}, body, 10.0, 120.0)
    read = bytearray()
    while data := await answer.read_some():
        read += data
    connections.release(answer)
    cut = b'"stream": true' in body and (b"[DONE]" not in read[-40:] or b'"error"' in read)
    if answer.status != 200 or b"word word" not in read or cut:
        raise RuntimeError(f"answered {answer.status}: {bytes(read[:300])!r}")
    return time.perf_counter() - began


def body_of(model: str, characters: int, stream: bool) -> bytes:
    """A request whose text begins with NUMBER."""
    text = "NUMBER. " + ("How many vowels are in the name of this town? " * (characters // 46 + 1))[:characters]
    made = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 200}
    return json.dumps({**made, "stream": True} if stream else made).encode()


async def _paced(servers: Servers, server: str, streams: int) -> dict[str, float]:
    """Slow streams held at once: share of a core, memory, and how long a stream takes that lasts 5 s at its source."""
    before, began = servers.cpu_s(server), time.perf_counter()
    took = await load(_below(servers, server, "/paced"), "paced", 200, True, streams, 0.0)
    lasted = time.perf_counter() - began
    return {
        "p50_s": round(float(np.median(took)), 3),
        "worst_s": round(max(took), 3),
        "cpu_share": round((servers.cpu_s(server) - before) / lasted, 4),
        "memory_mb": round(servers.memory_mb(server), 1),
    }


def _below(servers: Servers, server: str, prefix: str) -> str:
    """Where to ask: a gateway knows by the model what the upstream and the relay know by the path."""
    url = servers.urls[server]
    return url.replace("/v1", prefix + "/v1") if server in ("upstream", "relay", "lean") else url


def _ratios(out: dict[str, Any]) -> dict[str, Any]:
    """Throughput of each pair that an aim is about, by case."""
    found: dict[str, Any] = {}
    for case, rows in out.items():
        if "at once" not in case:
            continue
        rate = {name: row["per_s"] for name, row in rows.items()}
        found[case] = {"a model named / relay": round(rate["a model named"] / rate["relay"], 3)}
        for name in ("a model named", "routed"):
            for peer in peers.PEERS:
                if name in rate and peer in rate:
                    found[case][f"{name} / {peer}"] = round(rate[name] / rate[peer], 2)
    return found


def _ms(seconds: list[float], q: float) -> float:
    return round(1e3 * float(np.quantile(seconds, q)), 4)
