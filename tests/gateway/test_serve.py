"""`routewright serve` as a process: it starts, says where, drains on SIGTERM, and refuses what can not be."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from routewright.errors import ConfigError, UnknownName
from routewright.gateway.app import build_service
from routewright.gateway.settings import check_settings, is_loopback
from tests.gateway.world import ASK, Upstream, chunk, eventually, listening

POOL = """
[[models]]
name = "small"
provider = "echo"
usd_per_mtok_in = 0.1
usd_per_mtok_out = 0.4

[[models]]
name = "slow"
provider = "slow"
usd_per_mtok_in = 1
usd_per_mtok_out = 2

[providers.slow]
kind = "openai"
base_url = "{url}/v1"
"""
SERVE = """
port = 0
pool = "pool.toml"

[coordinators.auto]
policy = "single"

[store]
kind = "sqlite"
path = "served.sqlite"
prompts = true
"""


@contextmanager
def process(
    folder: Path, *arguments: str, code: str = "from routewright.cli import main; main()"
) -> Iterator[tuple[Any, str]]:
    """`routewright serve`, and the address it says."""
    command = [sys.executable, "-c", code, "serve", *arguments]
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line!r}, {child.stderr.read() if child.stderr and not line else ''}"
        yield child, found[0]
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def test_streams_finish_after_sigterm_and_nothing_new_is_taken(tmp_path: Path, cli: Callable[..., Any]) -> None:
    words = [x for i in range(40) for x in (0.05, chunk({"content": f" {i}"}))]
    upstream = Upstream({"slow": lambda b: [chunk({"content": "begin"}), *words, chunk({}, "stop")]})
    with listening(upstream.app) as up:
        (tmp_path / "pool.toml").write_text(POOL.format(url=up))
        (tmp_path / "serve.toml").write_text(SERVE)
        with process(tmp_path, "serve.toml") as (child, url):
            client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)
            assert client.chat.completions.create(model="auto", messages=ASK).choices[0].message.content
            stream = iter(client.chat.completions.create(model="slow", messages=ASK, stream=True))
            text = next(stream).choices[0].delta.content or ""
            child.send_signal(signal.SIGTERM)
            eventually(lambda: refused(url))
            text += "".join(part.choices[0].delta.content or "" for part in stream)
            assert text == "begin" + "".join(f" {i}" for i in range(40))
            assert child.wait(60) == 0
    judge(tmp_path)
    ran = cli("export", tmp_path / "served.sqlite", "--out", tmp_path / "served.parquet")
    assert (ran.code, ran.out.startswith("2 rows in")) == (0, True), ran.err


def refused(url: str) -> bool:
    try:
        urllib.request.urlopen(url.removesuffix("/v1") + "/healthz", timeout=5).close()
    except OSError:
        return True
    return False


def judge(folder: Path) -> None:
    """A score for everything that was served."""
    import asyncio

    from routewright.stores.base import Feedback, build_store

    async def scored() -> None:
        store = build_store("sqlite", {"path": str(folder / "served.sqlite")})
        await store.open()
        assert await store.spent_usd("anonymous", 0.0) > 0
        from sqlite3 import connect

        with connect(folder / "served.sqlite") as db:
            ids = [row[0] for row in db.execute("select trace_id from decisions")]
        for trace_id in ids:
            assert await store.feedback(Feedback(trace_id, 1.0))
        await store.aclose()

    asyncio.run(scored())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9")
def test_a_killed_gateway_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text(POOL.format(url="http://127.0.0.1:1"))
    (tmp_path / "serve.toml").write_text(SERVE)
    with process(tmp_path, "serve.toml") as (child, url):
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)
        kept = []
        for _ in range(20):
            done = client.chat.completions.create(model="auto", messages=ASK)
            trace_id = done.model_extra["routing"]["trace_id"]  # type: ignore[index]
            body = json.dumps({"trace_id": trace_id, "score": 1}).encode()
            assert urllib.request.urlopen(urllib.request.Request(url + "/feedback", body)).status == 200
            kept.append(trace_id)
        child.send_signal(signal.SIGKILL)
        child.wait()
    from sqlite3 import connect

    with connect(tmp_path / "served.sqlite") as db:
        found = {row[0] for row in db.execute("select f.trace_id from feedback f join decisions d using (trace_id)")}
    assert found == set(kept)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prot": 1}, "Unknown key 'prot'"),
        ({"port": 99999}, "port = 99999"),
        ({"host": "0.0.0.0"}, "can be reached from other machines"),
        ({"coordinators": {"a b": {"policy": "single"}}}, "is no name"),
        ({"coordinators": {"a": {}}}, "either path or policy"),
        ({"coordinators": {"a": {"path": "x", "options": {"k": 1}}}}, "takes no options"),
        ({"keys": [{"name": "a"}]}, "either env or sha256"),
        ({"keys": [{"name": "a", "sha256": "abc"}]}, "keys.0.sha256"),
        ({"keys": [{"name": "a", "env": "A"}, {"name": "a", "env": "B"}]}, "used twice"),
        ({"keys": [{"name": "a", "env": "A", "key": "sk-123"}]}, "Unknown key 'keys.0.key'"),
        ({"store": {"kind": "sqlite"}}, "path"),
        ({"store": {"kind": "memory", "path": "x"}}, "Unknown key 'path'"),
        ({"store": {"kind": 7}}, "is not a text"),
        ({"limits": {"drain": 1}}, "Unknown key 'limits.drain'"),
    ],
)
def test_settings_that_can_not_be_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        check_settings(values, "serve.toml")


def test_settings_that_can_be() -> None:
    made = check_settings({"host": "0.0.0.0", "insecure": True, "store": {"kind": "sqlite", "path": "x"}}, "here")
    assert made.store.options == {"path": "x"}
    assert check_settings({"host": "0.0.0.0", "keys": [{"name": "a", "env": "A"}]}, "here").port == 8080
    assert is_loopback("127.3.4.5")
    assert not is_loopback("::")
    with pytest.raises(UnknownName):
        check_settings({"store": {"kind": "postgress"}}, "here")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"coordinators": {"small": {"policy": "single"}}}, "is a coordinator and a model"),
        ({"coordinators": {"a": {"policy": "single", "fallback": "huge"}}}, "is no model of the pool: small"),
        ({"coordinators": {"a": {"path": "nowhere"}}}, "is no folder"),
        ({"coordinators": {"a": {"policy": "singel"}}}, "Did you mean 'single'"),
        ({"store": {"redact": "nowhere:f"}}, "can not be loaded"),
    ],
)
def test_what_does_not_fit_together_is_refused(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text(POOL.format(url="http://127.0.0.1:1"))
    with pytest.raises((ConfigError, UnknownName), match=re.escape(said)):
        build_service(check_settings({"pool": "pool.toml", **values}, "serve.toml"), tmp_path)


def test_export_says_what_it_can_not_do(tmp_path: Path, cli: Callable[..., Any]) -> None:
    ran = cli("export", tmp_path / "none.sqlite", "--out", tmp_path / "t.parquet")
    assert (ran.code, "There is no store" in ran.err) == (2, True)
    assert os.listdir(tmp_path) == []


def test_a_taken_port_is_one_line(tmp_path: Path, cli: Callable[..., Any]) -> None:
    import socket

    (tmp_path / "pool.toml").write_text(POOL.format(url="http://127.0.0.1:1"))
    (tmp_path / "serve.toml").write_text('pool = "pool.toml"\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = cli("serve", tmp_path / "serve.toml", "--port", taken.getsockname()[1])
    assert ran.code == 2
    assert "can not be listened on" in ran.err
    assert ran.err.count("\n") == 1


def test_a_store_that_can_not_be_opened_is_one_line(tmp_path: Path, cli: Callable[..., Any]) -> None:
    (tmp_path / "pool.toml").write_text(POOL.format(url="http://127.0.0.1:1"))
    (tmp_path / "serve.toml").write_text(SERVE)
    (tmp_path / "served.sqlite").mkdir()
    ran = cli("serve", tmp_path / "serve.toml")
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert "can not be opened" in ran.err


def test_the_lab_s_pool_is_served_without_a_file(tmp_path: Path) -> None:
    """Where the package's weights are; where they are not, the error says so."""
    from routewright.errors import PoolError
    from routewright.lab.coordinator import FOLDER

    if FOLDER.is_dir():
        assert set(build_service(check_settings({}, "here"), tmp_path).coordinators) == {"auto", "r1"}
    else:
        with pytest.raises(PoolError, match="holds none of"):
            build_service(check_settings({}, "here"), tmp_path)
    assert os.listdir(tmp_path) == []
