"""The page as a server gives it: who may see it, what is in it, and that nothing in it is taken for markup."""

from __future__ import annotations

import dataclasses
import http.client
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from routewright.errors import StoreError
from routewright.gateway.faults import Fault
from routewright.gateway.keys import Keyring
from routewright.gateway.page import draw, wording
from routewright.gateway.page.logins import COOKIE, Logins
from routewright.gateway.page.steps import steps_of
from routewright.gateway.settings import check_settings
from routewright.stores.base import Store, build_store
from routewright.stores.summary import Bucket, Summary
from tests.gateway.world import ASK, Running, Upstream, gateway, listening, pool_at
from tests.stores.records import record

ADMIN, CLIENT = "an-admins-long-key-1234", "a-clients-long-key-5678"
KEYS = [{"name": "ops", "env": "OPS_KEY", "role": "admin"}, {"name": "team", "env": "TEAM_KEY"}]
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


@pytest.fixture
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_KEY", ADMIN)
    monkeypatch.setenv("TEAM_KEY", CLIENT)


@dataclasses.dataclass
class Got:
    """An answer, its headers by names in lower case."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def token(self) -> str:
        """The login in its cookie; empty if there is none."""
        found = re.search(rf"{COOKIE}=([^;]+)", self.headers.get("set-cookie", ""))
        return found[1] if found else ""


def asked(
    running: Running,
    path: str = "/",
    method: str = "GET",
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Got:
    """One request, redirects not followed."""
    connection = http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
    finally:
        connection.close()


def login(running: Running, key: str, **headers: str) -> Got:
    named = {
        "content-type": "application/x-www-form-urlencoded",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    return asked(running, "/ui/login", "POST", urlencode({"key": key}), named)


PATHS = ("/", "/ui/numbers", "/ui/traces", "/ui/traces/" + "0" * 32)


def test_an_open_gateway_shows_what_it_did() -> None:
    upstream = Upstream()
    with listening(upstream.app) as up, gateway(pool_at(up, "small", "large"), {"auto": "self_refine"}) as running:
        assert "Nothing was asked yet" in asked(running).text
        done = running.client().chat.completions.create(model="auto", messages=ASK)
        trace_id = done.model_extra["routing"]["trace_id"]  # type: ignore[index]
        page = asked(running, "/?window=15m").text
        assert f'href="/ui/traces/{trace_id}"' in page
        assert 'aria-current="true">15m' in page
        trace = asked(running, f"/ui/traces/{trace_id}").text
        assert "2 steps" in trace
        assert "the answer" in trace
        assert "one two" not in page + trace, "no text is kept"
        assert "Zurich" not in trace
        assert asked(running, "/?window=nonsense&before=nonsense").status == 200
        assert asked(running, "/ui/traces/" + "0" * 32).status == 404
        assert asked(running, "/ui/traces/..%2f..%2fetc%2fpasswd").status == 404
        assert asked(running, "/ui/nothing").status == 404
        assert asked(running, "/ui/views.py").status == 404


def test_every_answer_of_the_page_allows_our_own_files_alone() -> None:
    with gateway(pool_at("http://127.0.0.1:1", "small")) as running:
        for path in (*PATHS, "/ui/page.js", "/ui/page.css", "/ui/icon.svg"):
            headers = asked(running, path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff"), path
        page = asked(running).text
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|javascript:", page), "nothing inline"
    assert not re.search(r"(src|href)=.(https?:)?//", page), "nothing from elsewhere"


@pytest.mark.usefixtures("_keys")
def test_where_there_are_keys_only_admins_see_it() -> None:
    with gateway(pool_at("http://127.0.0.1:1", "small"), values={"keys": KEYS}) as running:
        assert "Log in" in asked(running).text
        for path in PATHS[1:]:
            assert asked(running, path).status == 401, path
        for key, status in ((CLIENT, 403), ("wrong", 401), ("", 401), ("x" * 9000, 413)):
            refused = login(running, key)
            assert (refused.status, bool(refused.token)) == (status, False)
            assert key == "" or key not in refused.text
        done = login(running, ADMIN)
        assert (done.status, done.headers["location"]) == (303, "/")
        cookie = done.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert part in cookie
        assert ADMIN not in cookie
        assert "Secure" not in cookie
        assert "Secure" in login(running, ADMIN, x_forwarded_proto="https").headers["set-cookie"]
        token = {"cookie": f"{COOKIE}={done.token}"}
        for path in PATHS[:3]:
            assert "Log out" in asked(running, headers=token).text
            assert asked(running, path, headers=token).status == 200
            assert asked(running, path, headers={"cookie": f"{COOKIE}=guessed"}).text.count("Live traces") == 0
        assert asked(running, "/v1/models", headers=token).status == 401, "the API knows no cookie"
        assert asked(running, "/metrics", headers=token).status == 401
        bearer = {"authorization": f"Bearer {ADMIN}"}
        assert asked(running, "/ui/numbers", headers=bearer).status == 200
        bearer = {"authorization": f"Bearer {CLIENT}"}
        assert asked(running, "/ui/numbers", headers=bearer).status == 401
        out = asked(running, "/ui/logout", "POST", headers=token)
        assert out.status == 303
        assert asked(running, "/ui/numbers", headers=token).status == 401, "the token is dead, not just forgotten"


@pytest.mark.usefixtures("_keys")
def test_no_other_site_logs_anybody_in_or_out() -> None:
    with gateway(pool_at("http://127.0.0.1:1", "small"), values={"keys": KEYS}) as running:
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site", "origin": running.url},
        ):
            assert login(running, ADMIN, **headers).status == 403, headers
        done = login(running, ADMIN, origin=running.url)
        token = {"cookie": f"{COOKIE}={done.token}"}
        evil = token | {"origin": "https://evil.example"}
        assert asked(running, "/ui/logout", "POST", headers=evil).status == 403
        assert asked(running, "/ui/numbers", headers=token).status == 200


def test_without_keys_the_page_answers_to_names_of_this_machine() -> None:
    with gateway(pool_at("http://127.0.0.1:1", "small")) as running:
        for host, status in (
            ("evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("localhost:1", 200),
            ("[::1]", 200),
        ):
            assert asked(running, headers={"host": host}).status == status, host
    with gateway(pool_at("http://127.0.0.1:1", "small"), values={"insecure": True}) as running:
        assert asked(running, headers={"host": "router.example"}).status == 200


@pytest.mark.usefixtures("_keys")
def test_a_login_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring(check_settings({"pool": "p", "keys": KEYS}, "here").keys)
    logins = Logins()
    token = logins.login(keyring, ADMIN)
    assert logins.knows(keyring, token)
    assert not logins.knows(keyring, "")
    fewer = Keyring(check_settings({"pool": "p", "keys": KEYS[1:]}, "here").keys)
    assert not logins.knows(fewer, token), "its key is gone"
    assert not logins.knows(keyring, token), "and does not come back"
    token = logins.login(keyring, ADMIN)
    late = time.monotonic() + 13 * 3600
    monkeypatch.setattr(time, "monotonic", lambda: late)
    assert not logins.knows(keyring, token)
    first = logins.login(keyring, ADMIN)
    for _ in range(256):
        logins.login(keyring, ADMIN)
    assert not logins.knows(keyring, first), "the oldest makes room"
    for _ in range(100):
        with pytest.raises(Fault, match="not known"):
            logins.login(keyring, "wrong")
    assert logins.login(keyring, ADMIN), "nobody keeps an admin out by guessing"


def test_names_are_text_and_never_markup() -> None:
    store = build_store("memory")
    pool = pool_at("http://127.0.0.1:1", "small", EVIL)
    trace = (
        b'{"event":"step","wish":{"verb":"call","action":{"model":"<b>m</b>","role":"<i>"},"choices":["<u>c"],"reason":"<s>r",'
        b'"probability":0.5},"reply":{"model":"<em>","error":"<q>e","text":"<script>t","attempts":[{"model":"<a>","kind":"<k>",'
        b'"error":"x"}]}}\n{"event":"end","chosen":0}'
    )
    one = record(
        asked=EVIL, key=EVIL, answered_by=EVIL, models=(EVIL,), fallback=EVIL, policy=EVIL, stopped=EVIL, trace=trace
    )
    one = dataclasses.replace(one, query=EVIL, response=EVIL)
    store.record(one)
    with gateway(pool, {"auto": "single"}, store=store) as running:
        running.service.coordinators["auto"].coordinator.about = {"best_single": EVIL, "queries": 1}
        running.service.coordinators["auto"].coordinator.presets = {EVIL: 0.1}
        for path in ("/", "/ui/numbers", "/ui/traces", f"/ui/traces/{one.trace_id}"):
            text = asked(running, path).text
            assert "&lt;script&gt;alert(1)" in text, path
            for tag in ("<script>", "<img", "<b>m", "<i>", "<u>", "<s>r", "<em>", "<q>", "<k>"):
                assert tag not in text, (path, tag)


def test_a_page_can_be_left_out() -> None:
    with gateway(pool_at("http://127.0.0.1:1", "small"), values={"page": False}) as running:
        assert asked(running).status == 404


def test_older_traces_are_a_page_away() -> None:
    store = build_store("memory")
    given = [record(at=float(at)) for at in range(1, 41)]
    for one in given:
        store.record(one)
    with gateway(pool_at("http://127.0.0.1:1", "small"), store=store) as running:
        first = asked(running).text
        assert first.count("<tr data-href") == 25
        assert given[15].trace_id in first
        assert given[14].trace_id not in first
        older = re.search(r'href="(/\?[^"]*before=[^"]*)"', first)
        assert older
        second = asked(running, older[1].replace("&amp;", "&")).text
        assert second.count("<tr data-href") == 15
        assert given[14].trace_id in second
        assert 'data-part="/ui/traces"' not in second, "a page of old ones stands still"


def test_a_store_in_trouble_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway(pool_at("http://127.0.0.1:1", "small")) as running:

        async def broken(*_: Any) -> Any:
            raise StoreError("The store can not be read.")

        running.service.store.error = "disk full"
        assert "disk full" in asked(running).text
        monkeypatch.setattr(running.service.store, "recent", broken)
        told = asked(running)
        assert (told.status, "can not be read" in told.text) == (503, True)


def test_collapse_and_breakers_are_told_at_a_glance() -> None:
    store: Store = build_store("memory")
    for i in range(100):
        store.record(record(models=("large",) if i < 97 else ("small",), baseline_usd=3e-5))
    with gateway(pool_at("http://127.0.0.1:1", "small", breaker_failures=1), store=store) as running:
        breaker = running.service.endpoints[0].breaker
        breaker.in_a_row, breaker.open_until = 1, time.monotonic() + 60
        text = asked(running, "/ui/numbers").text
    assert "<b>97%</b> of the calls went to <b>large</b>" in text
    assert "its breaker is open" in text
    assert "$0.00100</p>" in text, "saved: 100 x (3e-5 - 2e-5)"


def test_charts_have_their_numbers_to_scale() -> None:
    buckets = (
        Bucket(0.0, 2, 0, 4.0, 4.0, 6.0, {"a": 3, "b": 1}),
        Bucket(20.0, 1, 1, 1.0, 1.0, 0.0, {"b": 1}),
    )
    summary = Summary(0.0, 40.0, 10.0, buckets, (0.1, 0.2))
    cost = draw.costs(summary)
    assert [(round(b.x, 2), b.y, b.height) for b in cost.bars] == [(2.0, 0.0, 100.0), (52.0, 75.0, 25.0)]
    assert (cost.zero, cost.top) == (100.0, "$4.0")
    saved = draw.savings(summary)
    assert [(round(b.y, 1), round(b.height, 1), b.colour) for b in saved.bars] == [
        (0, 66.7, "saved"),
        (66.7, 33.3, "lost"),
    ]
    assert (saved.top, saved.bottom) == ("$2.0", "−$1.0")
    parts = draw.shares(summary)
    assert [(p.model, p.calls, p.share) for p in parts] == [("a", 3, 0.6), ("b", 2, 0.4)]
    assert [(b.y, b.height) for b in draw.called(summary, parts).bars] == [(25.0, 75.0), (0.0, 25.0), (0.0, 100.0)]
    assert draw.collapsed(parts) is None
    many = draw.shares(Summary(0.0, 1.0, 1.0, (Bucket(0.0, calls={f"m{i}": 9 - i for i in range(9)}),)))
    assert [p.colour for p in many] == ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "rest"]
    empty = Summary(0.0, 40.0, 10.0)
    assert (draw.costs(empty).bars, draw.shares(empty)) == ((), [])
    few = draw.shares(Summary(0.0, 1.0, 1.0, (Bucket(0.0, calls={"m": 19}),)))
    assert draw.collapsed(few) is None, "too few to say"


def test_traces_of_other_versions_are_shown_as_far_as_they_go() -> None:
    assert steps_of(b"") == {"steps": [], "chosen": None, "ending": None, "graphs": []}
    odd = steps_of(b'{"event":"step"}\nnonsense\n[1]\n{"event":"step","wish":{"generate":{"model":"m"}},"reply":{}}')
    assert [s["verb"] for s in odd["steps"]] == ["?", "generate"]


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "–"), (1e-15, "$0.000000000000"), (-5.0, "−$5.00")])
def test_odd_amounts_have_a_wording(value: float, text: str) -> None:
    assert wording.usd(value) == text
