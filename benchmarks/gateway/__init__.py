"""What the gateway adds to a request, beside the LiteLLM proxy, NVIDIA Switchyard and a bare relay.

    python -m benchmarks gateway

Everything runs on loopback, each server in a process of its own: an upstream that answers at once, and in front of it, in
turns, a bare relay (uvicorn and aiohttp, nothing else), the same relay with our client upstream, `routewright serve` with a key, a hard budget, rate limits and an
SQLite store, the LiteLLM proxy with one key, no database and no retries, and Switchyard with a pass-through route. The server
that is measured has one core, load and upstream share the other. Peers are installed into `out/peers` on first use.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gateway.measure import measure
from benchmarks.gateway.parts import hold, parts
from benchmarks.gateway.servers import Servers


def run() -> dict[str, Any]:
    """Latency, throughput, CPU and memory of each target in each case, and the ratios that matter."""
    alone = {"parts_us": parts(), "loop_held": hold()}  # before anything else runs
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        try:
            return {**alone, **asyncio.run(measure(servers))}
        finally:
            servers.stop()
