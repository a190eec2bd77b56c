"""A client's connection: what it may send before there is a request, and how long it may take.

uvicorn's own protocol waits for ever for the end of a head, and takes one of any length. Here a head that is not whole
within `headers_s` ends its connection (408), one above `header_bytes` or `header_lines` is refused (431), and what is left
of a body after the answer was sent is read no longer than `body_s`. Who does not read for `unread_s` what is sent is cut off, so
that nobody holds a place for ever. The time of a body that is awaited, and its
length, are the endpoint's to watch.

Where there are no keys, a web page must not use the gateway behind its reader's back: a request with an `Origin` is refused (403)
unless it comes from this very address. `insecure = true` allows any.

One look a second at all connections finds those that are late: a timer a request would cost more than it is worth.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from routewright.gateway.endpoint import EXTENSION
from routewright.gateway.service import Service
from routewright.gateway.settings import LimitSettings, is_loopback

_PHRASES = {400: "Bad Request", 403: "Forbidden", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class Living(set["Connection"]):
    """The connections of one gateway, and whether somebody looks after them."""

    looking = False


class Connection(HttpToolsProtocol):
    """One connection. `service` is set by `connections_of`."""

    service: Service
    living: Living
    _head_since: float | None = None  # a head is being waited for
    _body_since: float | None = None  # a body is on its way
    _stuck_since: float | None = None  # what is sent is not read
    _head_bytes = 0
    lost = False
    on_lost: Callable[[], None] | None = None  # of the request that is being answered

    @property
    def _limits(self) -> LimitSettings:
        return self.service.limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.timeout_keep_alive = self._limits.idle_s  # type: ignore[assignment]
        super().connection_made(transport)
        self._head_since = self.loop.time()
        self.living.add(self)
        if not self.living.looking:
            self.living.looking = True
            self.loop.call_later(self._every_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self.living.discard(self)
        super().connection_lost(exc)
        self.lost = True
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        if self._head_since is not None:
            self._head_bytes += len(data)
        elif self._body_since is None:  # the next request begins, or some blank before it
            self._head_since, self._head_bytes = self.loop.time(), len(data)
        super().data_received(data)
        if self._head_since is not None and self._head_bytes > self._limits.header_bytes:
            self._refuse(431, f"The head is longer than {self._limits.header_bytes} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_since is None:  # the next one of a pipeline
            self._head_since, self._head_bytes = self.loop.time(), 0

    def on_headers_complete(self) -> None:
        self._head_since, self._head_bytes, self._body_since = None, 0, self.loop.time()
        limits = self._limits
        if len(self.headers) > limits.header_lines:
            raise _Refused(431, f"There are more than {limits.header_lines} header lines.")
        if sum([len(name) + len(value) for name, value in self.headers], len(self.url)) > limits.header_bytes:
            raise _Refused(431, f"The head is longer than {limits.header_bytes} bytes.")
        if self.service.setup.guarded and not _own_origin(self.headers):
            raise _Refused(403, "A web page of another address may not use this gateway: it has no keys. Add [[keys]].")
        self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]
        super().on_headers_complete()
        if self.service.leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._body_since = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What can not be parsed; in the form of all our errors."""
        why = self._why_not()
        if why is not None:
            self._refuse(why.status, str(why))
        else:
            self._refuse(400, "This is no HTTP request that can be understood.")

    def _why_not(self) -> _Refused | None:
        """The refusal that a callback of the parser raised, if that is what the parser failed with."""
        error: BaseException | None = sys.exc_info()[1]
        while error is not None:
            if isinstance(error, _Refused):
                return error
            error = error.__cause__ or error.__context__
        return None

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "bad_head"}
        body = msgspec.json.encode({"error": error})
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._head_since = self._body_since = None
        self.transport.write(head.encode() + body)
        self.transport.close()

    @property
    def _every_s(self) -> float:
        return min(1.0, self._limits.headers_s / 4, self._limits.unread_s / 4)

    def _look(self) -> None:
        """End what is late, of all connections."""
        for one in list(self.living):
            one._end_if_late(self.loop.time())
        self.living.looking = bool(self.living)
        if self.living:
            self.loop.call_later(self._every_s, self._look)

    def _end_if_late(self, now: float) -> None:
        limits, busy = self._limits, self.cycle is not None and not self.cycle.response_complete
        if self._stuck_since is None and self.transport.is_closing():
            self._stuck_since = now  # closed, but for what is left to send
        if self._stuck_since is not None and now - self._stuck_since > limits.unread_s:
            self.transport.abort()
            return
        if self._head_since is not None and not busy:
            if now - self._head_since <= limits.headers_s:
                return
            if self._head_bytes:
                self._refuse(408, f"The head was not whole within {limits.headers_s:g} s.")
            else:
                self.transport.close()
        elif self._body_since is not None and not busy and now - self._body_since > limits.body_s:
            self.transport.close()


class _Refused(Exception):
    """A head that is refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _own_origin(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request comes from no web page, or from one of this address, which has to be this machine's own.

    A name that is not, but leads here, is what a hostile page would use.
    """
    named = dict(headers)
    origin = named.get(b"origin")
    if origin is None:
        return True
    host = named.get(b"host", b"")
    name = host.rpartition(b":")[0] if host.rpartition(b":")[2].isdigit() else host
    return origin == b"http://" + host and is_loopback(name.decode("latin-1").strip("[]"))


def connections_of(service: Service) -> Any:
    """The protocol for uvicorn: `Config(http=connections_of(service))`."""
    return type("Connection", (Connection,), {"service": service, "living": Living()})
