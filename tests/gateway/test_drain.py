"""Going in order: what a real process does when it is asked to end."""

from __future__ import annotations

import http.client
import json
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.test_serve import POOL, SERVE, process, refused
from tests.gateway.world import ASK, Upstream, chunk, eventually, listening


def words(n: int) -> list[Any]:
    """A stream of n words, one every 50 ms."""
    return [x for i in range(n) for x in (0.05, chunk({"content": f" {i}"}))]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream({"slow": lambda b: [chunk({"content": "begin"}), *words(b.get("seed") or 20), chunk({}, "stop")]})
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


def files(folder: Path, upstream: Upstream, **limits: float) -> None:
    (folder / "pool.toml").write_text(POOL.format(url=upstream.url))  # type: ignore[attr-defined]
    lines = "\n".join(f"{name} = {value}" for name, value in limits.items())
    (folder / "serve.toml").write_text(f"{SERVE}\n[limits]\n{lines}\n")


class Stream:
    """A stream of the slow model, begun."""

    def __init__(self, url: str, n: int = 20) -> None:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60)
        self.parts = iter(client.chat.completions.create(model="slow", messages=ASK, stream=True, seed=n))
        self.text = next(self.parts).choices[0].delta.content or ""
        self.wanted = "begin" + "".join(f" {i}" for i in range(n))

    def rest(self) -> str:
        self.text += "".join(part.choices[0].delta.content or "" for part in self.parts)
        return self.text


def ready(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url.removesuffix("/v1") + "/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)["status"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["status"]


def kept_alive(url: str) -> http.client.HTTPConnection:
    address = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)


def ask(link: http.client.HTTPConnection, model: str = "auto", seed: int = 1) -> http.client.HTTPResponse:
    link.request("POST", "/v1/chat/completions", json.dumps({"model": model, "messages": ASK, "seed": seed}))
    answer = link.getresponse()
    answer.read()
    return answer


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_first_it_says_so_then_it_closes_its_doors_then_it_goes(
    tmp_path: Path, upstream: Upstream, sign: signal.Signals
) -> None:
    files(tmp_path, upstream, drain_notice_s=1.2)
    with process(tmp_path, "serve.toml") as (child, url):
        link, idle = kept_alive(url), kept_alive(url)
        assert ask(link).getheader("connection") != "close"
        assert ask(idle).status == 200
        stream = Stream(url, 60)
        assert ready(url) == (200, "ready")
        child.send_signal(sign)
        # While whoever shares out the load finds out, requests are taken, and each answer closes its connection.
        eventually(lambda: ready(url) == (503, "leaving"))
        answer = ask(link)
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        late = kept_alive(url)
        answer = ask(late)
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        # Then nobody is let in, and connections without a request are closed.
        eventually(lambda: refused(url))
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            ask(idle)
        assert child.poll() is None, "the stream is still running"
        assert stream.rest() == stream.wanted
        assert child.wait(30) == 0
        for one in (link, idle, late):
            one.close()
    assert statuses(tmp_path) == [200] * 5


def statuses(folder: Path) -> list[int]:
    with sqlite3.connect(folder / "served.sqlite") as db:
        return [row[0] for row in db.execute("select status from decisions order by at")]


def test_without_a_notice_the_doors_close_at_once(tmp_path: Path, upstream: Upstream) -> None:
    files(tmp_path, upstream, drain_notice_s=0)
    with process(tmp_path, "serve.toml") as (child, _):
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        assert time.monotonic() - began < 3


def test_what_takes_longer_than_it_may_is_cut_off_and_kept(tmp_path: Path, upstream: Upstream) -> None:
    files(tmp_path, upstream, drain_notice_s=0, drain_s=0.3)
    before, known, answers = upstream.left, len(upstream.bodies), []
    with process(tmp_path, "serve.toml") as (child, url):
        stream = Stream(url, 600)
        waits = threading.Thread(target=lambda: answers.append(ask(kept_alive(url), "slow", 600)))
        waits.start()
        eventually(lambda: len(upstream.bodies) == known + 2)
        child.send_signal(signal.SIGTERM)
        with pytest.raises(openai.APIError, match="The gateway is being stopped"):
            stream.rest()
        assert child.wait(10) == 0
        waits.join(10)
        assert (answers[0].status, answers[0].getheader("retry-after")) == (503, "1")
        assert "Traceback" not in child.stderr.read()
    assert statuses(tmp_path) == [503, 503]
    assert eventually(lambda: upstream.left > before), "and its upstream stops"


def test_asked_again_it_ends_at_once(tmp_path: Path, upstream: Upstream) -> None:
    """The streams that run are cut off; what had ended, and they themselves, are kept."""
    files(tmp_path, upstream, drain_notice_s=30)
    with process(tmp_path, "serve.toml") as (child, url):
        assert ask(kept_alive(url)).status == 200
        stream = Stream(url, 600)
        child.send_signal(signal.SIGTERM)
        eventually(lambda: ready(url) == (503, "leaving"))
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 4
        with pytest.raises(openai.APIError, match="The gateway is being stopped"):
            stream.rest()
        assert "Traceback" not in child.stderr.read()
    assert sorted(statuses(tmp_path)) == [200, 503]


def test_a_policy_that_hangs_keeps_no_process_from_ending(tmp_path: Path, upstream: Upstream) -> None:
    """Its workers are waited for by nobody."""
    files(tmp_path, upstream, drain_notice_s=0)
    (tmp_path / "hanging.py").write_text(
        "import threading\n"
        "from routewright.cli import main\n"
        "from routewright.policies.vote import Vote\n"
        "Vote.blocking = True\n"
        "Vote.prepare = lambda self, queries: threading.Event().wait()\n"
        "main()\n"
    )
    text = SERVE.replace('policy = "single"', 'policy = "vote"')
    (tmp_path / "serve.toml").write_text(text + "\n[limits]\ndrain_notice_s = 0\nprepare_s = 0.2\n")
    with process(tmp_path, "serve.toml", code="import runpy; runpy.run_path('hanging.py')") as (child, url):
        done = openai.OpenAI(base_url=url, api_key="none", max_retries=0).chat.completions.create(
            model="auto", messages=ASK
        )
        assert done.model_extra["routing"]["fallback"] == "vote was not ready within 0.2 s"  # type: ignore[index]
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
