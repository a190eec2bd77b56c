"""Gateways as processes, traffic for them, and what a store or an upstream says of it afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

KEY = "team-0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {KEY}"}
BODY = {"model": "plain", "messages": [{"role": "user", "content": "How many vowels are in Zurich?"}]}
COST_PICO = 20_000_000  # of a request: 10 tokens at 1 USD per million, 5 at 2
WORST_PICO = 500_000_000  # more than it can cost: its bytes, a template, 100 tokens of reply
POOL = """
[[models]]
name = "plain"
provider = "up"
usd_per_mtok_in = 1
usd_per_mtok_out = 2
output_tokens = 100

[providers.up]
kind = "openai"
base_url = "{url}/v1"
concurrency = 64
"""


class Process:
    """`routewright serve`; its log goes to a file."""

    def __init__(self, folder: Path, upstream: str, sections: str, **key: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.url = folder, ""
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        limits = "".join(f"{name} = {value}\n" for name, value in key.items())
        (folder / "pool.toml").write_text(POOL.format(url=upstream))
        (folder / "serve.toml").write_text(
            f'port = 0\npool = "pool.toml"\n{sections}\n[[keys]]\nname = "team"\nsha256 = "{digest}"\n{limits}'
        )
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", "from routewright.cli import main; main()", "serve", "serve.toml"]
        with (self.folder / "log").open("a") as log:
            self._child = subprocess.Popen(
                command, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ}
            )
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        found = re.search(r"http://\S+(?=/v1)", line)
        assert found, f"{line!r} {self.log}"
        self.url = found[0]

    def stop(self, how: int = signal.SIGTERM) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.send_signal(how)
            child.wait(60)
            assert child.stdout is not None
            child.stdout.close()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@dataclass
class Traffic:
    """What clients saw: (status, code, trace id, when) of every request, and which feedback was acknowledged."""

    answers: list[tuple[int, str, str, float]] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    failed: int = 0  # requests without an answer, since the gateway was killed
    stop: bool = False

    def count(self, *statuses: int) -> int:
        return sum(status in statuses for status, *_ in self.answers)

    async def client(self, urls: Sequence[str], judge: bool = False, most: int = 10**9, pause_s: float = 0.0) -> None:
        """Ask one after another until stopped, or the gateway is gone."""
        async with aiohttp.ClientSession(headers=HEADERS, timeout=aiohttp.ClientTimeout(60)) as session:
            for i in range(most):
                if self.stop:
                    return
                url = urls[i % len(urls)]
                try:
                    trace_id = await self.ask(session, url)
                    if judge and trace_id:
                        await self.judge(session, url, trace_id)
                except aiohttp.ClientError:
                    self.failed += 1
                    return
                if pause_s:
                    await asyncio.sleep(pause_s)

    async def ask(self, session: aiohttp.ClientSession, url: str) -> str:
        async with session.post(url + "/v1/chat/completions", json=BODY) as response:
            said = await response.json()
            at = time.monotonic()
        trace_id = said["routing"]["trace_id"] if response.status == 200 else ""
        code = said["error"]["code"] if response.status != 200 else ""
        self.answers.append((response.status, code, trace_id, at))
        return str(trace_id)

    async def judge(self, session: aiohttp.ClientSession, url: str, trace_id: str) -> int:
        async with session.post(url + "/v1/feedback", json={"trace_id": trace_id, "score": 1}) as response:
            await response.read()
            if response.status == 200:
                self.acknowledged.append(trace_id)
            return response.status


@asynccontextmanager
async def traffic(clients: int, urls: Sequence[str], **options: Any) -> AsyncIterator[Traffic]:
    """Clients that ask until the block ends; they start at different gateways."""
    made = Traffic()
    tasks = [asyncio.ensure_future(made.client(turned(urls, i), **options)) for i in range(clients)]
    try:
        yield made
    finally:
        made.stop = True
        await asyncio.gather(*tasks)


def turned(urls: Sequence[str], i: int) -> list[str]:
    return [*urls[i % len(urls) :], *urls[: i % len(urls)]]


async def until(true: Callable[[], Any], within_s: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.01)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """What a PostgreSQL server says."""
    import psycopg

    with psycopg.connect(url) as db:
        return db.execute(query).fetchall()  # type: ignore[call-overload,no-any-return,unused-ignore]
