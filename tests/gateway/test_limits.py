"""Keys, roles, rates, budgets; and what a request may take."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from routewright.errors import ConfigError
from routewright.gateway.faults import Fault
from routewright.gateway.keys import Keyring
from routewright.gateway.limits import Bucket, Quota
from routewright.gateway.settings import KeyEntry
from routewright.stores.base import build_store
from tests.gateway.test_chat import posted
from tests.gateway.world import ASK, Running, Upstream, eventually, gateway, listening, pool_at
from tests.stores.records import record

TEAM, BOSS, POOR, SLOW, WORDY = (f"{name}-0123456789abcdef" for name in ("team", "boss", "poor", "slow", "wordy"))


def entry(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


KEYS = [
    entry("team", TEAM, models=["auto", "plain"]),
    entry("boss", BOSS, role="admin"),
    entry("poor", POOR, usd_per_day=0.0021, usd_per_month=1),
    entry("slow", SLOW, requests_per_minute=2),
    entry("wordy", WORDY, tokens_per_minute=20),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream({"wait": lambda b: [30.0]})
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


@pytest.fixture(scope="module")
def served(upstream: Upstream) -> Iterator[Running]:
    pool = pool_at(upstream.url, "plain", "second", "wait", concurrency=64)  # type: ignore[attr-defined]
    with gateway(pool, {"auto": "single"}, {"keys": KEYS}) as running:
        yield running


def ask(served: Running, key: str, model: str = "plain", **more: Any) -> Any:
    return served.client(key).chat.completions.create(model=model, messages=ASK, **more)


def fetched(served: Running, path: str, key: str) -> Any:
    request = urllib.request.Request(served.url + path, headers={"Authorization": f"Bearer {key}"})
    return json.load(urllib.request.urlopen(request))


def test_only_known_keys_are_served(served: Running) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(served, "wrong-0123456789abcdef")
    assert caught.value.code == "invalid_api_key"
    assert "wrong-0123456789abcdef" not in str(caught.value)
    for headers in ({}, {"Authorization": "Basic dGVhbQ=="}, {"Authorization": "Bearer "}):
        assert posted(served.url + "/v1/chat/completions", {}, headers)[0] == 401
    assert ask(served, TEAM).choices[0].message.content == "one two three"
    assert served.last().key == "team"


def test_a_key_may_ask_its_models(served: Running) -> None:
    assert [m.id for m in served.client(TEAM).models.list()] == ["auto", "plain"]
    with pytest.raises(openai.NotFoundError, match="Known: auto, plain"):
        ask(served, TEAM, "second")
    assert ask(served, BOSS, "second")


def test_roles(served: Running) -> None:
    trace_id = ask(served, TEAM).model_extra["routing"]["trace_id"]
    assert fetched(served, f"/v1/traces/{trace_id}", TEAM)["id"] == trace_id
    assert fetched(served, f"/v1/traces/{trace_id}", BOSS)["key"] == "team"
    for path, key, status in (
        (f"/v1/traces/{trace_id}", SLOW, 404),
        ("/metrics", TEAM, 403),
        ("/v1/traces/..%2f..%2fetc%2fpasswd", BOSS, 404),
        ("/v1/traces/" + "0" * 32, BOSS, 404),
        ("/v1/models", "nobody-0123456789abcdef", 401),
    ):
        with pytest.raises(urllib.error.HTTPError, match=str(status)):
            fetched(served, path, key)
    assert urllib.request.urlopen(served.url + "/healthz").status == 200


def test_requests_a_minute(served: Running) -> None:
    assert ask(served, SLOW)
    assert ask(served, SLOW)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(served, SLOW)
    assert (caught.value.code, caught.value.type) == ("requests_per_minute", "rate_limit_error")
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30


def test_tokens_a_minute(served: Running) -> None:
    assert ask(served, WORDY)
    assert ask(served, WORDY)  # 30 tokens by now, of 20
    with pytest.raises(openai.RateLimitError) as caught:
        ask(served, WORDY)
    assert caught.value.code == "tokens_per_minute"


def test_a_day_s_budget_is_never_passed_however_many_ask_at_once(served: Running, upstream: Upstream) -> None:
    """A request costs 20 micro-dollars and may cost some 300: the ledger lets in what fits, the rest is refused."""

    body = {"model": "auto", "messages": ASK}
    url, headers = served.url + "/v1/chat/completions", {"Authorization": f"Bearer {POOR}"}
    before = len(upstream.bodies)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: posted(url, body, headers), range(160)))
    done = [status == 200 for status, _ in answers]
    assert {said["error"]["code"] for status, said in answers if status != 200} == {"insufficient_quota"}
    key = next(k for k in served.service.keyring.keys if k.name == "poor")
    day, month = key.quota.ledgers()
    assert day.spent == month.spent == 20_000_000 * sum(done)
    assert day.spent <= day.cap  # type: ignore[operator]
    assert day.reserved == month.reserved == 0
    assert len(upstream.bodies) - before == sum(done), "what was refused was never asked"
    assert not all(done)
    assert any(done)
    with pytest.raises(openai.RateLimitError) as caught:
        use_up(served)
    assert caught.value.type == "insufficient_quota"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 86400
    assert ask(served, TEAM), "another key's budget is its own"


def use_up(served: Running) -> None:
    """One after another, what is left of the budget is used up as well."""
    for _ in range(160):
        ask(served, POOR, "plain")


def test_what_was_spent_is_taken_back_from_the_store() -> None:
    async def go() -> Quota:
        store = build_store("memory")
        for key, at, usd in (("a", time.time(), 0.25), ("a", 1000.0, 5.0), ("b", time.time(), 1.0)):
            store.record(record(key=key, at=at, cost_usd=usd))
        quota = Quota(KeyEntry(name="a", env="X", usd_per_day=1, usd_per_month=2))
        await quota.recall(store)
        return quota

    assert [ledger.spent_usd for ledger in asyncio.run(go()).ledgers()] == [0.25, 0.25]


def test_a_new_day_begins_anew() -> None:
    quota = Quota(KeyEntry(name="a", env="X", usd_per_day=1, usd_per_month=10))
    late = 1_764_115_199.0  # one second before midnight, 25 November 2025
    day, month = quota.ledgers(late)
    day.reserve(0.75).settle(0.75)  # type: ignore[union-attr]
    month.reserve(0.75).settle(0.75)  # type: ignore[union-attr]
    assert quota.exhausted(late).retry_after_s == 1.0
    tomorrow, same = quota.ledgers(late + 1)
    assert (tomorrow.spent, same) == (0, month)
    month.reserve(9.2).settle(9.2)  # type: ignore[union-attr]
    assert quota.exhausted(late + 1).retry_after_s == 5 * 86400


def test_a_bucket_fills_evenly() -> None:
    bucket = Bucket(60, 0.0)
    bucket.take(60)
    assert bucket.wait_s(0.0, 1) == 1.0
    assert bucket.look(10.0) == 10.0
    bucket.take(30)
    assert bucket.wait_s(10.0, 1) == 21.0
    assert bucket.look(1e6) == 60.0
    assert Bucket(0, 0.0).wait_s(0.0, 1e9) == 0


def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="RW_TEST_KEY is not set"):
        Keyring([KeyEntry(name="a", env="RW_TEST_KEY")])
    monkeypatch.setenv("RW_TEST_KEY", "short")
    with pytest.raises(ConfigError, match="holds 5 characters"):
        Keyring([KeyEntry(name="a", env="RW_TEST_KEY")])
    monkeypatch.setenv("RW_TEST_KEY", TEAM)
    ring = Keyring([KeyEntry(name="a", env="RW_TEST_KEY")])
    assert ring.find(f"Bearer {TEAM}").name == "a"
    with pytest.raises(Fault):
        ring.find(f"Bearer {BOSS}")
    assert TEAM not in repr(vars(ring))


def test_bodies_have_a_limit_of_size(upstream: Upstream) -> None:
    pool = pool_at(upstream.url, "plain")  # type: ignore[attr-defined]
    with gateway(pool, values={"limits": {"body_bytes": 2048, "messages": 3}}) as served:
        big = {"model": "plain", "messages": [{"role": "user", "content": "x" * 4096}]}
        status, said = posted(served.url + "/v1/chat/completions", big)
        assert (status, said["error"]["code"]) == (413, "body_too_long")
        status, said = posted(served.url + "/v1/chat/completions", {"model": "plain", "messages": ASK * 4})
        assert (status, said["error"]["param"]) == (400, "messages")
        link = half(served, "Transfer-Encoding: chunked")
        link.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        assert b" 413 " in link.recv(4096)
        link.close()


def half(served: Running, header: str) -> socket.socket:
    """A request whose body has not come."""
    address = urllib.parse.urlsplit(served.url)
    link = socket.create_connection((address.hostname, address.port), timeout=60)  # type: ignore[arg-type]
    link.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\n{header}\r\n\r\n".encode())
    return link


def test_bodies_have_a_limit_of_time(upstream: Upstream) -> None:
    pool = pool_at(upstream.url, "plain")  # type: ignore[attr-defined]
    with gateway(pool, values={"limits": {"body_s": 0.2}}) as served:
        link = half(served, "Content-Length: 100")
        link.sendall(b'{"model"')
        assert b" 408 " in link.recv(4096)
        link.close()


def test_too_many_at_once_are_told_to_come_again(upstream: Upstream) -> None:
    pool = pool_at(upstream.url, "wait", "plain")  # type: ignore[attr-defined]
    with gateway(pool, values={"limits": {"in_flight": 2}}) as served:
        known = len(upstream.bodies)
        links = []
        for _ in range(2):
            body = json.dumps({"model": "wait", "messages": ASK, "stream": True}).encode()
            link = half(served, f"Content-Length: {len(body)}")
            link.sendall(body)
            links.append(link)
        eventually(lambda: len(upstream.bodies) == known + 2)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(served, "none")
        assert caught.value.code == "busy"
        assert caught.value.response.headers["retry-after"] == "1"
        for link in links:
            link.close()
        eventually(lambda: served.service.metrics.in_flight._value.get() == 0)
        assert ask(served, "none")
