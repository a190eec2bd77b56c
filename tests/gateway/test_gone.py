"""A client that goes away stops what is spent for it at once; after the first streamed byte nothing is asked again.

Whole answers and streams, connections that are kept alive, policies of several steps: real servers on both sides.
"""

from __future__ import annotations

import json
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from routewright.policies.base import build_policy
from routewright.pools.pool import load_pool
from tests.gateway.world import ASK, Running, Upstream, chunk, eventually, gateway, listening, plain, pool_at

SOON_S = 3.0  # that a call upstream may outlive its client


def second_waits(body: Any) -> Any:
    """Answers at once, but what sees an earlier reply takes for ever."""
    return plain(body) if len(body["messages"]) == 1 else [30.0]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream(
        {
            "wait": lambda b: [30.0],
            "wait-2": lambda b: [30.0],
            "late": second_waits,
            "cut": lambda b: [chunk({"content": "half"}), 0.05, None] if b.get("stream") else plain(b),
            "down": lambda b: (500, {"error": {"message": "broken"}}),
        }
    )
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


@pytest.fixture(scope="module")
def served(upstream: Upstream) -> Iterator[Running]:
    pool = pool_at(upstream.url, "plain", "wait", "wait-2", "late", "cut", retries=2)  # type: ignore[attr-defined]
    coordinators = {
        "auto": build_policy("single", {"model": "wait"}),
        "refined": build_policy("pipeline", {"models": ["plain", "late"]}),
        "voters": build_policy("vote", {"models": ["wait", "wait-2"]}),
        "cut-last": build_policy("pipeline", {"models": ["plain", "cut"]}),
    }
    with gateway(pool, coordinators) as running:
        yield running


def link(served: Running) -> socket.socket:
    address = urllib.parse.urlsplit(served.url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30)


def send(made: socket.socket, body: Any) -> None:
    data = json.dumps(body).encode()
    made.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)


def answered(made: socket.socket) -> bytes:
    """One whole answer, its length as its head says."""
    out = b""
    while b"\r\n\r\n" not in out:
        out += made.recv(65536)
    head, _, body = out.partition(b"\r\n\r\n")
    length = next(int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length"))
    while len(body) < length:
        body += made.recv(65536)
    return head


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "before", "under_way"), [("wait", 0, 1), ("auto", 0, 1), ("refined", 1, 1), ("voters", 0, 2)]
)
def test_its_calls_are_stopped_at_once(
    served: Running, upstream: Upstream, model: str, before: int, under_way: int, stream: bool
) -> None:
    """Also on a connection that has served a request already."""
    known, left = len(upstream.bodies), upstream.left
    with link(served) as made:
        send(made, {"model": "plain", "messages": ASK})
        assert answered(made).startswith(b"HTTP/1.1 200")
        send(made, {"model": model, "messages": ASK, "stream": stream})
        eventually(lambda: len(upstream.bodies) == known + 1 + before + under_way)
        assert upstream.left == left, "all wait"
    gone = time.monotonic()
    eventually(lambda: upstream.left == left + under_way)
    assert time.monotonic() - gone < SOON_S
    record = eventually(lambda: (r := served.last()).asked == model and r.status == 499 and r)
    assert record.stopped == "cancelled"
    assert record.streamed == stream
    assert record.cost_usd > 0, "what was done, and what was under way, is charged"
    assert len(upstream.bodies) == known + 1 + before + under_way, "nothing is asked afterwards"
    assert len(record.models) == before + under_way


def test_others_go_on(served: Running, upstream: Upstream) -> None:
    left = upstream.left
    with link(served) as stays, link(served) as goes:
        known = len(upstream.bodies)
        send(stays, {"model": "wait", "messages": ASK, "stream": True})
        send(goes, {"model": "wait", "messages": ASK})
        eventually(lambda: len(upstream.bodies) == known + 2)
        goes.close()
        eventually(lambda: upstream.left == left + 1)
        assert served.client().chat.completions.create(model="plain", messages=ASK).choices[0].message.content
        assert upstream.left == left + 1
    eventually(lambda: upstream.left == left + 2)


def test_a_client_that_goes_while_it_waits_for_its_turn(upstream: Upstream) -> None:
    """Nothing was asked for it yet, and nothing is; the turn goes to the next."""
    with gateway(pool_at(upstream.url, "wait", "plain", concurrency=1)) as served:  # type: ignore[attr-defined]
        known, left = len(upstream.bodies), upstream.left
        with link(served) as first, link(served) as second:
            send(first, {"model": "wait", "messages": ASK})
            eventually(lambda: len(upstream.bodies) == known + 1)
            send(second, {"model": "wait", "messages": ASK})
            eventually(lambda: served.service.generations[-1].inside == 2)
            second.close()
            record = eventually(served.last)
            assert (record.status, record.cost_usd) == (499, 0.0)
        eventually(lambda: upstream.left == left + 1)
        assert len(upstream.bodies) == known + 1
        assert served.client().chat.completions.create(model="plain", messages=ASK).choices[0].message.content


def test_the_last_step_of_several_breaks_off_once(served: Running, upstream: Upstream) -> None:
    known = len(upstream.bodies)
    parts: list[Any] = []
    with pytest.raises(openai.APIError, match="broke off"):
        parts.extend(served.client().chat.completions.create(model="cut-last", messages=ASK, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == "half"
    assert [body["model"] for body in upstream.bodies[known:]] == ["plain", "cut"]
    record = eventually(lambda: (r := served.last()).asked == "cut-last" and r)
    assert (record.status, record.fallback) == (502, "")


def test_a_fallback_comes_before_the_first_byte_or_not_at_all(upstream: Upstream) -> None:
    provider = {"kind": "openai", "base_url": upstream.url + "/v1", "backoff_s": 0.0, "retries": 1}  # type: ignore[attr-defined]
    entry = {"provider": "up", "usd_per_mtok_in": 1, "usd_per_mtok_out": 2}
    models = [{"name": "plain", **entry}, *({"name": n, "fallback": ["plain"], **entry} for n in ("down", "cut"))]
    with gateway(load_pool({"providers": {"up": provider}, "models": models})) as served:
        known = len(upstream.bodies)
        chunks = list(served.client().chat.completions.create(model="down", messages=ASK, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "one two three"
        assert [body["model"] for body in upstream.bodies[known:]] == ["down", "down", "plain"]
        known = len(upstream.bodies)
        with pytest.raises(openai.APIError, match="broke off"):
            list(served.client().chat.completions.create(model="cut", messages=ASK, stream=True))
        assert [body["model"] for body in upstream.bodies[known:]] == ["cut"]
