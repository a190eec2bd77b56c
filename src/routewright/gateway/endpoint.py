"""One dialect on one path: from an ASGI request to its answer, streamed or not.

In this order: room (429 when too many are in flight), key (401), body (413, 408), request (400), model (404), limits (429),
answer. While the answer is made the connection is watched: a client that goes away cancels its calls upstream.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from routewright.gateway.asked import HEADER, Asked
from routewright.gateway.dialects.base import Dialect, Frames
from routewright.gateway.faults import Fault, where_of
from routewright.gateway.keys import Key, credential
from routewright.gateway.served import Served, header
from routewright.gateway.service import CLIENT_GONE, Service
from routewright.gateway.settings import LimitSettings
from routewright.gateway.streaming import Live
from routewright.pools.deadline import Deadline

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

EXTENSION = "routewright.connection"  # of the ASGI scope: a connection that tells when its client has gone
_BEAT_S = 15.0  # between comments that keep an idle stream open
_TRACE = HEADER.encode() + b"trace-id"
_log = logging.getLogger("routewright.gateway")
_JSON = (b"content-type", b"application/json")
_SSE: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def new_id() -> str:
    """32 hexadecimal digits: 12 of the time, milliseconds, and 20 that are random.

    In order of time, so that a store adds to the end of its index: with random ids each record touches a page of its own, and
    a store of some hundred thousand records takes more time than all the rest of a request.
    """
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


class Endpoint:
    """An ASGI application for the path of one dialect."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service, self._dialect = service, dialect
        self.in_flight = 0

    @property
    def _limits(self) -> LimitSettings:
        """As they are now: a reload may change them."""
        return self._service.limits

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        trace_id = new_id()
        number = trace_id.encode()
        named = [(b"x-request-id", number), (_TRACE, number), *self._dialect.headers(trace_id)]
        try:
            if self.in_flight >= self._limits.in_flight:
                raise Fault(429, "Too many requests are being served. Come again in a second.", "busy", None, 1.0)
            self.in_flight += 1
            self._service.metrics.in_flight.inc()
            try:
                asked, key = await self._read(scope, receive)
                if self._service.telemetry is not None:
                    self._service.telemetry.began(trace_id, scope)
                if asked.stream:
                    await self._stream(asked, key, trace_id, named, receive, send)
                else:
                    await self._whole(asked, key, trace_id, named, Watch(scope, receive), send)
            finally:
                self.in_flight -= 1
                self._service.metrics.in_flight.dec()
        except Fault as fault:
            await self._refuse(fault, trace_id, named, send)
        except Exception as error:
            _log.error("request %s failed: %s", trace_id, where_of(error))
            # Raises if the answer has begun: then the server closes the connection.
            failed = Fault(500, "The gateway failed. Its log says more.", "internal_error")
            await self._refuse(failed, trace_id, named, send)

    async def _read(self, scope: Mapping[str, Any], receive: Receive) -> tuple[Asked, Key]:
        try:
            headers = headers_of(scope)
            key = self._service.keyring.find(credential(headers))
            body = await body_of(headers, receive, self._limits.body_bytes, self._limits.body_s)
            asked = self._dialect.read(body, headers, self._limits.messages)
            self._service.check(asked, key)
            if (admitted := key.quota.admit()) is not None:
                await admitted
        except Fault as fault:
            self._service.metrics.refused(fault.status)
            raise
        return asked, key

    async def _whole(self, asked: Asked, key: Key, trace_id: str, named: Headers, watch: Watch, send: Send) -> None:
        try:
            served = await self._service.answer(asked, key, trace_id)
            watch.end()
            await answer(send, 200, self._dialect.whole(served), [*named, *served.headers()])
        except asyncio.CancelledError:
            if not watch.left:
                raise  # not because the client has gone
            watch.task.uncancel()
        finally:
            watch.end()

    async def _stream(
        self, asked: Asked, key: Key, trace_id: str, named: Headers, receive: Receive, send: Send
    ) -> None:
        live = Live(self._dialect.frames(asked, trace_id), self._limits.unread_bytes)
        work = asyncio.ensure_future(self._service.answer(asked, key, trace_id, live))
        watch = asyncio.ensure_future(gone(receive))
        for task in (work, watch):
            task.add_done_callback(lambda _: live.wake.set())
        began = False
        try:
            while not watch.done():
                ended = work.done()
                data = live.take()
                if ended:
                    data += self._last(work, live, began or bool(data))
                if not data and not ended:
                    data = await _waited(live)
                    if not data:
                        continue
                if not began:
                    began = True
                    start = {"type": "http.response.start", "status": 200, "headers": [*_SSE, *named]}
                    await send(start)
                await send({"type": "http.response.body", "body": data, "more_body": not ended})
                if ended:
                    return
        finally:
            watch.cancel()
            await stop(work)

    def _last(self, work: asyncio.Future[Served], live: Live, began: bool) -> bytes:
        """The end of a stream; a `Fault` goes out as an error of its own while nothing was sent."""
        try:
            return live.frames.end(work.result())
        except Fault as fault:
            if not began:
                raise
            return live.frames.fault(fault)

    async def _refuse(self, fault: Fault, trace_id: str, named: Headers, send: Send) -> None:
        if fault.status == CLIENT_GONE:
            return
        await answer(send, fault.status, self._dialect.error(fault, trace_id), [*named, *retry(fault)])


