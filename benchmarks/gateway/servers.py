"""The processes of the benchmark: started, pinned, watched and stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gateway import peers

KEY = "sk-benchmark-key-0123456789"
PATH = "/v1/chat/completions"
MODULE = [sys.executable, "-m", "benchmarks.gateway.upstream"]
SERVE = [sys.executable, "-c", "from routewright.cli import main; main()", "serve"]


class Servers:
    """By name: upstream, relay, lean (the relay with our client), gateway, and the peers that can be had; `why_not` says of the others what is missing."""

    def __init__(self, folder: Path, with_peers: bool = True) -> None:
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.urls: dict[str, str] = {}
        self.commands: dict[str, str] = {}
        self.why_not: dict[str, str] = {}
        self._cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {self._cores[-1]})  # this process makes the load
        up = self._start("upstream", lambda port: [*MODULE, "upstream", str(port)])
        self.upstream = f"http://127.0.0.1:{up}"
        self._start("relay", lambda port: [*MODULE, "relay", str(port), self.upstream])
        self._start("lean", lambda port: [*MODULE, "lean", str(port), self.upstream])
        self._start("gateway", lambda port: [*SERVE, str(configured(folder, self.upstream, port))])
        for name, peer in peers.PEERS.items() if with_peers else ():
            try:
                python = peers.installed(name)
                self._start(name, lambda port, peer=peer, python=python: peer(python, folder, self.upstream, port))
            except peers.Missing as missing:
                self.why_not[name] = str(missing)

    def _start(self, name: str, command_at: peers.CommandAt) -> int:
        port = _free_port()
        command = command_at(port)
        mine = {self._cores[-1]} if name == "upstream" else {self._cores[0]}
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "BENCH_KEY": KEY,
            **peers.QUIET,
        }
        child = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, mine),
        )
        self.children[name], self.urls[name] = child, f"http://127.0.0.1:{port}{PATH}"
        self.commands[name] = " ".join(Path(part).name if part.startswith("/") else part for part in command)
        _wait(port, child)
        return port

    def cpu_s(self, name: str) -> float:
        """User and system time of a server and its children so far."""
        ticks = 0
        for pid in _family(self.children[name].pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, name: str) -> float:
        """Resident memory of a server and its children."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(self.children[name].pid))
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        """End them all."""
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()


def configured(folder: Path, upstream: str, port: int) -> Path:
    """A pool of the simulated table's models at the upstream, a router trained on that table, and the serve file."""
    from routewright.outcomes import load
    from routewright.outcomes.simulated import TABLE
    from routewright.router import fit

    router = fit(load(TABLE), "routewright")
    router.save(folder / "router")
    lines = []
    for name, path in (("up", ""), ("slow", "/slow"), ("paced", "/paced"), ("faulty", "/faulty")):
        lines += [
            f"[providers.{name}]",
            'kind = "openai"',
            f'base_url = "{upstream}{path}/v1"',
            "concurrency = 2000",
            "backoff_s = 0.0",
        ]
        if path:
            lines += ["[[models]]", f'name = "{name}"', f'provider = "{name}"']
            lines += ["usd_per_mtok_in = 1", "usd_per_mtok_out = 2"]
    for name in router.models:
        lines += ["[[models]]", f'name = "{name}"', 'provider = "up"', "usd_per_mtok_in = 1", "usd_per_mtok_out = 2"]
    (folder / "pool.toml").write_text("\n".join(lines))
    (folder / "serve.toml").write_text(
        f'port = {port}\npool = "pool.toml"\n[coordinators.auto]\npath = "router"\n'
        '[limits]\nin_flight = 4096\n[store]\nkind = "sqlite"\npath = "served.sqlite"\n'
        '[[keys]]\nname = "bench"\nenv = "BENCH_KEY"\nusd_per_day = 1000000\nrequests_per_minute = 100000000\n'
        "tokens_per_minute = 1000000000\n"
    )
    return folder / "serve.toml"


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            found += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except OSError:
            continue
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _wait(port: int, child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 180
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if child.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.05)
