"""A lean HTTP/1.1 client for posting JSON: connections that are kept, bounded reading, nothing else.

    connections = Connections(URL("https://api.example/v1"), headers, tls)
    answer = await connections.post(path, more_headers, body, connect_s=5, first_s=600)
    while data := await answer.read_some(): ...
    connections.release(answer)                     # or `answer.close()`: an answer left half read closes its connection

What it does not do: redirects, cookies, proxies, HTTP/2, pipelining, or anything but POST. Parsing is llhttp's, through
httptools. A general client costs some 50 us of CPU a call more than this one, a third of all that a bare relay costs.

Called by `http.py`, one `Connections` a loop and address.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections.abc import Mapping
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from yarl import URL

KEPT_S = 15.0  # an idle connection older than this is not used again: many servers close theirs after 20 s and more
_HEAD_BYTES = 65536  # longest head of a reply
_HIGH = 2**19  # bytes waiting to be read above which the connection is not read on


class NotConnected(Exception):
    """There is no connection; `reason` is what the system or TLS said, None where it took too long."""

    def __init__(self, reason: OSError | None) -> None:
        super().__init__(str(reason))
        self.reason = reason


class NotSent(Exception):
    """The connection was gone before the request was sent."""


class Lost(Exception):
    """The connection was lost before the reply was whole."""


class NotHttp(Exception):
    """What came is no valid HTTP."""


class Answer:
    """The reply to one request, as it comes. Header names are in lower case; of several the last counts."""

    __slots__ = (
        "_connection",
        "_error",
        "_inflate",
        "_parts",
        "_size",
        "_waiter",
        "headed",
        "headers",
        "status",
        "whole",
    )

    def __init__(self, connection: _Connection) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headed = self.whole = False
        self._connection = connection
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._inflate: Any = None

    @property
    def content_type(self) -> str:
        """Without its parameters, in lower case."""
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()

    @property
    def ready(self) -> bool:
        """Whether `read_some` has something at once."""
        return bool(self._parts) or self.whole

    async def read_some(self) -> bytes:
        """What has come, or what comes next; empty at the end. `Lost` or `NotHttp` if there is no proper end."""
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self.whole:
                return b""
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        if self._size > _HIGH:
            self._connection.resume()
        self._size = 0
        return data

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()

    async def _head(self) -> None:
        while not self.headed:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self, data: bytes) -> None:
        if self._inflate is not None:
            try:
                data = self._inflate.decompress(data, _HIGH)
                while self._inflate.unconsumed_tail:
                    self._keep(data)
                    data = self._inflate.decompress(self._inflate.unconsumed_tail, _HIGH)
            except zlib.error:
                raise NotHttp("its body is not compressed as it says") from None
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        if data:
            self._parts.append(data)
            self._size += len(data)

    def _end(self, error: Exception | None = None) -> None:
        self.whole, self._error = error is None, error
        self._wake()


class _Connection(asyncio.Protocol):
    """One connection: at most one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.answer: Answer | None = None
        self.idle_since = 0.0
        self.open = False
        self._transport: Any = None
        self._paused = False
        self._start()

    def _start(self) -> None:
        self._parser = HttpResponseParser(self)
        self._head_bytes = 0
        self._sized = False  # the reply says where it ends
        self._kept = False  # it may be used again after this reply

    # ---- from the transport ----

    def connection_made(self, transport: Any) -> None:
        self._transport, self.open = transport, True

    def data_received(self, data: bytes) -> None:
        if self.answer is None:  # nobody asked
            self.close()
            return
        answer = self.answer
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(NotHttp("it wants another protocol"))
        except HttpParserError as error:  # what a callback raised is its context
            cause = error.__context__
            self._fail(cause if isinstance(cause, NotHttp) else NotHttp(type(error).__name__))
        else:
            if answer._size > _HIGH and not self._paused and self.open:
                self._paused = True
                self._transport.pause_reading()
            answer._wake()

    def eof_received(self) -> None:
        return None  # closes the transport

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        answer, self.answer = self.answer, None
        if answer is not None and not answer.whole:
            ended = answer.headed and not self._sized and error is None  # such a reply ends with its connection
            answer._end(None if ended else answer._error or Lost(type(error).__name__ if error else "closed"))

    # ---- from the parser ----

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _HEAD_BYTES:
            raise NotHttp("its head is too long")
        if self.answer is not None and not self.answer.headed:
            self.answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        answer, status = self.answer, self._parser.get_status_code()
        if answer is None or answer.headed:
            raise NotHttp("a second reply came")
        if status < 200:  # 100 continue, 103 early hints: the reply is still to come
            answer.headers.clear()
            return
        answer.status, answer.headed = status, True
        headers = answer.headers
        chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        self._sized = chunked or "content-length" in headers or status in (204, 304)
        coding = headers.get("content-encoding", "").strip().lower()
        if coding in ("gzip", "x-gzip", "deflate"):
            answer._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif coding not in ("", "identity"):
            raise NotHttp(f"its body is coded as {coding[:20]!r}, which was not asked for")

    def on_body(self, data: bytes) -> None:
        if self.answer is not None:
            self.answer._take(data)

    def on_message_complete(self) -> None:
        answer = self.answer
        if answer is None or not answer.headed:
            return
        self._kept = self._sized and self._parser.should_keep_alive()
        answer.whole = True

    # ---- from here ----

    def send(self, data: bytes) -> Answer:
        if not self.open or self._transport.is_closing():
            raise NotSent
        self.answer = Answer(self)
        self._head_bytes = 0
        self._transport.write(data)
        return self.answer

    def resume(self) -> None:
        if self._paused and self.open:
            self._paused = False
            self._transport.resume_reading()

    def finished(self) -> bool:
        """Let go of an answer that was read; whether the connection may be used again."""
        answer, self.answer = self.answer, None
        return answer is not None and answer.whole and self._kept and self.open and not self._transport.is_closing()

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        answer, self.answer = self.answer, None
        self.close()
        if answer is not None:
            answer._end(error)


