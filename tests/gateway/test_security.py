"""What hostile clients try: each test is one kind of attack on a real server."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from routewright.errors import ConfigError
from routewright.gateway.app import app_of
from routewright.gateway.asked import REFUSED
from routewright.gateway.connection import Connection, connections_of
from routewright.gateway.faults import Fault
from routewright.gateway.keys import Keyring
from routewright.gateway.records import Recorder
from routewright.gateway.service import Service
from routewright.gateway.settings import LimitSettings, check_settings, is_loopback
from routewright.gateway.setup import Setup
from routewright.stores.base import build_store
from tests.gateway.world import ASK, Running, Upstream, eventually, gateway, listening, pool_at

TEAM, BOSS = "team-0123456789abcdef", "boss-0123456789abcdef"
KEYS = [
    {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "role": role}
    for name, key, role in (("team", TEAM, "client"), ("boss", BOSS, "admin"))
]
SMALL = {"body_bytes": 65536, "header_bytes": 8192, "header_lines": 40}
LIMITS = {**SMALL, "headers_s": 0.4, "body_s": 0.4, "idle_s": 0.3}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream()
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


@pytest.fixture(scope="module")
def served(upstream: Upstream) -> Iterator[Running]:
    pool = pool_at(upstream.url, "plain", "évil\r\nx: y")  # type: ignore[attr-defined]
    with gateway(pool, {"auto": "single"}, {"limits": SMALL}) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(upstream: Upstream) -> Iterator[Running]:
    """A gateway that waits for nobody."""
    with gateway(pool_at(upstream.url, "plain"), {"auto": "single"}, {"limits": LIMITS}) as running:  # type: ignore[attr-defined]
        yield running


@pytest.fixture(scope="module")
def locked(upstream: Upstream) -> Iterator[Running]:
    with gateway(pool_at(upstream.url, "plain"), {"auto": "single"}, {"keys": KEYS}) as running:  # type: ignore[attr-defined]
        yield running


def link(served: Running) -> socket.socket:
    address = urllib.parse.urlsplit(served.url)
    made = socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=20)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def heard(made: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    out = b""
    try:
        while part := made.recv(65536):
            out += part
    except ConnectionError:
        pass
    return out


def sent(served: Running, data: bytes) -> bytes:
    with link(served) as made:
        made.sendall(data)
        return heard(made)


def request(body: Any = None, head: str = "", path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    """A whole request, after which the connection is closed."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    first = f"{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{head}Content-Length: {len(data)}\r\n\r\n"
    return first.encode("latin-1") + data


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def head_of(answer: bytes) -> list[bytes]:
    return answer.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]


