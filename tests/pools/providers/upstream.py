"""A faulty upstream on loopback, for tests of providers and of whatever calls them.

It speaks the OpenAI chat protocol (`/v1/chat/completions`) and Anthropic's (`/v1/messages`), streamed or not as the
request asks. What it does is the behaviour named by the request's model, or the next one of a script:

    async with Upstream() as up:                              # in the test's own event loop
        provider = build_provider("openai", {"base_url": up.base_url})
        up.script("server_error", "good")                     # the next two requests, whatever their model
        up.script("rate_limit", model="small")                # the next request for the model `small`
        ...
        assert [seen.model for seen in up.requests] == [...]

    with Upstream.in_thread() as up: ...                      # beside a test that has no event loop

A model that is no behaviour's name is `good`: it says `up.answer(seen)`, by default "You said: " and the last message,
cut to max_tokens words, and counts words as tokens. Behaviours are the keys of `BEHAVIOURS`; a script also takes
`Canned` replies, which are sent as they are.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

EXPIRED = Path(__file__).with_name("expired.pem")  # self-signed for localhost, expired in 2020; its key secures nothing
NO_SUCH_HOST = "http://upstream.invalid/v1"  # RFC 6761: has no address, ever
DRIP_S = 0.2


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    behaviour: str

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def last(self) -> str:
        """The text of the last message."""
        content = self.body["messages"][-1].get("content") if self.body.get("messages") else ""
        return content if isinstance(content, str) else json.dumps(content)


@dataclass(frozen=True)
class Canned:
    """A reply sent as it is: its chunks one by one, `gap_s` seconds apart. `cut` closes the connection after them."""

    chunks: tuple[bytes, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    gap_s: float = 0.0
    cut: bool = False

    @classmethod
    def stream(cls, data: bytes, size: int = 0, **more: Any) -> Canned:
        """Server-sent events, in pieces of `size` bytes (0: one piece)."""
        pieces = tuple(data[i : i + size] for i in range(0, len(data), size)) if size else (data,)
        return cls(pieces, headers={"Content-Type": "text/event-stream"}, **more)


@dataclass
class Said:
    """What a reply says, in no protocol's form yet."""

    text: str
    tokens_in: int | None
    tokens_out: int
    model: str
    finish: str = "stop"
    tool: tuple[str, str] | None = None  # name and arguments of one call


def say(up: Upstream, seen: Seen) -> Said:
    """The good answer: at most max_tokens words."""
    limit = int(seen.body.get("max_tokens") or seen.body.get("max_completion_tokens") or 10**9)
    words = up.answer(seen).split(" ")
    asked = sum(len(str(message.get("content")).split()) for message in seen.body.get("messages", []))
    finish = "stop" if len(words) <= limit else "length"
    return Said(" ".join(words[:limit]), asked, min(len(words), limit), seen.model, finish)


# ---- the two protocols' forms ----


def whole(seen: Seen, said: Said) -> bytes:
    """The reply as one JSON body."""
    if seen.path.endswith("/messages"):
        return json.dumps(anthropic_message(said)).encode()
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
    if said.tool:
        message.update(content=None, tool_calls=[_openai_call(said)])
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": said.model,
        "choices": [{"index": 0, "message": message, "finish_reason": said.finish, "logprobs": None}],
    }
    if said.tokens_in is not None:
        body["usage"] = _openai_usage(said)
    return json.dumps(body).encode()


def events(seen: Seen, said: Said) -> Iterator[bytes]:
    """The reply as server-sent events, a word each."""
    words = [word if i == 0 else " " + word for i, word in enumerate(said.text.split(" "))] if said.text else []
    if seen.path.endswith("/messages"):
        yield from anthropic_events(said, words)
        return

    def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choices = [] if more.get("usage") else [{"index": 0, "delta": delta, "finish_reason": finish}]
        body = {"id": "c1", "object": "chat.completion.chunk", "model": said.model, "choices": choices, **more}
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    yield chunk({"role": "assistant", "content": ""})
    for word in words:
        yield chunk({"content": word})
    if said.tool:
        call = _openai_call(said)
        yield chunk({"tool_calls": [{"index": 0, **call, "function": {**call["function"], "arguments": ""}}]})
        for letter in said.tool[1]:
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": letter}}]})
    yield chunk({}, said.finish)
    if said.tokens_in is not None and seen.body.get("stream_options", {}).get("include_usage"):
        yield chunk({}, usage=_openai_usage(said))
    yield b"data: [DONE]\n\n"


def _openai_call(said: Said) -> dict[str, Any]:
    assert said.tool is not None
    return {"id": "call_1", "type": "function", "function": {"name": said.tool[0], "arguments": said.tool[1]}}


def _openai_usage(said: Said) -> dict[str, Any]:
    total = (said.tokens_in or 0) + said.tokens_out
    return {"prompt_tokens": said.tokens_in, "completion_tokens": said.tokens_out, "total_tokens": total}


