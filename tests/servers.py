"""PostgreSQL and Redis for tests: started on free loopback ports in folders of their own, and stopped by their process id.

Where a server is not installed a test is skipped and says so; with CI=true it fails. PostgreSQL refuses to run as root, so
there it runs as `postgres` or `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_USERS = ("postgres", "nobody")
_QUICK = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
_SMALL = ["shared_buffers=16MB", "max_connections=40", "autovacuum=off"]


class Server:
    """A process that can be stopped, killed and started again, at the same address."""

    def __init__(self, command: list[str], port: int, url: str, ready: Any, **started: Any) -> None:
        self.port, self.url, self._command, self._ready, self._started = port, url, command, ready, started
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._started
        )
        until = time.monotonic() + 30
        while not self._ready(self):
            assert self._process.poll() is None, f"{self._command[0]} ended with {self._process.returncode}"
            assert time.monotonic() < until, f"{self._command[0]} did not start"
            time.sleep(0.02)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """All its processes stand still: connections stay, nothing answers."""
        assert self._process is not None
        told = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True).stdout
        pids = [int(pid) for pid in told.split()] + [self._process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def stop(self, how: int = signal.SIGKILL) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)


@contextmanager
def postgresql(durable: bool = False) -> Iterator[Server]:
    """A server with an empty database; `durable` as in operation, else quick."""
    binaries = _found("postgres", "initdb", package="postgresql")
    folder = Path(tempfile.mkdtemp(prefix="rw-pg-"))
    owner = _owner()
    try:
        folder.chmod(0o755)
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        who: dict[str, Any] = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}}
        if owner is not None:
            who |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        data, port = folder / "data", free_port()
        command = [binaries["initdb"], "-D", str(data), "-U", "tester", "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run(command, check=True, capture_output=True, timeout=120, **who)
        options = [*_SMALL, *([] if durable else _QUICK)]
        listen = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        command = [binaries["postgres"], "-D", str(data), *listen, *(part for o in options for part in ("-c", o))]
        server = Server(command, port, f"postgresql://tester@127.0.0.1:{port}/postgres", _accepts, **who)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGINT)  # at once, in order: no shared memory is left behind
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis(*options: str) -> Iterator[Server]:
    """A server that keeps nothing on disk, unless `options` say so."""
    binary = _found("redis-server", package="redis-server")["redis-server"]
    with tempfile.TemporaryDirectory(prefix="rw-redis-") as folder:
        port = free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder, *options]
        server = Server(command, port, f"redis://127.0.0.1:{port}/0", _pongs)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _found(*names: str, package: str) -> dict[str, str]:
    """Where programs are; without them skip (fail in CI)."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", "")])
    found = {name: at for name in names if (at := shutil.which(name, path=path))}
    if len(found) == len(names):
        return found
    lacking = ", ".join(sorted(set(names) - set(found)))
    reason = f"needs {lacking}: install {package}, as .ci/run does"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _owner() -> Any:
    if os.getuid() != 0:
        return None
    for name in _USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _accepts(server: Server) -> bool:
    import psycopg

    try:
        psycopg.connect(server.url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _pongs(server: Server) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=1) as link:
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