# Keys


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, whichever fits, and by their digests: neither the place nor the length of a key shows in the time."""
    compared: list[tuple[bytes, bytes]] = []

    def noted(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    ring = Keyring(check_settings({"keys": KEYS}, "here").keys)
    monkeypatch.setattr(hmac, "compare_digest", noted)
    for presented, name in ((TEAM, "team"), (BOSS, "boss"), ("x", ""), ("y" * 100_000, "")):
        compared.clear()
        if name:
            assert ring.find(f"Bearer {presented}").name == name
        else:
            with pytest.raises(Fault, match="not known"):
                ring.find(f"Bearer {presented}")
        assert [len(a) for a, _ in compared] == [32, 32]
        assert {b for _, b in compared} == {hashlib.sha256(presented.encode()).digest()}


def test_no_way_in_without_a_key(locked: Running) -> None:
    for head in ("", "Authorization: Bearer \r\n", "Authorization: Basic YTpi\r\n", f"Authorization: {TEAM}\r\n"):
        for path, method in (
            ("/v1/chat/completions", "POST"),
            ("/v1/models", "GET"),
            ("/v1/models/plain", "GET"),
            ("/v1/traces/" + "0" * 32, "GET"),
            ("/v1/feedback", "POST"),
            ("/v1/admin/reload", "POST"),
            ("/metrics", "GET"),
        ):
            assert status(sent(locked, request({}, head, path, method))) == 401, (head, path)
    for path in ("/v1/admin/reload", "/metrics"):
        method = "GET" if path == "/metrics" else "POST"
        assert status(sent(locked, request({}, f"Authorization: Bearer {TEAM}\r\n", path, method))) == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.1.2.3", "example.org", "127.0.0.1.example.org", "127.evil"])
def test_an_address_others_can_reach_needs_keys(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        check_settings({"host": host}, "here")
    assert check_settings({"host": host, "insecure": True}, "here").host == host
    assert check_settings({"host": host, "keys": KEYS}, "here").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"])
def test_an_address_of_this_machine_needs_none(host: str) -> None:
    assert check_settings({"host": host}, "here").host == host
    assert check_settings({}, "here").host == "127.0.0.1"


def test_a_web_page_can_not_use_a_gateway_without_keys(served: Running, locked: Running, upstream: Upstream) -> None:
    """A page its reader visits may send requests to this machine; also under a name of its own that leads here."""
    before = len(upstream.bodies)
    port = urllib.parse.urlsplit(served.url).port
    body = {"model": "plain", "messages": ASK}

    def asked(to: Running, host: str, origin: str, more: str = "") -> int:
        head = f"Origin: {origin}\r\n{more}"
        return status(sent(to, request(body, head).replace(b"Host: here", f"Host: {host}".encode())))

    for host, origin in (
        (f"127.0.0.1:{port}", "https://evil.example"),
        (f"127.0.0.1:{port}", "null"),
        (f"127.0.0.1:{port}", "http://127.0.0.1:1"),
        (f"evil.example:{port}", f"http://evil.example:{port}"),
        (f"127.0.0.1.evil.example:{port}", f"http://127.0.0.1.evil.example:{port}"),
    ):
        assert asked(served, host, origin) == 403, (host, origin)
    assert len(upstream.bodies) == before
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert asked(served, host, f"http://{host}") == 200
    assert asked(locked, "any", "https://app.example", f"Authorization: Bearer {TEAM}\r\n") == 200


# Injection

HOSTILE = ["a\r\nx-evil: 1", "a\nb", "a\0b", "é\u2028x", "\x1b[31m", "a\r\n\r\n<html>", "\ud800", "../../etc/passwd"]


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_a_request_makes_a_header(served: Running, name: str) -> None:
    """Neither the name asked for, nor a model's of the pool, nor a session's, nor headers that are sent along."""
    for body in (
        {"model": name, "messages": ASK},
        {"model": "auto", "messages": ASK, "routing": {"allow": [name]}},
        {"model": "auto", "messages": ASK, "routing": {"session": name}},
        {"model": "auto", "messages": ASK, "routing": {name: 1}},
        {"model": "auto", "messages": ASK, "stream": True, "routing": {"deny": [name]}},
    ):
        answer = sent(served, request(body))
        harmless = body.get("routing") == {"session": name} and name.startswith("..")  # no more than a name
        assert status(answer) in ((200,) if harmless else (400, 404)), (body, answer)
        for line in head_of(answer):
            assert line.isascii(), line
            assert line.split(b":")[0].decode().replace("-", "").isalnum(), line
            assert not line.lower().startswith(b"x-evil")


def test_a_model_of_the_pool_with_a_hostile_name_is_harmless(served: Running) -> None:
    name = "évil\r\nx: y"
    answer = sent(served, request({"model": name, "messages": ASK}))
    assert status(answer) == 200
    lines = head_of(answer)
    assert b"x-routewright-model: ?vil??x: y" in lines
    assert not any(line.startswith(b"x: ") for line in lines)


def test_ids_that_clients_send_are_not_taken_over(served: Running) -> None:
    head = "x-request-id: deadbeef\r\nx-routewright-trace-id: ../../x\r\nx-routewright-session: s-1\r\n"
    answer = sent(served, request({"model": "auto", "messages": ASK}, head))
    assert status(answer) == 200
    assert b"deadbeef" not in answer
    assert b"../../x" not in answer
    for value in ("a b", "é", "x" * 129, ""):
        answer = sent(served, request({"model": "auto", "messages": ASK}, f"x-routewright-session: {value}\r\n"))
        assert status(answer) == 400, answer


def test_a_request_is_one_line_of_the_log(served: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Names from a request that get into the log are looked at first; here all hostile ones, and a pool's own."""
    with caplog.at_level(logging.DEBUG, "routewright.gateway"):
        for name in [*HOSTILE, "évil\r\nx: y"]:
            for body in (
                {"model": name, "messages": ASK},
                {"model": "auto", "messages": ASK, "routing": {"allow": [name]}},
            ):
                sent(served, request(body))
        eventually(lambda: not served.service._ended)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("request ") for line in lines)
    for line in lines:
        assert line.isprintable(), line
        assert "vowels" not in line


@pytest.mark.parametrize(
    "trace", ["..%2f..%2fetc%2fpasswd", "%00", "a" * 32 + "/../x", "x" * 5000, "%0d%0ax", "'%20or%201=1"]
)
def test_a_trace_id_is_no_path(served: Running, trace: str) -> None:
    for where in ("/v1/traces/", "/v1/models/"):
        answer = sent(served, request(None, path=where + trace, method="GET"))
        assert status(answer) == 404, answer
        assert b"root:" not in answer
        assert b"error" in answer


