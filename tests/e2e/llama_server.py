"""A llama.cpp server in a process of its own, so that a test can kill it. Needs `xllamacpp`.

    with LlamaServer(tmp_path / "tiny.gguf") as server:
        ... server.base_url ...
        server.kill()

Run as a program it serves: `python llama_server.py MODEL PORT`.
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

START_S = 60.0


def serve(model: str, port: int) -> None:
    """Load the model and serve it until killed."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 2048
    params.n_parallel = 2
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

    def __init__(self, model: Path, port: int = 0) -> None:
        self.model, self.port = model, port or free_port()
        self.log = model.with_name(f"{model.stem}-{self.port}.log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> LlamaServer:
        command = [sys.executable, __file__, str(self.model), str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"llama.cpp did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
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
    serve(sys.argv[1], int(sys.argv[2]))
