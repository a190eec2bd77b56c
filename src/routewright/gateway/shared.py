"""What gateways share through Redis: budgets by leases (`leases.py`), rates (`rates.py`), and who is there.

One task keeps in touch: it answers roll calls, draws leases ahead and gives back what is idle. While Redis is away each
gateway goes on with the leases it holds and its own part of the rates; a lease that is used up refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from routewright.errors import ConfigError, MissingExtra, StoreError
from routewright.gateway.leases import Leases
from routewright.gateway.rates import SharedRate
from routewright.gateway.scripts import MEET
from routewright.stores.base import Store

if TYPE_CHECKING:
    from routewright.gateway.settings import SharedEntry

_BEAT_S = 0.25  # between looks at leases that are held
_MEET_S = 0.5  # between signs of life
_FORGET_S = 10  # a gateway that gave none for so long is not counted
_BACKOFF_S = (0.05, 1.0)  # between attempts to reach Redis: the first, the longest
_TIMEOUT_S = 1.0  # for an answer
_log = logging.getLogger("routewright.gateway")


class Shared:
    """The part of a gateway's state that others share. `away` until Redis has answered."""

    def __init__(self, entry: SharedEntry) -> None:
        self._entry, self._url = entry, _url(entry)
        try:
            from redis.exceptions import RedisError
        except ImportError as error:
            raise MissingExtra("Sharing through Redis", "redis", "redis") from error
        self.failures: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
        self.id = uuid.uuid4().hex
        self.away, self.error = True, ""
        self.epoch, self.until_ms, self.alive = "", 0.0, 1
        self._settled_at = self._met_at = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._client: Any = None
        self._scripts: dict[str, Any] = {}
        self._flush: Callable[[], None] = lambda: None
        self.store: Store
        self.leases = Leases(self, entry.ahead, entry.wait_s, self._wake.set)
        self._rates: dict[str, SharedRate] = {}

    async def open(self, store: Store, flush: Callable[[], None]) -> None:
        """Connect. Redis may be away, then it is looked for; `StoreError` where it refuses us.

        `flush` hands the store all records of requests that have ended.
        """
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import AuthenticationError, ResponseError

        self.store, self._flush = store, flush
        self._client = Redis.from_url(
            self._url,
            decode_responses=True,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # a step that may have been taken is not taken again unseen
        )
        try:
            await self._meet()
        except (AuthenticationError, ResponseError) as error:
            await self._client.aclose()
            raise StoreError(
                f"[shared]: Redis refuses us ({error}). Expected a user who may run scripts, INFO among their commands."
            ) from None
        except self.failures as error:
            self._gone(error)
        self._task = asyncio.ensure_future(self._keep())

    async def aclose(self) -> None:
        """Give back what is free, and let go."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        try:
            if not self.away:
                await self.leases.give_back()
        except self.failures as error:
            _log.error("shared: leases could not be given back, they stay taken (%s)", type(error).__name__)
        await self._client.aclose()

    @property
    def settling(self) -> bool:
        """Whether a roll call is under way: nothing is granted until it has ended."""
        return time.monotonic() < self._settled_at

    def rate(self, key: str, requests: int, tokens: int) -> SharedRate:
        """The rates of a key, requests and tokens a minute."""
        rate = self._rates.get(key)
        if rate is None:
            rate = self._rates[key] = SharedRate(self, key)
        rate.limit(requests, tokens)
        return rate

    async def call(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Take one step in Redis; one of `failures` if it can not be taken."""
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self._client.register_script(script)
        prefix = "{" + self._entry.prefix + "}:"  # braces: one node of a cluster has them all
        return await known([prefix + key for key in keys], arguments)

    async def recorded(self) -> float | None:
        """Have all that has ended written to the store; what it has lost of it, USD. None if it can not say."""
        self._flush()
        try:
            await asyncio.wait_for(
                self.store.spent_usd("", time.time()), self._entry.settle_s / 3
            )  # after all before it
        except (StoreError, TimeoutError):
            return None
        return self.store.lost_usd

    def moved(self) -> None:
        """Redis was restarted or emptied: meet again at once."""
        self._met_at = 0.0
        self._wake.set()

    async def _meet(self) -> None:
        """Give a sign of life; answer a roll call."""
        arguments = [round(self._entry.settle_s * 1000), self.id, _FORGET_S * 1000]
        epoch, until, left, alive = await self.call(MEET, ["marker", "gateways"], arguments)
        if epoch != self.epoch:
            self._settled_at = time.monotonic() + int(left) / 1000 + 0.01
        if epoch != self.epoch or self.settling:  # again and again: what is spent meanwhile would be counted twice
            await self.leases.attend(epoch)
            self.epoch, self.until_ms = epoch, float(until)
        self.alive, self._met_at = max(1, int(alive)), time.monotonic()
        if self.away:
            self.away, self.error = False, ""
            self.leases.back()
            _log.info("shared: in touch with Redis, %d gateways", self.alive)

    async def _keep(self) -> None:
        """Keep in touch until cancelled."""
        failed, beaten = 0, 0.0
        while True:
            if self.away or failed > 1:
                await asyncio.sleep(min(_BACKOFF_S[1], _BACKOFF_S[0] * 2 ** min(failed, 10)))
            elif not failed:
                soon = _BEAT_S if self.leases.busy or self.settling else _MEET_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), soon)
            self._wake.clear()
            try:
                now = time.monotonic()
                beat = now - beaten >= _BEAT_S
                if self.away or now - self._met_at >= _MEET_S or (beat and self.settling):
                    await self._meet()
                await self.leases.turn(beat)
                beaten, failed = now if beat else beaten, 0
            except self.failures as error:
                failed += 1
                if failed > 1:  # the first may be a connection that has gone stale, as after a restart
                    self._gone(error)
            except Exception:
                failed += 1
                _log.exception("shared: a defect; leases are not refilled until it passes")

    def _gone(self, error: Exception) -> None:
        if not self.away or not self.error:
            _log.error("shared: Redis is away (%s), leases are spent as far as they go", type(error).__name__)
        self.away, self.error = True, type(error).__name__
        self.leases.gone()


def _url(entry: SharedEntry) -> str:
    if not entry.url_env:
        return entry.url
    found = os.environ.get(entry.url_env, "").strip()
    if not found.startswith(("redis://", "rediss://", "unix://")):
        said = "is no URL of Redis" if found else "is not set"
        raise ConfigError(
            f"shared: the environment variable {entry.url_env} {said}. Expected redis://:password@host:6379/0 in it."
        )
    return found