async def _waited(live: Live) -> bytes:
    """Wait for something to send; a comment if nothing came for long."""
    try:
        async with asyncio.timeout(_BEAT_S):
            await live.wake.wait()
    except TimeoutError:
        return Frames.comment("still at it")
    return b""


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request, names in lower case; of several the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def body_of(headers: Mapping[str, str], receive: Receive, most: int, wait_s: float) -> bytes:
    """The whole body, within its limits of size and time."""
    too_long = Fault(413, f"The body is longer than {most} bytes. Shorten the conversation.", "body_too_long")
    said = headers.get("content-length", "")
    if said.isdigit() and int(said) > most:
        raise too_long
    parts, size = [], 0
    try:
        with Deadline(wait_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Fault(CLIENT_GONE, "The client has gone.")
                part = message.get("body", b"")
                size += len(part)
                if size > most:
                    raise too_long
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise Fault(408, f"The body was not whole within {wait_s:g} s.", "body_too_slow") from None


async def gone(receive: Receive) -> None:
    """Until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Watch:
    """Cancels the running task when its client goes away; `left` says that it has.

    Our own server tells (`connection.py`); of any other the next message is awaited, in a task of its own.
    """

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task, self.left = task, False
        self._connection = scope["extensions"].get(EXTENSION) if "extensions" in scope else None
        self._waiting: asyncio.Task[None] | None = None
        if self._connection is None:
            self._waiting = task.get_loop().create_task(gone(receive))
            self._waiting.add_done_callback(lambda ended: None if ended.cancelled() else self._leave())
        elif self._connection.lost:
            self._leave()
        else:
            self._connection.on_lost = self._leave

    def _leave(self) -> None:
        self.left = True
        self.task.cancel()

    def end(self) -> None:
        """Cancel nothing any more."""
        if self._waiting is not None:
            self._waiting.cancel()
        elif self._connection is not None and self._connection.on_lost == self._leave:
            self._connection.on_lost = None


async def stop(work: asyncio.Future[Any]) -> None:
    """End a task that may still run, and wait until it has; what it had to say is in the record."""
    if not work.done():
        work.cancel()
        await asyncio.wait({work})
    if not work.cancelled():
        work.exception()


async def answer(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """A whole response of JSON."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


def retry(fault: Fault) -> Headers:
    """When to come again, in whole seconds, as the header has it."""
    if fault.retry_after_s is None:
        return []
    return [header(b"retry-after", str(max(1, math.ceil(fault.retry_after_s))))]
