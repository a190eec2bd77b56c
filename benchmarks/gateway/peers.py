"""The other gateways: installed into a virtual environment of their own, configured for the same upstream.

Nothing of theirs is part of this project. A peer that can not be installed is left out, and the result says why.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

CommandAt: TypeAlias = Callable[[int], list[str]]
VERSIONS = {"litellm": "litellm[proxy]==1.108.7", "switchyard": "nemo-switchyard==0.3.0"}
QUIET = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "UP_KEY": "x",
}
MODELS = {"m": "", "slow": "/slow", "paced": "/paced"}


class Missing(Exception):
    """A peer that can not be had here."""


def installed(name: str) -> Path:
    """The Python of a virtual environment that holds the peer."""
    folder = Path("out/peers") / name
    python = (folder / "bin/python").absolute()
    if not (folder / ".done").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", VERSIONS[name]], capture_output=True, text=True
        )
        if done.returncode:
            raise Missing(f"pip install {VERSIONS[name]} failed: {done.stderr.strip().splitlines()[-1][:200]}")
        (folder / ".done").touch()
    return python


def litellm(python: Path, folder: Path, upstream: str, port: int) -> list[str]:
    """One key, no database, no retries."""
    lines = ["model_list:"]
    for model, path in MODELS.items():
        lines += [f"  - model_name: {model}", "    litellm_params:", f"      model: openai/{model}"]
        lines += [f"      api_base: {upstream}{path}/v1", "      api_key: x"]
    lines += ["general_settings:", "  master_key: os.environ/BENCH_KEY", "litellm_settings:", "  num_retries: 0"]
    (folder / "litellm.yaml").write_text("\n".join(lines))
    where = ["--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    return [str(python.parent / "litellm"), *where, "--num_workers", "1"]


_SWITCHYARD = """
import sys, threading
from switchyard_rust.server import Server
with Server(sys.argv[1], int(sys.argv[2])) as server:
    threading.Event().wait()
"""


def switchyard(python: Path, folder: Path, upstream: str, port: int) -> list[str]:
    """Pass-through routes; the server that its wheel brings."""
    lines = ["schema_version = 1"]
    for model, path in MODELS.items():
        lines += [f"[llm_clients.{model}]", 'format = "openai_chat"', f'base_url = "{upstream}{path}/v1"']
        lines += ['api_key_env = "UP_KEY"', "max_retries = 0"]
        lines += [f"[targets.{model}]", f'id = "{model}"', f'llm_client = "{model}"']
        lines += [f"[routes.{model}]", f'id = "{model}"', 'type = "passthrough"', f'target = "{model}"']
    (folder / "switchyard.toml").write_text("\n".join(lines))
    return [str(python), "-c", _SWITCHYARD, str(folder / "switchyard.toml"), str(port)]


PEERS: dict[str, Callable[[Path, Path, str, int], list[str]]] = {"litellm": litellm, "switchyard": switchyard}
