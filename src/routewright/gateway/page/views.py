"""The page's routes: the overview, the parts of it that renew themselves, one trace, logging in and out, its own files.

For admins: where there are keys, by a login (`logins.py`) or an admin's `Authorization`; without keys it is open to whom
the gateway is, and answers only to names of this machine, so that no other site can have a browser ask under its own name.
Everything shown is other people's text and goes through the templates' escaping; the policy sent with every page allows no
script and no style but our own files.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from routewright import __version__
from routewright.errors import StoreError
from routewright.gateway.asked import Routing
from routewright.gateway.endpoint import body_of, headers_of
from routewright.gateway.faults import Fault
from routewright.gateway.keys import credential
from routewright.gateway.page import draw, wording
from routewright.gateway.page.logins import COOKIE, Logins
from routewright.gateway.page.steps import steps_of
from routewright.gateway.service import Service
from routewright.stores.summary import Summary

_HERE = Path(__file__).parent
_FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_WINDOWS = {"15m": (15.0, 60), "1h": (60.0, 60), "24h": (1800.0, 48), "7d": (10800.0, 56), "30d": (43200.0, 60)}
_ROWS = 25  # traces in the list
_FRESH_S = 2.0  # a summary is read at most so often
_LOGIN_BYTES = 4096
_GUARDS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HEX = set("0123456789abcdef")


class Page:
    """The web page of one gateway."""

    def __init__(self, service: Service, open_to_all: bool = False) -> None:
        self._service, self._open_to_all = service, open_to_all
        self._logins = Logins()
        self._summaries: dict[str, tuple[float, Summary]] = {}
        self._reading = asyncio.Lock()

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/", self._guarded(self._overview)),
            Route("/ui/numbers", self._guarded(self._numbers)),
            Route("/ui/traces", self._guarded(self._traces)),
            Route("/ui/traces/{trace_id}", self._guarded(self._trace)),
            Route("/ui/login", self._login, methods=["POST"]),
            Route("/ui/logout", self._logout, methods=["POST"]),
            Route("/ui/{name}", self._file),
        ]

    # who may look

    def _guarded(self, view: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if not self._service.keyring.keys:
                if not self._is_own_name(request):
                    said = "Without keys this page answers only to names of this machine. Use http://127.0.0.1, or add keys."
                    return await self._page("problem.html.j2", 403, title="Not here", said=said)
            elif not self._may(request):
                if request.url.path != "/":
                    return await self._page(
                        "problem.html.j2", 401, title="Logged out", said="Log in at the start page."
                    )
                return await self._page("login.html.j2", said="")
            try:
                return await view(request)
            except StoreError as error:
                return await self._page("problem.html.j2", 503, title="The store can not be read", said=str(error))

        return guarded

    def _is_own_name(self, request: Request) -> bool:
        if self._open_to_all:
            return True
        try:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False

    def _may(self, request: Request) -> bool:
        keyring = self._service.keyring
        if self._logins.knows(keyring, request.cookies.get(COOKIE, "")):
            return True
        try:
            return keyring.find(credential(request.headers)).is_admin
        except Fault:
            return False

    async def _login(self, request: Request) -> Response:
        if not _from_here(request):
            return await self._page("problem.html.j2", 403, title="Not here", said="Log in at the start page itself.")
        try:
            body = await body_of(headers_of(request.scope), request.receive, _LOGIN_BYTES, 10.0)
            presented = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
            token = self._logins.login(self._service.keyring, presented)
        except Fault as fault:
            return await self._page("login.html.j2", fault.status, said=fault.message)
        done = RedirectResponse("/", 303, _GUARDS)
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))  # behind what speaks TLS
        done.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/")
        return done

    async def _logout(self, request: Request) -> Response:
        if not _from_here(request):
            return await self._page("problem.html.j2", 403, title="Not here", said="Log out at the start page itself.")
        self._logins.logout(request.cookies.get(COOKIE, ""))
        done = RedirectResponse("/", 303, _GUARDS)
        done.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
        return done

    # what there is to see

    async def _overview(self, request: Request) -> Response:
        window = _window(request)
        return await self._page(
            "overview.html.j2",
            window=window,
            windows=list(_WINDOWS),
            coordinators=self._coordinators(),
            names=[name for name, _ in self._names()],
            locked=bool(self._service.keyring.keys),
            **await self._seen(window),
            **await self._listed(_before(request)),
        )

    async def _numbers(self, request: Request) -> Response:
        window = _window(request)
        return await self._page("numbers.html.j2", window=window, **await self._seen(window))

    async def _traces(self, request: Request) -> Response:
        return await self._page("traces.html.j2", **await self._listed())

    async def _trace(self, request: Request) -> Response:
        trace_id = request.path_params["trace_id"]
        self._service.flush()
        known = len(trace_id) == 32 and set(trace_id) <= _HEX
        record = await self._service.store.find(trace_id) if known else None
        if record is None:
            said = "No such trace is kept here. It may have been too old."
            return await self._page("problem.html.j2", 404, title="No such trace", said=said)
        return await self._page("trace.html.j2", r=record, **steps_of(record.trace))

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            raise Fault(404, "Nothing is here.", "no_route")
        headers = {**_GUARDS, "cache-control": "no-cache"}
        return Response(self._files[name], 200, headers, _FILES[name] + "; charset=utf-8")

    @cached_property
    def _files(self) -> dict[str, bytes]:
        return {name: (_HERE / "static" / name).read_bytes() for name in _FILES}

    @cached_property
    def _templates(self) -> Environment:
        made = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for name in ("count", "usd", "seconds", "percent", "chance", "iso", "clock"):
            made.filters[name] = getattr(wording, name)
        made.filters["bucket_length"] = wording.length  # `length` is the template language's own
        made.globals["version"] = __version__
        return made

    async def _page(self, template: str, status: int = 200, **facts: Any) -> Response:
        def rendered() -> str:  # some milliseconds, which the event loop need not wait for
            return self._templates.get_template(template).render(**facts)

        return Response(await asyncio.to_thread(rendered), status, _GUARDS, "text/html; charset=utf-8")

    async def _seen(self, window: str) -> Mapping[str, Any]:
        """The numbers of a window, and what is drawn of them."""
        async with self._reading:
            kept = self._summaries.get(window)
            if kept is None or time.monotonic() - kept[0] > _FRESH_S:
                bucket_s, n = _WINDOWS[window]
                until = (time.time() // bucket_s + 1) * bucket_s
                made = await self._service.store.over_time(until - n * bucket_s, until, bucket_s)
                kept = self._summaries[window] = (time.monotonic(), made)
        summary = kept[1]
        parts = draw.shares(summary)
        store = self._service.store
        return {
            "summary": summary,
            "total": summary.total,
            "costs": draw.costs(summary),
            "savings": draw.savings(summary),
            "called": draw.called(summary, parts),
            "shares": parts,
            "collapsed": draw.collapsed(parts),
            "compared": any(s.baseline(self._service.pool) for s in self._service.coordinators.values()),
            "breakers": [(e.name, e.breaker.state) for e in self._service.endpoints if e.breaker.state != "closed"],
            "in_flight": self._service.metrics.being_served,
            "trouble": store.error,
            "lost": store.lost,
        }

    async def _listed(self, before: float = math.inf) -> Mapping[str, Any]:
        self._service.flush()
        records = await self._service.store.recent(_ROWS, before)
        older = repr(records[-1].at) if len(records) == _ROWS else ""
        return {"records": records, "before": before if before < math.inf else 0.0, "older": older}

    def _coordinators(self) -> list[dict[str, Any]]:
        """What is known of each from its training."""
        out = []
        for name, serving in self._service.coordinators.items():
            card, about = serving.baseline(self._service.pool), serving.coordinator.about
            out.append(
                {
                    "name": name,
                    "policy": serving.coordinator.policy.kind,
                    "presets": sorted(serving.coordinator.presets.items(), key=lambda item: item[1]),
                    "value_usd": serving.value_usd(Routing(), ""),
                    "best_single": str(about.get("best_single") or ""),
                    "queries": about.get("queries") or 0,
                    "baseline": card.name if card is not None else "",
                    "frontier": serving.frontier,
                }
            )
        return out

    def _names(self) -> list[tuple[str, str]]:
        names = [(name, "coordinator") for name in self._service.coordinators]
        for name, serving in self._service.coordinators.items():
            names += [(f"{name}:{preset}", "coordinator") for preset in serving.coordinator.presets]
        return names + [(name, "model") for name in self._service.pool.models]


def _window(request: Request) -> str:
    asked = request.query_params.get("window", "1h")
    return asked if asked in _WINDOWS else "1h"


def _before(request: Request) -> float:
    """A moment within the calendar's reach; infinity: now."""
    try:
        asked = float(request.query_params.get("before", "inf"))
    except ValueError:
        return math.inf
    return asked if 0 < asked < 1e11 else math.inf


def _from_here(request: Request) -> bool:
    """Whether a form was sent by our own page: no other site can log anybody in or out."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
