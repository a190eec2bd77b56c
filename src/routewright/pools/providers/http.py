"""What providers that speak HTTP share: an address, its connections, bounded reading, and failures that say where.

Not here: the connections themselves (`connections.py`), any protocol's JSON (`wire.py`, `anthropic.py`), the form of a stream (`sse.py`), and what a failure means
(`faults.py`). Called by `openai.py` and `anthropic.py`:

    async with endpoint.post(body, headers, key) as answer:
        async for data in endpoint.events(answer): ...        # or: await endpoint.body(answer)

A deadline for the whole call, retries and limits of concurrency are the caller's (`routewright.pools.caller`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from pydantic import Field, field_validator
from yarl import URL

from routewright.config import Config
from routewright.errors import PoolError, ProviderError
from routewright.pools.deadline import Deadline
from routewright.pools.providers.connections import Answer, Connections, Lost, NotConnected, NotHttp, NotSent
from routewright.pools.providers.faults import Redact, fault_of_exception, fault_of_status, redactor
from routewright.pools.providers.sse import Events

DONE = b"[DONE]"  # the last event of the OpenAI protocol
_ERROR_BYTES = 65536  # read at most this much of an error's body
TROUBLES = (NotConnected, NotSent, Lost, NotHttp, TimeoutError)  # what a connection can come to
_DRAIN_S = 0.25  # seconds to wait for the end of a stream that said it is done, so that its connection is kept


class HttpConfig(Config):
    """Options of every provider that speaks HTTP."""

    base_url: str = Field(description="where the API is, up to the common path")
    api_key_env: str = Field("", description="name of the environment variable that holds the key; empty: none is sent")
    headers: dict[str, str] = Field({}, repr=False, description="further fixed headers; not for keys")
    connect_s: float = Field(5.0, gt=0, description="deadline for a connection, seconds")
    first_s: float = Field(
        600.0, gt=0, description="longest wait for a reply to begin, seconds; one not streamed begins when it is whole"
    )
    idle_s: float = Field(30.0, gt=0, description="longest silence between bytes of a reply, seconds")
    max_reply_bytes: int = Field(8 * 2**20, gt=0, description="longest reply, bytes; of a stream: what it adds up to")
    verify_tls: bool = Field(True, description="check the upstream's certificate")
    ca_file: str = Field("", description="PEM file of certificates to trust instead of the system's")

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        try:
            parsed = URL(url)
        except ValueError:
            parsed = URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("expected an address that starts with http:// or https:// and names a host")
        return url


class Endpoint:
    """One address that is posted to, and its connections: per event loop, made on first use and used again."""

    def __init__(self, config: HttpConfig, path: str, name: str) -> None:
        url = URL(config.base_url)
        self._config = config
        login = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
        self._basic = {"Authorization": f"Basic {login}"} if url.user else {}
        self._url = url.with_user(None).with_path(url.raw_path.rstrip("/") + path, encoded=True, keep_query=True)
        self.address = str(self._url.with_query(None).with_fragment(None))  # a query may hold a secret
        self.where = f"{name} ({self.address})"  # begins every message
        self._secrets = [*config.headers.values(), *url.query.values(), url.user, url.password, login]
        self._fixed = {"User-Agent": "routewright", "Content-Type": "application/json", **config.headers, **self._basic}
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Connections] = WeakKeyDictionary()
        self._last: tuple[asyncio.AbstractEventLoop | None, Connections | None] = (None, None)

    def key(self) -> str:
        """The key, read anew for every call; `ProviderError` names the variable if it is not set."""
        variable = self._config.api_key_env
        if not variable:
            return ""
        key = os.environ.get(variable, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            found = "holds characters that no header may have" if key else "is not set"
            raise ProviderError(
                f"{self.where}: the environment variable {variable} {found}. Set it to the key, or change api_key_env.",
                "refused",
                reached=False,
            )
        return key

    def check_key(self) -> None:
        """`PoolError` if the key is not set."""
        try:
            self.key()
        except ProviderError as error:
            raise PoolError(str(error)) from None

    def post(self, body: Mapping[str, Any], headers: Mapping[str, str], key: str = "") -> Posted:
        """Send a body as JSON and hand over the reply's beginning; anything but a 2xx raises `ProviderError`.

        What goes wrong with the connection inside the `async with` is mapped as well. `key` is kept out of messages.
        """
        return Posted(self, body, headers, key)

    async def begin(self, connections: Connections, body: bytes, headers: Mapping[str, str], key: str) -> Answer:
        """For `Posted`: the beginning of a good reply."""
        answer = await connections.post(headers, body, self._config.connect_s, self._config.first_s)
        if 200 <= answer.status < 300:
            return answer
        try:
            said = await self._error_body(answer)
        finally:
            connections.release(answer)
        raise fault_of_status(answer.status, said, answer.headers, self.where, self._redact(key))

    def fault(self, error: Exception) -> ProviderError:
        """What one of `TROUBLES` means."""
        return fault_of_exception(error, self.where, self._config.connect_s, self._config.first_s)

    def fault_of_body(self, error: Any, key: str = "", status: int = 500) -> ProviderError:
        """The error object that a reply of status 200 held; its own code, if it has one, goes before `status`."""
        code = error.get("code") if isinstance(error, Mapping) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else status
        said = msgspec.json.encode({"error": error})
        fault = fault_of_status(status, said, {}, self.where, self._redact(key))
        fault.reached = True  # it had begun to answer
        return fault

    async def body(self, answer: Answer) -> bytes:
        """The whole reply, at most `max_reply_bytes`."""
        parts, total = [], 0
        while chunk := await self._more(answer):
            total += len(chunk)
            self.check(total)
            parts.append(chunk)
        return b"".join(parts)

    async def events(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """The data of server-sent events as they come; an event that the stream's end cut is left out."""
        parser = Events()
        while chunk := await self._more(answer):
            for data in parser.feed(chunk):
                yield data
            self.check(parser.pending)
        for data in parser.end():
            if data == DONE or _is_json(data):
                yield data

    async def _more(self, answer: Answer) -> bytes:
        if answer.ready:
            return await answer.read_some()
        try:
            with Deadline(self._config.idle_s):
                return await answer.read_some()
        except TimeoutError:
            said = f"the reply stopped for idle_s = {self._config.idle_s:g} s. Raise it if the upstream needs longer."
            raise ProviderError(f"{self.where}: {said}", "timeout", retryable=True) from None

    def _redact(self, key: str) -> Redact:
        return redactor([key, *self._secrets])

    def check(self, size: int) -> None:
        """`ProviderError` if a reply has grown beyond what is accepted, bytes."""
        if size > self._config.max_reply_bytes:
            raise ProviderError(
                f"{self.where}: the reply is longer than max_reply_bytes = {self._config.max_reply_bytes}; reading was "
                "stopped. Raise it if such replies are wanted.",
                "malformed",
            )

    async def drain(self, answer: Answer) -> None:
        """Wait a moment for the end of a finished stream: a connection read to its end is used again."""
        with suppress(TimeoutError, Lost, NotHttp), Deadline(_DRAIN_S):
            while await answer.read_some():
                pass

    async def aclose(self) -> None:
        """Close the connections of this loop, and let go of those of loops that have ended."""
        self._last = (None, None)
        mine = self._by_loop.pop(asyncio.get_running_loop(), None)
        for loop, connections in list(self._by_loop.items()):
            if loop.is_closed():
                del self._by_loop[loop]  # its sockets went with it
            elif loop.is_running():
                del self._by_loop[loop]
                loop.call_soon_threadsafe(connections.close)
        if mine is not None:
            mine.close()

    async def _error_body(self, answer: Answer) -> bytes:
        said = b""
        with suppress(Lost, NotHttp, TimeoutError):
            while len(said) <= _ERROR_BYTES and (chunk := await self._more(answer)):
                said += chunk
        return said[:_ERROR_BYTES]

    def connections(self) -> Connections:
        """Those of the running loop. How many calls run at once is the caller's to say: no limit here."""
        loop = asyncio.get_running_loop()
        last, connections = self._last
        if last is not loop or connections is None or connections.closed:
            connections = self._by_loop.get(loop)
            if connections is None or connections.closed:
                connections = self._by_loop[loop] = Connections(self._url, self._fixed, self._tls())
                for old in [old for old in self._by_loop if old.is_closed()]:
                    del self._by_loop[old]  # its sockets went with its loop
            self._last = (loop, connections)
        return connections

    def _tls(self) -> ssl.SSLContext | None:
        if self._url.scheme != "https" and not self._config.ca_file:
            return None
        if not self._config.verify_tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context
        try:
            return ssl.create_default_context(cafile=self._config.ca_file or None)
        except OSError as error:
            raise PoolError(
                f"{self.where}: ca_file = {self._config.ca_file!r} can not be read ({error.strerror or error}). "
                "Expected a PEM file of certificates."
            ) from None


