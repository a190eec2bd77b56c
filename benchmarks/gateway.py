"""What the gateway adds to a request: latency and CPU, against the upstream asked directly, and against a bare relay.

Everything runs on loopback, each server in a process of its own: an upstream that answers at once, a bare relay (uvicorn and
aiohttp, nothing else), and `routewright serve` with a key, a hard budget, rate limits and an SQLite store. The targets take
turns, round by round, so that what else the machine does hits them alike.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

KEY = "benchmark-key-0123456789"
ROUNDS, CALLS, MANY = 5, 200, 400  # rounds; calls of a round one at a time, and sixteen at a time
AT_ONCE = 16
STREAMS = (64, 1000)  # at once, 250 pieces each, 50 a second
_numbers = itertools.count()
SIZES = {"1kB": 1_000, "64kB": 64_000}


def run() -> dict[str, Any]:
    """p50 and p99 in ms, added to the upstream's own; CPU ms per request; requests per second at sixteen at once."""
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        try:
            return asyncio.run(_measure(servers))
        finally:
            servers.stop()


class Servers:
    """The processes."""

    def __init__(self, folder: Path) -> None:
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        ports = {name: _free_port() for name in ("upstream", "relay", "gateway")}
        path = "/v1/chat/completions"
        self.urls = {name: f"http://127.0.0.1:{port}{path}" for name, port in ports.items()}
        module = [sys.executable, "-m", "benchmarks.gateway_upstream"]
        self._start("upstream", [*module, "upstream", str(ports["upstream"])])
        self._start("relay", [*module, "relay", str(ports["relay"]), self.urls["upstream"]])
        config = _configured(folder, f"http://127.0.0.1:{ports['upstream']}/v1", ports["gateway"])
        code = "from routewright.cli import main; main()"
        self._start("gateway", [sys.executable, "-c", code, "serve", str(config)], BENCH_KEY=KEY)
        for port in ports.values():
            _wait(port)

    def _start(self, name: str, command: list[str], **more: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **more}
        self.children[name] = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def cpu_s(self, name: str) -> float:
        fields = Path(f"/proc/{self.children[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, name: str) -> float:
        pages = int(Path(f"/proc/{self.children[name].pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            child.wait(30)


def _configured(folder: Path, upstream: str, port: int) -> Path:
    """A pool of the simulated table's models at the upstream, a router trained on that table, and the serve file."""
    from routewright.outcomes import load
    from routewright.outcomes.simulated import TABLE
    from routewright.router import fit

    router = fit(load(TABLE), "routewright")
    router.save(folder / "router")
    lines = ["[providers.up]", 'kind = "openai"', f'base_url = "{upstream}"', "concurrency = 1000"]
    lines += ["[providers.paced]", 'kind = "openai"', f'base_url = "{upstream.replace("/v1", "/paced/v1")}"']
    lines += ["concurrency = 2000", "[[models]]", 'name = "paced"', 'provider = "paced"']
    lines += ["usd_per_mtok_in = 1", "usd_per_mtok_out = 2"]
    for name in router.models:
        lines += ["[[models]]", f'name = "{name}"', 'provider = "up"', "usd_per_mtok_in = 1", "usd_per_mtok_out = 2"]
    (folder / "pool.toml").write_text("\n".join(lines))
    (folder / "serve.toml").write_text(
        f'port = {port}\npool = "pool.toml"\n[coordinators.auto]\npath = "router"\n'
        '[store]\nkind = "sqlite"\npath = "served.sqlite"\n'
        '[[keys]]\nname = "bench"\nenv = "BENCH_KEY"\nusd_per_day = 1000000\nrequests_per_minute = 100000000\n'
        "tokens_per_minute = 1000000000\n"
    )
    return folder / "serve.toml"


async def _measure(servers: Servers) -> dict[str, Any]:
    import aiohttp

    from routewright.outcomes.simulated import POOL

    first = next(iter(POOL))
    targets = {
        "upstream": ("upstream", first),
        "relay": ("relay", first),
        "gateway, a model named": ("gateway", first),
        "gateway, routed": ("gateway", "auto"),
    }
    out: dict[str, Any] = {"rounds": ROUNDS, "calls_a_round": CALLS}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {KEY}"}) as session:
        for size, characters in SIZES.items():
            for stream in (False, True):
                case = f"{size}, {'streamed' if stream else 'whole'}"
                out[case] = await _case(session, servers, targets, characters, stream)
        out["paced"] = {f"{n} streams": await _paced(session, servers, n) for n in STREAMS}
    out["memory_mb"] = {name: servers.memory_mb(name) for name in ("relay", "gateway")}
    return out


async def _case(session: Any, servers: Servers, targets: Any, characters: int, stream: bool) -> dict[str, Any]:
    """All targets in turns, one call at a time and sixteen at a time."""
    single: dict[str, list[float]] = {name: [] for name in targets}
    rates: dict[str, list[float]] = {name: [] for name in targets}
    cpu: dict[str, list[float]] = {name: [] for name in targets}
    for turn in range(ROUNDS + 1):
        for name, (server, model) in targets.items():
            body, url = _body(model, characters, stream), servers.urls[server]
            took = [await _call(session, url, body) for _ in range(CALLS if turn else 20)]
            before, began = servers.cpu_s(server), time.perf_counter()
            await _many(session, url, body, MANY if turn else 20)
            spent, lasted = servers.cpu_s(server) - before, time.perf_counter() - began
            if turn:  # the first is to warm up
                single[name] += took
                rates[name].append(MANY / lasted)
                cpu[name].append(1e3 * spent / MANY)
    direct = single["upstream"]
    return {
        name: {
            "p50_ms": 1e3 * float(np.median(single[name])),
            "p99_ms": 1e3 * float(np.quantile(single[name], 0.99)),
            "added_p50_ms": 1e3 * float(np.median(single[name]) - np.median(direct)),
            "added_p99_ms": 1e3 * float(np.quantile(single[name], 0.99) - np.quantile(direct, 0.99)),
            "per_s_at_16": float(np.median(rates[name])),
            "cpu_ms": float(np.median(cpu[name])),
        }
        for name in targets
    }


async def _paced(session: Any, servers: Servers, streams: int) -> dict[str, float]:
    """Slow streams held at once: the gateway's share of a core, its memory, and how long a stream of 5 s takes."""
    body, before, began = _body("paced", 200, True), servers.cpu_s("gateway"), time.perf_counter()
    took = await asyncio.gather(*(_call(session, servers.urls["gateway"], body) for _ in range(streams)))
    lasted = time.perf_counter() - began
    return {
        "p50_s": float(np.median(took)),
        "cpu_share": (servers.cpu_s("gateway") - before) / lasted,
        "memory_mb": servers.memory_mb("gateway"),
    }


def _body(model: str, characters: int, stream: bool) -> bytes:
    text = "NUMBER. " + ("How many vowels are in the name of this town? " * (characters // 46 + 1))[:characters]
    made = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 200}
    return json.dumps({**made, "stream": True} if stream else made).encode()


async def _call(session: Any, url: str, body: bytes) -> float:
    """One request, read to its end; seconds. Each has a text of its own, so that no forecast is remembered."""
    body = body.replace(b"NUMBER", b"%06d" % next(_numbers), 1)
    began = time.perf_counter()
    async with session.post(url, data=body, headers={"content-type": "application/json"}) as answer:
        read = await answer.read()
        if answer.status != 200 or b"word word" not in read:
            raise RuntimeError(f"{url} answered {answer.status}: {read[:200]!r}")
    return time.perf_counter() - began


async def _many(session: Any, url: str, body: bytes, calls: int) -> None:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await _call(session, url, body)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _wait(port: int) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