_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def anthropic_message(said: Said) -> dict[str, Any]:
    """A whole reply of the Messages API."""
    content: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text else []
    if said.tool:
        content = [{"type": "tool_use", "id": "toolu_1", "name": said.tool[0], "input": json.loads(said.tool[1])}]
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": said.model, "content": content}
    body.update(stop_reason=_STOP[said.finish], stop_sequence=None)
    if said.tokens_in is not None:
        body["usage"] = {"input_tokens": said.tokens_in, "output_tokens": said.tokens_out}
    return body


def anthropic_events(said: Said, words: list[str]) -> Iterator[bytes]:
    """A streamed reply of the Messages API."""

    def event(kind: str, **more: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()

    start = anthropic_message(Said("", said.tokens_in, 1, said.model))
    yield event("message_start", message={**start, "stop_reason": None})
    yield event("ping")
    block: dict[str, Any] = {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": word} for word in words]
    if said.tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": said.tool[0], "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": letter} for letter in said.tool[1]]
    yield event("content_block_start", index=0, content_block=block)
    for delta in deltas:
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    usage = {} if said.tokens_in is None else {"usage": {"output_tokens": said.tokens_out}}
    yield event("message_delta", delta={"stop_reason": _STOP[said.finish], "stop_sequence": None}, **usage)
    yield event("message_stop")


# ---- behaviours ----

Behaviour = Callable[["Upstream", Seen, web.Request], Awaitable[web.StreamResponse]]


async def send(seen: Seen, request: web.Request, said: Said) -> web.StreamResponse:
    """A reply in the form the request asks for."""
    if not seen.stream:
        return web.Response(body=whole(seen, said), content_type="application/json")
    return await send_events(request, events(seen, said))


async def send_events(request: web.Request, pieces: Iterator[bytes]) -> web.StreamResponse:
    """Server-sent events, each written by itself."""
    reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await reply.prepare(request)
    for piece in pieces:
        await reply.write(piece)
    await reply.write_eof()
    return reply


def refuse(status: int, message: str, code: str | None = None, **headers: str) -> Behaviour:
    """A status with an error body that both protocols' clients understand."""

    async def behave(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
        error = {"message": message, "type": code or "error", "code": code}
        return web.json_response({"type": "error", "error": error}, status=status, headers=headers)

    return behave


def with_said(**changes: Any) -> Behaviour:
    """The good answer with some fields changed."""

    async def behave(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
        said = say(up, seen)
        for name, value in changes.items():
            setattr(said, name, value)
        return await send(seen, request, said)

    return behave


async def hang(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Never answers; ends when the client leaves or the upstream stops."""
    await up.stopping.wait()
    return web.Response(status=503)


async def stall(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Sends the first half of the reply, then nothing more."""
    await _half(up, seen, request)
    await up.stopping.wait()
    return web.Response(status=503)


async def cut(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Sends the first half of the reply, then closes the connection."""
    reply = await _half(up, seen, request)
    if request.transport is not None:
        request.transport.close()
    return reply


async def early_end(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Sends the first half of the reply and ends it in good order: HTTP is whole, the stream is not."""
    reply = await _half(up, seen, request)
    await reply.write_eof()
    return reply


async def _half(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    said = say(up, seen)
    pieces = list(events(seen, said)) if seen.stream else [whole(seen, said)[:40], b""]
    kind = "text/event-stream" if seen.stream else "application/json"
    reply = web.StreamResponse(headers={"Content-Type": kind})
    await reply.prepare(request)
    for piece in pieces[: (len(pieces) + 1) // 2]:
        await reply.write(piece)
    return reply


async def drip(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Sends a byte every `DRIP_S` seconds, and so would take minutes."""
    said = say(up, seen)
    data = b"".join(events(seen, said)) if seen.stream else whole(seen, said)
    kind = "text/event-stream" if seen.stream else "application/json"
    reply = web.StreamResponse(headers={"Content-Type": kind})
    await reply.prepare(request)
    for i in range(len(data)):
        if up.stopping.is_set():
            break
        await reply.write(data[i : i + 1])
        await asyncio.sleep(DRIP_S)
    return reply


async def reset(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Reads the request and closes the connection without a word."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def malformed(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Sends what is no JSON."""
    if seen.stream:
        return await send_events(request, iter([b'data: {"choices": [{"index": 0,\n\n', b"data: [DONE]\n\n"]))
    return web.Response(body=b'{"choices": [{"index": 0,', content_type="application/json")


async def empty(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Sends JSON without a choice in it."""
    if seen.stream:
        return await send_events(request, iter([b"data: [DONE]\n\n"]))
    return web.json_response({"id": "c1", "choices": [], "model": seen.model})


async def error_inside(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Status 200 with an error in the body; in a stream, after the first half."""
    error = {"type": "error", "error": {"message": "the engine stopped", "type": "overloaded_error", "code": 502}}
    if not seen.stream:
        return web.json_response(error)
    pieces = list(events(seen, say(up, seen)))
    last = b"data: " + json.dumps(error).encode() + b"\n\n"
    return await send_events(request, iter([*pieces[: (len(pieces) + 1) // 2], last]))


async def tools(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Calls the tool `find` instead of answering."""
    said = Said("", say(up, seen).tokens_in, 9, seen.model, "tool_calls", ("find", '{"name": "Zürich", "n": [1, 2]}'))
    return await send(seen, request, said)


async def big(up: Upstream, seen: Seen, request: web.Request) -> web.StreamResponse:
    """Says 10 MB."""
    said = say(up, seen)
    said.text, said.tokens_out = " ".join(["x" * 99_999] * 100), 2_500_000
    return await send(seen, request, said)


BEHAVIOURS: dict[str, Behaviour] = {
    "good": with_said(),
    "no_usage": with_said(tokens_in=None),
    "zero_usage": with_said(tokens_in=0, tokens_out=0),
    "huge_usage": with_said(tokens_in=10**9, tokens_out=10**9),
    "negative_usage": with_said(tokens_in=-5),
    "wrong_model": with_said(model="quite-another-model"),
    "tools": tools,
    "hang": hang,
    "stall": stall,
    "drip": drip,
    "reset": reset,
    "cut": cut,
    "early_end": early_end,
    "malformed": malformed,
    "empty": empty,
    "error_inside": error_inside,
    "big": big,
    "rate_limit": refuse(429, "slow down", "rate_limit_exceeded", **{"Retry-After": "2"}),
    "server_error": refuse(500, "it broke"),
    "overloaded": refuse(529, "Overloaded", "overloaded_error"),
    "conflict": refuse(409, "try again"),
    "unauthorized": refuse(401, "Incorrect API key provided: sk-abcdef123456.", "invalid_api_key"),
    "not_found": refuse(404, "no such model", "model_not_found"),
    "bad_request": refuse(400, "temperature is not supported", "unsupported_value"),
    "too_long": refuse(
        400, "This model's maximum context length is 10 tokens, yours has 11.", "context_length_exceeded"
    ),
    "redirect": refuse(302, "elsewhere", **{"Location": "http://elsewhere.invalid/"}),
}


class Upstream:
    """The server. `requests` records every request in the order it came, `calls(model)` counts them."""

    def __init__(self, *, tls: bool = False) -> None:
        self.requests: list[Seen] = []
        self.answer: Callable[[Seen], str] = lambda seen: f"You said: {seen.last}"
        self.stopping = asyncio.Event()
        self._script: deque[str | Canned] = deque()
        self._by_model: dict[str, deque[str | Canned]] = {}
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def root(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}" if not self._tls else f"https://localhost:{self.port}"

    @property
    def base_url(self) -> str:
        """`base_url` for a provider."""
        return self.root + "/v1"

    def script(self, *behaviours: str | Canned, model: str | None = None) -> None:
        """What the next requests get, one each; with `model`, the next ones for that model."""
        unknown = [name for name in behaviours if isinstance(name, str) and name not in BEHAVIOURS]
        assert not unknown, f"no behaviour {unknown}; known: {sorted(BEHAVIOURS)}"
        (self._script if model is None else self._by_model.setdefault(model, deque())).extend(behaviours)

    def calls(self, model: str | None = None) -> int:
        """How many requests came, of one model or in all."""
        return sum(model is None or seen.model == model for seen in self.requests)

    async def __aenter__(self) -> Upstream:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(EXPIRED)
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        model = str(body.get("model", ""))
        queue = self._by_model.get(model) or self._script
        todo = queue.popleft() if queue else (model if model in BEHAVIOURS else "good")
        name = todo if isinstance(todo, str) else "canned"
        seen = Seen(request.path, dict(request.query), dict(request.headers), body, name)
        self.requests.append(seen)
        if isinstance(todo, str):
            return await BEHAVIOURS[todo](self, seen, request)
        reply = web.StreamResponse(status=todo.status, headers=dict(todo.headers))
        await reply.prepare(request)
        for chunk in todo.chunks:
            await reply.write(chunk)
            await asyncio.sleep(todo.gap_s)
        if todo.cut and request.transport is not None:
            request.transport.close()
        return reply

    @staticmethod
    @contextmanager
    def in_thread(*, tls: bool = False) -> Iterator[Upstream]:
        """The server in a thread of its own, until the `with` ends."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        up = Upstream(tls=tls)
        try:
            asyncio.run_coroutine_threadsafe(up.__aenter__(), loop).result(10)
            yield up
        finally:
            asyncio.run_coroutine_threadsafe(up.__aexit__(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


_HELD: list[socket.socket] = []  # bound, so that nobody else is given the port; not listening, so that it is refused


def closed_port() -> str:
    """A `base_url` at which nobody listens, as long as the tests run."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    return f"http://127.0.0.1:{held.getsockname()[1]}/v1"


async def pieces_of(stream: AsyncIterator[Any]) -> list[Any]:
    """All that a provider's stream yields."""
    return [piece async for piece in stream]
