"""What a dialect is: one protocol of clients, from bytes to a request and from an answer to bytes.

The loop that calls it (`routewright.gateway.endpoint`):

    asked = dialect.read(body, headers)               # Fault for what can not be understood
    data = dialect.whole(served)                      # not streamed
    frames = dialect.frames(asked, trace_id)          # streamed: server-sent events
    frames.delta(delta); ...; frames.end(served)      # or frames.fault(fault)
    dialect.error(fault, trace_id)                    # any error before the first byte

A dialect does nothing else: it calls no model, and knows no keys and no limits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from routewright.gateway.asked import Asked
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served
from routewright.pools.providers.base import Delta


class Frames(ABC):
    """One streamed answer. `began` says whether anything of the reply itself was written."""

    began = False

    @abstractmethod
    def delta(self, delta: Delta) -> bytes:
        """A piece of the reply."""

    @abstractmethod
    def end(self, served: Served) -> bytes:
        """What is left of the reply, what was done for it, and the end."""

    @abstractmethod
    def fault(self, fault: Fault) -> bytes:
        """An error inside the stream, and its end."""

    @staticmethod
    def comment(text: str) -> bytes:
        """A line that clients pass over."""
        return f": {' '.join(text.split())}\n\n".encode()


class Dialect(ABC):
    """One protocol."""

    name: ClassVar[str]
    path: ClassVar[str]

    @abstractmethod
    def read(self, body: bytes, headers: Mapping[str, str], most_messages: int = 4096) -> Asked:
        """A request; `Fault` of status 400 says what is wrong with it."""

    @abstractmethod
    def whole(self, served: Served) -> bytes:
        """The body of an answer."""

    @abstractmethod
    def frames(self, asked: Asked, trace_id: str) -> Frames:
        """The writer of a streamed answer."""

    @abstractmethod
    def error(self, fault: Fault, trace_id: str = "") -> bytes:
        """The body of an error."""

    def headers(self, trace_id: str) -> list[tuple[bytes, bytes]]:
        """Headers of every answer that this protocol has beside the gateway's own."""
        return []
