"""A llama.cpp server on loopback, in a process of its own that ends with this one's wish. Needs `xllamacpp` (extra `local`).

    with LlamaServer("facts.gguf") as server:
        ... server.base_url ...

Run as a program it serves: `python -m routewright.lab.server MODEL PORT CONTEXT SLOTS`. One thread computes: on few cores
more of them only wait for each other.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from routewright.errors import PoolError

START_S = 60.0


def serve(model: str, port: int, context: int = 2048, slots: int = 2) -> None:
    """Load the model and serve it until killed; `context` tokens are shared by the slots."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = context
    params.n_parallel = slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2
    params.warmup = False
    params.fit_params = False
    server = xllamacpp.Server(params)
    print(f"LISTENING {server.listening_address}", flush=True)
    while True:
        time.sleep(60)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class LlamaServer:
    """Up between `with` and its end, or until `kill`. What it said is in the file `log`."""

    def __init__(
        self, model: str | Path, port: int = 0, *, context: int = 2048, slots: int = 2, log: Path | None = None
    ) -> None:
        self.model, self.port = Path(model), port or free_port()
        self.context, self.slots = context, slots
        self.log = log or self.model.with_name(f"{self.model.stem}-{self.port}.log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> LlamaServer:
        command = [sys.executable, "-m", "routewright.lab.server", str(self.model)]
        command += [str(n) for n in (self.port, self.context, self.slots)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                last = self.log.read_text(errors="replace").strip()[-300:]
                raise PoolError(
                    f"llama.cpp did not start with {self.model} ({last}). Expected a GGUF file it can load."
                )
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


if __name__ == "__main__":
    serve(sys.argv[1], *(int(number) for number in sys.argv[2:]))
