"""Rates that several gateways share: permits are fetched from Redis a tenth of a second's worth at a time.

A slow rate is asked for request by request, a fast one many at once. Tokens are told within a tenth of a second after they
are known. While Redis is away each gateway has its part: the rate over the number of gateways that were there last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from routewright.gateway.limits import Bucket, too_many
from routewright.gateway.scripts import RATE

if TYPE_CHECKING:
    from routewright.gateway.shared import Shared

_AHEAD = 600  # permits are fetched for a minute over this
_FRESH_S = 0.5  # how long they hold
_TELL_S = 0.1  # tokens wait so long for others
_ANY = 1000  # permits at a time where only tokens are limited


class SharedRate:
    """Requests and tokens a minute of one key."""

    def __init__(self, shared: Shared, key: str) -> None:
        self._shared, self._place = shared, f"rate:{key}"
        self.requests = self.tokens = 0
        self._permits, self._fetched_at = 0, 0.0
        self._level = 0.0  # tokens left when last heard of
        self._untold = 0  # tokens used since
        self._waiting = 0
        self._lock = asyncio.Lock()
        self._telling: asyncio.Task[None] | None = None
        self._own: tuple[Bucket, Bucket] | None = None  # while Redis is away

    def limit(self, requests: int, tokens: int) -> None:
        """As configured; 0: no limit."""
        if (requests, tokens) != (self.requests, self.tokens):
            self.requests, self.tokens, self._permits, self._own = requests, tokens, 0, None

    def admit(self) -> Awaitable[None] | None:
        """Let a request in, or raise a `Fault` of status 429; None if that was decided at once, else to be awaited."""
        if not self.requests and not self.tokens:
            return None
        if self._shared.away:
            self._admit_alone()
            return None
        self._own = None
        return None if self._take() else self._fetch()

    def used(self, tokens: int) -> None:
        """Tokens that a request has taken."""
        if not self.tokens:
            return
        self._untold += tokens
        if self._own is not None:
            self._own[1].take(tokens)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.ensure_future(self._tell())

    def _take(self) -> bool:
        fresh = time.monotonic() - self._fetched_at < _FRESH_S
        if not fresh or self._permits < 1 or (self.tokens and self._level - self._untold < 1):
            return False
        self._permits -= 1
        return True

    async def _fetch(self) -> None:
        self._waiting += 1
        try:
            async with self._lock:  # those behind find what the first has brought
                if self._take():
                    return
                wanted = max(self._waiting, self.requests // _AHEAD) if self.requests else _ANY
                try:
                    wait_ms = await self._draw(wanted)
                except self._shared.failures:
                    self._admit_alone()
                    return
                if not self._take():
                    limited = bool(self.tokens) and self._level < 1
                    what = ("tokens", self.tokens) if limited else ("requests", self.requests)
                    raise too_many(f"{what[1]} {what[0]} a minute", what[0], max(wait_ms, 1.0) / 1000)
        finally:
            self._waiting -= 1

    async def _draw(self, wanted: int) -> float:
        told, self._untold = self._untold, 0
        try:
            arguments = [self.requests, self.tokens, wanted, told]
            given, wait_ms, level = await self._shared.call(RATE, [self._place], arguments)
        except BaseException:
            self._untold += told
            raise
        if wanted:
            self._permits, self._fetched_at = int(given), time.monotonic()
        self._level = float(level)
        return float(wait_ms)

    async def _tell(self) -> None:
        """Tell Redis of tokens, until all are told."""
        while self._untold:
            await asyncio.sleep(_TELL_S)
            try:
                async with self._lock:
                    await self._draw(0)
            except self._shared.failures:
                await asyncio.sleep(1.0)

    def _admit_alone(self) -> None:
        """Our own part of the rate."""
        now = time.monotonic()
        if self._own is None:
            part = [max(1, limit // self._shared.alive) if limit else 0 for limit in (self.requests, self.tokens)]
            self._own = Bucket(part[0], now), Bucket(part[1], now)
        for bucket, what in zip(self._own, ("requests", "tokens"), strict=True):
            wait = bucket.wait_s(now, 1.0)
            if wait > 0:
                raise too_many(f"{bucket.limit} {what} a minute while Redis is away", what, wait)
        self._own[0].take(1.0)
