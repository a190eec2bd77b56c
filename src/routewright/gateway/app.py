"""The gateway put together: settings -> pool, coordinators, store -> an ASGI application.

    app = build_app(read_settings("serve.toml"), Path("serve.toml").parent)

Not here: listening (`server.py`). Beside the dialects: models, traces, feedback, health, metrics.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from routewright.config import Config, parse
from routewright.errors import ConfigError, StoreError
from routewright.gateway import anthropic, openapi
from routewright.gateway.dialects.table import DIALECTS
from routewright.gateway.dialects.writing import openai_error
from routewright.gateway.endpoint import Endpoint, body_of, headers_of, retry
from routewright.gateway.faults import Fault, bad
from routewright.gateway.keys import Key, credential
from routewright.gateway.reload import reload_page
from routewright.gateway.served import header
from routewright.gateway.service import Service
from routewright.gateway.settings import Settings
from routewright.gateway.setup import make_setup
from routewright.gateway.shared import Shared
from routewright.stores.base import Feedback, Record, build_store

_log = logging.getLogger("routewright.gateway")
_FEEDBACK_BYTES = 65536
_HEX = set("0123456789abcdef")


def build_service(settings: Settings, base: Path) -> Service:
    """Everything but the network. Nothing is opened or called yet."""
    shared = Shared(settings.shared) if settings.shared is not None else None
    setup = make_setup(settings, base, shared=shared)
    options = dict(settings.store.options)
    if "path" in options:
        options["path"] = str(base / options["path"])
    store = build_store(settings.store.kind, options, settings.store.retain_days * 86400)
    service = Service(setup, store, shared)
    if settings.telemetry.otlp:
        from routewright.gateway.telemetry import Telemetry

        service.telemetry = Telemetry(settings.telemetry)
    return service


def build_app(settings: Settings, base: Path = Path()) -> Gateway:
    """The application. Paths in the settings are relative to `base`."""
    return app_of(build_service(settings, base), settings)


class Gateway:
    """The ASGI application. Requests for answers go straight to their endpoint, all else through Starlette.

    Starlette's routing and its two layers of error handling cost a tenth of what the gateway adds to a request.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], rest: Starlette) -> None:
        self._endpoints, self.rest = endpoints, rest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._endpoints:
            await self._endpoints[scope["path"]](scope, receive, send)
        else:
            await self.rest(scope, receive, send)


def app_of(service: Service, settings: Settings) -> Gateway:
    """The application of a service; the service is opened and closed with it."""
    pages = Pages(service)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.open()
        pages.ready = True
        try:
            yield
        finally:
            pages.ready = False
            await service.aclose()

    dialects = [DIALECTS.load(name)() for name in DIALECTS]
    endpoints = {one.path: Endpoint(service, one) for one in dialects}
    routes = [Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]
    routes += [
        Route("/v1/messages/count_tokens", anthropic.Counting(service, settings.limits).answer, methods=["POST"]),
        Route("/v1/models", pages.models),
        Route("/v1/models/{name:path}", pages.model),
        Route("/v1/traces/{trace_id}", pages.trace),
        Route("/v1/feedback", pages.feedback, methods=["POST"]),
        Route("/v1/admin/reload", partial(reload_page, service), methods=["POST"]),
        Route("/healthz", pages.healthz),
        Route("/readyz", pages.readyz),
        Route("/metrics", pages.metrics),
        Route("/openapi.json", openapi.page),
    ]
    if settings.page:
        from routewright.gateway.page.views import Page

        routes += Page(service, open_to_all=settings.insecure).routes
    rest = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={Fault: _fault, StoreError: _store, 404: _no_route, 405: _no_route, Exception: _defect},
    )
    return Gateway(endpoints, rest)


class FeedbackBody(Config):
    """The body of `POST /v1/feedback`."""

    trace_id: str
    score: float
    name: str = ""
    comment: str = ""


