"""What stands behind and beside the gateway: an upstream that answers at once (or as its path says), and a bare relay to it.

    python -m benchmarks.gateway.upstream upstream PORT
    python -m benchmarks.gateway.upstream relay PORT UPSTREAM
    python -m benchmarks.gateway.upstream lean PORT UPSTREAM

Neither keeps, checks or counts anything: the relay is the least a proxy on uvicorn and aiohttp can do.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

FAULTS = 0.01  # below /faulty
WORDS, FRAMES = "word " * 120, 24


def whole() -> bytes:
    """A reply of some 0.8 kB."""
    choice = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 200, "completion_tokens": 120, "total_tokens": 320}
    return json.dumps(
        {"id": "u", "object": "chat.completion", "model": "u", "choices": [choice], "usage": usage}
    ).encode()


def streamed(frames: int) -> list[bytes]:
    """A reply of so many chunks, and its usage."""
    texts = (
        "word " * 5 + f"{i} " for i in range(frames)
    )  # all of them different: LiteLLM ends a stream that repeats itself
    pieces: list[Any] = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in texts]
    pieces.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks: list[Any] = [{"id": "u", "object": "chat.completion.chunk", "model": "u", "choices": [p]} for p in pieces]
    chunks.append({"choices": [], "usage": {"prompt_tokens": 200, "completion_tokens": 120, "total_tokens": 320}})
    return [b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks] + [b"data: [DONE]\n\n"]


WHOLE, STREAMED = whole(), streamed(FRAMES)
PACED = streamed(250)  # 250 pieces; below /paced, 50 a second
JSON = [(b"content-type", b"application/json"), (b"content-length", str(len(WHOLE)).encode())]
SSE = [(b"content-type", b"text/event-stream")]


async def body_of(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def upstream(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, streamed where the body asks for it."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    body = await body_of(receive)
    if scope["path"].startswith("/slow"):
        await asyncio.sleep(0.1)
    if scope["path"].startswith("/faulty") and random.random() < FAULTS:
        await send({"type": "http.response.start", "status": 503, "headers": JSON[:1]})
        await send({"type": "http.response.body", "body": b'{"error": {"message": "busy"}}'})
        return
    if b'"stream":true' not in body.replace(b" ", b""):
        await send({"type": "http.response.start", "status": 200, "headers": JSON})
        await send({"type": "http.response.body", "body": WHOLE})
        return
    await send({"type": "http.response.start", "status": 200, "headers": SSE})
    paced = scope["path"].startswith("/paced")
    for part in PACED if paced else STREAMED:
        await send({"type": "http.response.body", "body": part, "more_body": True})
        if paced:
            await asyncio.sleep(0.02)
    await send({"type": "http.response.body", "body": b""})


def relay(base: str) -> Any:
    """Passes bodies on to the same path below `base`, and back as they come."""
    import aiohttp

    held: dict[str, aiohttp.ClientSession] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await lifespan(receive, send)
            return
        body = await body_of(receive)
        if "session" not in held:
            held["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with held["session"].post(
            base + scope["path"], data=body, headers={"content-type": "application/json"}
        ) as answer:
            kind = answer.headers["content-type"].encode()
            await send({"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", kind)]})
            async for part in answer.content.iter_any():
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def lean_relay(base: str) -> Any:
    """The relay with the gateway's own client instead of aiohttp."""
    from yarl import URL

    from routewright.pools.providers.connections import Connections

    held: dict[str, Connections] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await lifespan(receive, send)
            return
        body, path = await body_of(receive), scope["path"]
        if path not in held:
            held[path] = Connections(URL(base + path), {"Content-Type": "application/json"}, None)
        answer = await held[path].post({}, body, 10.0, 120.0)
        kind = answer.headers["content-type"].encode()
        await send({"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", kind)]})
        while part := await answer.read_some():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        held[path].release(answer)
        await send({"type": "http.response.body", "body": b""})

    return app


def main() -> None:
    import uvicorn

    what, port = sys.argv[1], int(sys.argv[2])
    app = upstream if what == "upstream" else {"relay": relay, "lean": lean_relay}[what](sys.argv[3])
    uvicorn.run(
        app,
        port=port,
        log_level="error",
        access_log=False,
        date_header=False,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=600,  # else a peer that waits its turn finds its connections closed
    )


if __name__ == "__main__":
    main()