# Where calls go


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_a_request_can_not_say_where_a_call_goes(served: Running, upstream: Upstream, field: str) -> None:
    before = len(upstream.bodies)
    for model in ("plain", "auto"):
        answer = sent(served, request({"model": model, "messages": ASK, field: "http://169.254.169.254/"}))
        assert status(answer) == 400
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["param"] == field
    assert len(upstream.bodies) == before


def test_headers_of_a_client_stay_here(served: Running, upstream: Upstream) -> None:
    """Its key, its cookies, and what it claims of where it comes from."""
    seen: list[dict[str, Any]] = []
    upstream.replies["plain"] = lambda body: (
        seen.append(dict(body))
        or {
            "choices": [{"message": {"content": "ok"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
    )
    try:
        head = "Authorization: Bearer client-secret-1234\r\nCookie: a=b\r\nX-Forwarded-Host: evil\r\n"
        assert status(sent(served, request({"model": "plain", "messages": ASK}, head))) == 200
    finally:
        del upstream.replies["plain"]
    assert seen[0].keys() == {"model", "messages", "max_tokens"}


# Sizes

DEEP = b'{"model":"auto","messages":' + b"[" * 60_000
WIDE = b'{"model":"auto","messages":[{"role":"user","content":"x"}],"n":' + b"9" * 20_000 + b"}"


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"a":' * 10_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"model":"auto","messages":[{"role":"user","content":"x"}],"tools":' + b"[" * 5000 + b"]" * 5000 + b"}",
        WIDE,
        b'{"model":"auto","messages":[{"role":"user","content":"x"}],"max_tokens":1e999}',
        b'{"model":"auto","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"auto","messages":[{"role":"user","content":"x"}],"routing":{"value_usd":1e400}}',
        b'{"model":"auto","messages":[{"role":"user","content":"x"}],"routing":{"budget_usd":-1}}',
        b'{"model":"auto","messages":[{"role":"user","content":"x"}],"routing":{"max_steps":' + b"9" * 400 + b"}}",
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_what_is_no_sane_json_is_refused(served: Running, body: bytes) -> None:
    answer = sent(served, request(body))
    assert status(answer) == 400, answer[:300]
    assert status(sent(served, request(None, path="/healthz", method="GET"))) == 200


def test_feedback_is_read_as_carefully(served: Running) -> None:
    for body in (DEEP, b'{"trace_id": "x", "score": 1e999}', b'{"trace_id": 5, "score": ' + b"9" * 5000 + b"}"):
        assert status(sent(served, request(body, path="/v1/feedback"))) == 400


def test_oversize_bodies_are_refused(served: Running) -> None:
    """By their length where they say it, else when it is passed; nothing of that size is held."""
    said = b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Length: 10000000000\r\n\r\n"
    with link(served) as made:
        made.sendall(said)
        assert status(made.recv(4096)) == 413
    with link(served) as made:
        made.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            made.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        assert status(made.recv(4096)) == 413
    for length in (b"-1", b"abc", b"1, 2", b"99999999999999999999999999"):
        answer = sent(
            served, b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Length: " + length + b"\r\n\r\n"
        )
        assert status(answer) in (400, 413), (length, answer)


def test_two_lengths_are_no_way_to_smuggle(served: Running) -> None:
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = sent(served, b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\n" + both)
    assert answer.count(b"HTTP/1.1") == 1
    assert status(answer) == 400


@pytest.mark.parametrize(
    "head",
    [
        "x: 1\r\n" * 41,
        f"x: {'y' * 9000}\r\n",
        "".join(f"x{i}: {'y' * 400}\r\n" for i in range(30)),
        f"{'n' * 9000}: 1\r\n",
    ],
)
def test_heads_that_are_too_long_are_refused(served: Running, head: str) -> None:
    answer = sent(served, request({"model": "auto", "messages": ASK}, head))
    assert status(answer) == 431, answer[:200]
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "bad_head"
    assert status(sent(served, request(None, path="/" + "p" * 9000, method="GET"))) == 431


def test_a_head_without_end_is_cut_off(served: Running) -> None:
    """One header line that goes on and on: refused at its limit, not kept."""
    with link(served) as made:
        made.sendall(b"GET / HTTP/1.1\r\nx: ")
        try:
            for _ in range(100):
                made.sendall(b"y" * 4096)
        except ConnectionError:
            pass
        answer = heard(made)
    assert not answer or status(answer) == 431


# Time


def closed_after(made: socket.socket, trickle: bytes = b"", every_s: float = 0.1) -> tuple[float, bytes]:
    """Seconds until the other side closes, while more trickles in; and what it said."""
    began, out = time.monotonic(), b""
    made.settimeout(every_s)
    while time.monotonic() - began < 20:
        try:
            part = made.recv(65536)
            if not part:
                break
            out += part
        except TimeoutError:
            if trickle:
                try:
                    made.sendall(trickle)
                except ConnectionError:
                    break
        except ConnectionError:
            break
    return time.monotonic() - began, out


@pytest.mark.parametrize(
    ("begin", "trickle", "said"),
    [
        (b"", b"", b""),  # nothing at all
        (b"POST /v1/chat", b"", b" 408 "),  # half a line
        (b"GET /healthz HTTP/1.1\r\nHost: here\r\n", b"x: y\r\n", b" 408 "),  # a header line at a time
        (b"\r\n", b"\r\n", b" 408 "),  # blank lines
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Length: 5000\r\n\r\n", b" ", b" 408 "),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\n \r\n",
            b" 408 ",
        ),
        (b"POST /nowhere HTTP/1.1\r\nHost: here\r\nContent-Length: 5000\r\n\r\n", b" ", b" 404 "),  # answered already
        (b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n", b"", b" 200 "),  # idle afterwards
        (b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\nGET /healthz", b"", b" 200 "),  # half of the next
    ],
)
def test_slow_clients_are_cut_off(hasty: Running, begin: bytes, trickle: bytes, said: bytes) -> None:
    with link(hasty) as made:
        made.sendall(begin)
        took, answer = closed_after(made, trickle)
    assert took < 5, "limits are below half a second"
    assert said in answer if said else not answer


def test_connections_are_looked_at_once_however_often_they_come(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    real = Connection._look

    def look(self: Connection) -> None:
        looks.append(time.monotonic())
        real(self)

    monkeypatch.setattr(Connection, "_look", look)
    with gateway(pool_at(upstream.url, "plain"), values={"limits": LIMITS}) as running:  # type: ignore[attr-defined]
        for _ in range(50):
            assert status(sent(running, request(None, path="/healthz", method="GET"))) == 200
        with link(running) as stays:
            until = time.monotonic() + 0.35
            while time.monotonic() < until:
                assert status(sent(running, request(None, path="/healthz", method="GET"))) == 200
            stays.close()
        assert 1 <= len([at for at in looks if at > until - 0.35]) <= 5, "one every 0.1 s"


def test_slow_clients_do_not_keep_others_waiting(hasty: Running) -> None:
    slow = [link(hasty) for _ in range(100)]
    try:
        for one in slow:
            one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert status(sent(hasty, request({"model": "auto", "messages": ASK}))) == 200
        assert all(b" 408 " in heard(one) for one in slow)
    finally:
        for one in slow:
            one.close()


@pytest.mark.parametrize("stream", [True, False])
def test_who_does_not_read_holds_no_place(upstream: Upstream, stream: bool) -> None:
    """A stream, or an answer of some megabytes: after a while the connection is gone, and with it all that was held."""
    piece = {"choices": [{"index": 0, "delta": {"content": "x" * 8000}}]}
    big = {
        "choices": [{"message": {"content": "x" * 16_000_000}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    upstream.replies["flood"] = lambda body: [piece, 0.0005] * 3000 if body.get("stream") else big
    pool = pool_at(upstream.url, "flood", max_reply_bytes=2**25)  # type: ignore[attr-defined]
    limits = LimitSettings(unread_s=0.3, unread_bytes=2**22)
    service = Service(Setup(pool, {}, Keyring(), Recorder(), limits=limits), build_store("memory"))
    protocol = connections_of(service)
    with listening(app_of(service, check_settings({}, "here")), protocol) as url:
        running = Running(service, url)
        with link(running) as made:
            made.sendall(request({"model": "flood", "messages": ASK, "stream": stream}))
            eventually(lambda: service.metrics.in_flight._value.get() == 1)
            eventually(lambda: not protocol.living)
            assert len(heard(made)) < 16_000_000
        assert eventually(lambda: service.metrics.in_flight._value.get() == 0)


def test_a_request_that_takes_long_is_not_slow(upstream: Upstream) -> None:
    """The watch is on heads and bodies: an answer may take longer than either may."""
    upstream.replies["late"] = lambda body: [
        1.0,
        {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]},
    ]
    pool = pool_at(upstream.url, "late")  # type: ignore[attr-defined]
    with gateway(pool, values={"limits": LIMITS}) as running:
        answer = sent(running, request({"model": "late", "messages": ASK, "stream": True}))
    assert status(answer) == 200
    assert b"[DONE]" in answer
