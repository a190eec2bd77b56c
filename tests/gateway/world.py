"""A gateway and an upstream on free loopback ports, each a real server in a thread of this process."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import openai
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from routewright.coordinator import Coordinator
from routewright.gateway.app import app_of
from routewright.gateway.connection import connections_of
from routewright.gateway.job import Serving
from routewright.gateway.keys import Keyring
from routewright.gateway.records import Recorder
from routewright.gateway.service import Service
from routewright.gateway.settings import CoordinatorEntry, Settings, check_settings
from routewright.gateway.setup import Setup
from routewright.policies.base import Policy, build_policy
from routewright.pools.pool import Pool, load_pool
from routewright.stores.base import Store, build_store


@contextmanager
def listening(app: Any, http: Any = "auto") -> Iterator[str]:
    """The address of an ASGI application that is being served, and then ended in order. `http` is uvicorn's protocol."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=http, log_level="error", access_log=False, lifespan="on", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive())
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive()


def eventually(true: Callable[[], Any], within_s: float = 30.0) -> Any:
    """Wait until something holds; what it gives."""
    until = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)
    return found


class Upstream:
    """An OpenAI endpoint that does what it is told: `replies` maps a model to a function of the request's body.

    It gives a dict (the whole reply), a list (chunks, a float among them waits), or a status and a dict. After the last
    chunk comes [DONE]; a list that ends in None is cut off instead. `bodies` holds what was asked, `left` counts clients
    that went away in mid-stream.
    """

    def __init__(self, replies: Mapping[str, Callable[[dict[str, Any]], Any]] | None = None) -> None:
        self.replies = dict(replies or {})
        self.bodies: list[dict[str, Any]] = []
        self.left = 0
        self.app = Starlette(routes=[Route("/v1/chat/completions", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.bodies.append(body)
        made = self.replies.get(body["model"], plain)(body)
        if isinstance(made, tuple):
            return JSONResponse(made[1], made[0], headers=made[2] if len(made) > 2 else None)
        if isinstance(made, dict):
            return JSONResponse(made)
        return StreamingResponse(self._chunks(made), media_type="text/event-stream")

    async def _chunks(self, made: list[Any]) -> AsyncIterator[bytes]:
        try:
            for item in made:
                if item is None:
                    raise ConnectionError("cut off, as asked")
                if isinstance(item, float):
                    await asyncio.sleep(item)
                else:
                    yield b"data: " + json.dumps(item).encode() + b"\n\n"
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.left += 1
            raise


def whole(message: Any, usage: tuple[int, int] = (10, 5), **choice: Any) -> dict[str, Any]:
    """A whole reply of one choice."""
    if isinstance(message, str):
        message = {"role": "assistant", "content": message}
    return {
        "id": "up-1",
        "object": "chat.completion",
        "model": "up",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)},
    }


def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of one choice."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish, **more}
    return {"id": "up-1", "object": "chat.completion.chunk", "model": "up", "choices": [choice]}


USAGE_CHUNK = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}


def plain(body: Mapping[str, Any]) -> Any:
    """What an upstream says by default: streamed as three words, or whole."""
    if body.get("stream"):
        return [chunk({"content": w}) for w in ("one", " two", " three")] + [chunk({}, "stop"), USAGE_CHUNK]
    return whole("one two three")


def pool_at(base_url: str, *models: str, **options: Any) -> Pool:
    """Models behind an upstream, 1 and 2 USD per million tokens; retries without waits."""
    settings = {"kind": "openai", "base_url": base_url + "/v1", "backoff_s": 0.0, "breaker_failures": 0, **options}
    prices = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 2, "output_tokens": 100}
    able = ["tools", "images", "json"]
    entries = [{"name": m, "provider": "up", **prices, "capabilities": able} for m in models]
    return load_pool({"providers": {"up": settings}, "models": entries})


class Running:
    """A gateway that is being served."""

    def __init__(self, service: Service, url: str) -> None:
        self.service, self.url = service, url

    def client(self, key: str = "none") -> openai.OpenAI:
        """The official client, as a user has it, but that it does not try again."""
        return openai.OpenAI(base_url=self.url + "/v1", api_key=key, max_retries=0, timeout=60)

    def record(self, trace_id: str) -> Any:
        """What the store has of a request."""
        return eventually(lambda: asyncio.run(self._find(trace_id)))

    async def _find(self, trace_id: str) -> Any:
        return await self.service.store.find(trace_id)

    def last(self) -> Any:
        """The newest record of the memory store, once all that has ended is in it."""
        eventually(lambda: not self.service._ended)
        records = self.service.store._records  # type: ignore[attr-defined]
        return eventually(lambda: next(reversed(list(records.values())), None))


@contextmanager
def gateway(
    pool: Pool,
    coordinators: Mapping[str, Policy | Coordinator | str] | None = None,
    values: Mapping[str, Any] | None = None,
    store: Store | None = None,
    recorder: Recorder | None = None,
    entries: Mapping[str, Mapping[str, Any]] | None = None,
    telemetry: Any = None,
) -> Iterator[Running]:
    """Serve a pool. Coordinators are policies, by name or made; `values` are those of a serve file."""
    settings: Settings = check_settings({"pool": "unused", **(values or {})}, "the test")
    serving = {}
    for name, made in (coordinators or {}).items():
        policy = build_policy(made) if isinstance(made, str) else made
        one = policy if isinstance(policy, Coordinator) else Coordinator(policy)
        entry = CoordinatorEntry.model_validate({"policy": "single", **(entries or {}).get(name, {})})
        serving[name] = Serving(one, entry)
    setup = Setup(
        pool,
        serving,
        Keyring(settings.keys),
        recorder or Recorder(),
        limits=settings.limits,
        sessions=settings.sessions,
    )
    service = Service(setup, store or build_store("memory"))
    service.telemetry = telemetry
    with listening(app_of(service, settings), connections_of(service)) as url:
        yield Running(service, url)


ASK: list[Any] = [{"role": "user", "content": "How many vowels are in Zurich?"}]