class Connections:
    """The connections of one event loop to one address."""

    def __init__(self, url: URL, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        self._host, self._port = url.raw_host or "", url.port or (443 if url.scheme == "https" else 80)
        self._tls = tls if url.scheme == "https" else None
        fixed = {"Host": url.host_port_subcomponent or "", "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        self._head = (f"POST {url.raw_path_qs} HTTP/1.1\r\n" + "".join(map(_line, fixed.items()))).encode()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self.closed = False

    async def post(self, headers: Mapping[str, str], body: bytes, connect_s: float, first_s: float) -> Answer:
        """Send a request; its answer once the head is there.

        Raises:
            NotConnected: There is no connection, or not within `connect_s`.
            NotSent: The connection was gone before the request was sent.
            TimeoutError: No head came within `first_s`.
            Lost: The connection was lost.
            NotHttp: What came is no reply.
        """
        connection = self._take() or await self._connect(connect_s)
        self._busy.add(connection)
        try:
            more = "".join(map(_line, headers.items()))
            answer = connection.send(self._head + f"{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            late = connection.loop.call_later(first_s, connection._fail, TimeoutError())
            try:
                await answer._head()
            finally:
                late.cancel()
            return answer
        except BaseException:
            self._busy.discard(connection)
            connection.close()
            raise

    def release(self, answer: Answer) -> None:
        """Keep the connection of an answer that was read to its end; close any other."""
        connection = answer._connection
        self._busy.discard(connection)
        if not connection.finished() or self.closed:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(KEPT_S, self._close_old)

    def close(self) -> None:
        """Close them all; answers that are being read end in `Lost`."""
        self.closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    def _take(self) -> _Connection | None:
        """The connection used last, if it is still good."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open and time.monotonic() - connection.idle_since < KEPT_S:
                return connection
            connection.close()
        return None

    async def _connect(self, connect_s: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(connect_s):
                _, made = await loop.create_connection(
                    lambda: _Connection(loop),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except TimeoutError:
            raise NotConnected(None) from None
        except OSError as error:
            raise NotConnected(error) from None
        if self.closed:
            made.close()
            raise NotSent
        return made

    def _close_old(self) -> None:
        self._sweep = None
        before = time.monotonic() - KEPT_S
        old = [c for c in self._idle if c.idle_since <= before or not c.open]
        self._idle = [c for c in self._idle if c not in old]
        for connection in old:
            connection.close()
        if self._idle:
            loop = self._idle[0].loop
            self._sweep = loop.call_later(KEPT_S, self._close_old)


def _line(header: tuple[str, str]) -> str:
    name, value = header
    if not name.isascii() or any(c in name or c in value for c in "\r\n\0"):
        raise ValueError(f"The header {name!r} holds what no header may. Expected one line of text.")
    return f"{name}: {value}\r\n"