class Pages:
    """The endpoints beside the dialects."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.ready = False

    async def models(self, request: Request) -> Response:
        """What may be asked."""
        names = self._service.names(self._key(request))
        if anthropic.is_anthropic(request):
            return _json(anthropic.models([name for name, _ in names]))
        return _json({"object": "list", "data": [_model(name, kind) for name, kind in names]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        wanted = request.path_params["name"]
        for name, kind in self._service.names(self._key(request)):
            if name == wanted:
                return _json(anthropic.model(name) if anthropic.is_anthropic(request) else _model(name, kind))
        raise Fault(404, f"No model is called {wanted[:80]!r} here. GET /v1/models lists them.", "model_not_found")

    async def trace(self, request: Request) -> Response:
        """What was done for one request: its own key's, or anybody's for an admin."""
        key, trace_id = self._key(request), request.path_params["trace_id"]
        self._service.flush()
        record = await self._service.store.find(trace_id) if _is_trace(trace_id) else None
        if record is None or not (key.is_admin or record.key == key.name):
            raise Fault(404, "No such trace is kept here. Expected the trace id of an answer.", "trace_not_found")
        return _json(_trace(record))

    async def feedback(self, request: Request) -> Response:
        """Keep what somebody says about an answer; acknowledged once it is safe."""
        key = self._key(request)
        body = await body_of(headers_of(request.scope), request.receive, _FEEDBACK_BYTES, 10.0)
        given = _feedback(body)
        self._service.flush()
        store = self._service.store
        record = await store.find(given.trace_id)
        if record is None or not (key.is_admin or record.key == key.name):
            raise Fault(404, "No such trace is kept here. Expected the trace id of an answer.", "trace_not_found")
        comment = self._service.recorder.comment(given.comment)
        kept = Feedback(given.trace_id, given.score, given.name, comment, key.name, time.time())
        if not await store.feedback(kept):
            raise Fault(404, "No such trace is kept here any more.", "trace_not_found")
        return _json({"object": "feedback", "trace_id": given.trace_id, "score": given.score, "name": given.name})

    async def healthz(self, request: Request) -> Response:
        """The process is alive."""
        return _json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Requests can be served. A store in trouble is told, and a coordinator on its fallback; they stop nothing."""
        store, setup = self._service.store, self._service.setup
        ready = self.ready and not self._service.leaving
        status = "ready" if not setup.broken else "degraded"
        if not ready:
            status = "leaving" if self._service.leaving else "not ready"
        told = {"status": status, "store": "in trouble" if store.error else "ok"}
        if self._service.shared is not None:
            told["shared"] = "in trouble" if self._service.shared.away else "ok"
        if setup.broken:
            told["coordinators"] = f"{len(setup.broken)} of {len(setup.coordinators)} on the fallback"
        return _json(told, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """For Prometheus; admins only where there are keys."""
        if not self._key(request).is_admin:
            raise Fault(403, "Metrics are for keys with role = admin.", "forbidden")
        self._service.flush()
        telemetry = self._service.telemetry
        self._service.metrics.spans_lost.set(telemetry.lost if telemetry is not None else 0)
        text = self._service.metrics.text(self._service.store, self._service.endpoints)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _key(self, request: Request) -> Key:
        return self._service.keyring.find(credential(request.headers))


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def _model(name: str, kind: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "routewright", "kind": kind}


def _is_trace(text: str) -> bool:
    return len(text) == 32 and set(text) <= _HEX


def _trace(record: Record) -> dict[str, Any]:
    events = [msgspec.Raw(line) for line in record.trace.split(b"\n") if line]
    told = {name: getattr(record, name) for name in Record.__dataclass_fields__ if name not in ("trace", "trace_id")}
    return {"object": "trace", "id": record.trace_id, **told, "events": events}


def _feedback(body: bytes) -> FeedbackBody:
    try:
        given = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise bad("The body is no JSON. Expected trace_id and score.", code="invalid_json") from None
    if not isinstance(given, dict):
        raise bad("The body is no JSON object. Expected trace_id and score.", code="invalid_json")
    try:
        found = parse(FeedbackBody, given, "the feedback")
    except ConfigError as error:
        raise bad(str(error)) from None
    if not 0 <= found.score <= 1:
        raise bad(f"score = {found.score:g} is out of range. Expected 0 to 1.", "score")
    if not _is_trace(found.trace_id):
        raise bad("trace_id is none. Expected the 32 hexadecimal digits of an answer.", "trace_id")
    if len(found.name) > 64:
        raise bad("name is too long. Expected at most 64 characters.", "name")
    return found


async def _fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    extra = {name.decode(): value.decode() for name, value in retry(error)}
    return _refused(request, error, extra)


def _refused(request: Request, fault: Fault, headers: Mapping[str, str] | None = None) -> Response:
    body = anthropic.error(fault) if anthropic.is_anthropic(request) else openai_error(fault)
    return _json(body, fault.status, headers)


async def _store(request: Request, error: Exception) -> Response:
    _log.error("store: %s", error)
    said = "The store can not be used at the moment. Requests for answers are served all the same."
    return await _fault(request, Fault(503, said, "store_error", retry_after_s=1.0))


async def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    path = header(b"path", request.url.path)[1].decode()[:80]
    said = f"{request.method} {path} is not served here." if status == 404 else f"{path} does not take this method."
    return _refused(request, Fault(status, said, "no_route"), getattr(error, "headers", None))


async def _defect(request: Request, error: Exception) -> Response:
    return _refused(request, Fault(500, "The gateway failed. Its log says more.", "internal_error"))