class Posted:
    """A request that was sent, and its answer while the block lasts. By hand: `asynccontextmanager` costs some us more."""

    __slots__ = ("_answer", "_connections", "_endpoint", "_sent")

    def __init__(self, endpoint: Endpoint, body: Mapping[str, Any], headers: Mapping[str, str], key: str) -> None:
        self._endpoint, self._sent = endpoint, (body, headers, key)

    async def __aenter__(self) -> Answer:
        endpoint = self._endpoint
        body, headers, key = self._sent
        self._connections = endpoint.connections()
        data = encode(body, endpoint.where)
        try:
            self._answer = await endpoint.begin(self._connections, data, headers, key)
        except TROUBLES as error:
            raise endpoint.fault(error) from None
        return self._answer

    async def __aexit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        self._connections.release(self._answer)
        if isinstance(error, TROUBLES):
            raise self._endpoint.fault(error) from None


def encode(body: Mapping[str, Any], where: str) -> bytes:
    """A request's body as JSON; `ProviderError` if something in it can not be written so.

    A lone surrogate has no UTF-8; it goes out escaped, as Python's own writer does it.
    """
    try:
        return msgspec.json.encode(body, enc_hook=_plain)
    except UnicodeEncodeError:
        return json.dumps(body, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ProviderError(
            f"{where}: the request can not be written as JSON ({error}). Expected plain values in messages and options.",
            "refused",
            reached=False,
        ) from None


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} in it")
