"""How much a key may ask: requests and tokens a minute, and hard budgets of a day and a month.

Rates are buckets that fill evenly, a minute's worth at most. A request is admitted while there is a request's worth and
any token left; its tokens are taken when they are known, so a bucket may go below zero and has to recover first.

Budgets are ledgers (`routewright.pools.budget`): every attempt reserves its worst case in the day's and the month's ledger
before it is made, so that no number of requests at once can pass them. They are kept in memory; at the start they are
filled from the store, and a key whose spending the store can not tell yet is refused. With [shared] rates (`rates.py`) and
budgets (`leases.py`) are those of all gateways together.
"""

from __future__ import annotations

import asyncio
import calendar
import logging
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routewright.errors import StoreError
from routewright.gateway.faults import Fault
from routewright.gateway.settings import KeyEntry
from routewright.pools.budget import Ledger, pico
from routewright.stores.base import Store

if TYPE_CHECKING:
    from routewright.gateway.shared import Shared

_AGAIN_S = 1.0  # between attempts to learn from the store what was spent
_log = logging.getLogger("routewright.gateway")


class Bucket:
    """So many a minute, in even flow; `limit` 0 is no limit."""

    def __init__(self, limit: int, now: float) -> None:
        self.limit, self.level, self._at = limit, float(limit), now

    def look(self, now: float) -> float:
        """What is in it."""
        if self.limit:
            self.level = min(float(self.limit), self.level + (now - self._at) * self.limit / 60.0)
            self._at = now
        return self.level

    def wait_s(self, now: float, wanted: float) -> float:
        """How long until so much is in it; 0 if it is."""
        lacking = wanted - self.look(now)
        return 60.0 * lacking / self.limit if self.limit and lacking > 0 else 0.0

    def take(self, amount: float) -> None:
        if self.limit:
            self.level -= amount

    def retune(self, limit: int, now: float) -> None:
        """Another limit; what was used of the old one stays used."""
        used = self.limit - self.look(now) if self.limit else 0.0
        self.limit, self.level, self._at = limit, limit - used, now


@dataclass(frozen=True, slots=True)
class Period:
    """A UTC day or month with its budget; from `since` until before `until`, seconds since 1970."""

    name: str
    since: float
    until: float
    usd: float


@dataclass(slots=True)
class _Spending:
    """Whether the store could not tell yet what was spent. One for all quotas that go on from one another."""

    unknown: bool = False


class Quota:
    """One key's limits, and what it has used of them."""

    def __init__(self, entry: KeyEntry | None = None, shared: Shared | None = None) -> None:
        now = time.monotonic()
        self.requests = Bucket(entry.requests_per_minute if entry else 0, now)
        self.tokens = Bucket(entry.tokens_per_minute if entry else 0, now)
        self._day_usd, self._month_usd = (entry.usd_per_day, entry.usd_per_month) if entry else (None, None)
        self._name = entry.name if entry else ""
        self._shared = shared
        self._rate = shared.rate(self._name, self.requests.limit, self.tokens.limit) if shared is not None else None
        self._spending = _Spending()
        self._ledgers: dict[str, Ledger] = {}
        self._current: list[Period] = []

    @property
    def budgets(self) -> frozenset[str]:
        """Which budgets there are: day, month."""
        return frozenset(n for n, usd in (("day", self._day_usd), ("month", self._month_usd)) if usd is not None)

    def inherit(self, old: Quota) -> None:
        """Go on from what was used under other limits. Requests that began under those go on using it too.

        What gateways share is kept by the key's name, and is the same for both.
        """
        self._spending = old._spending
        if self._shared is not None:
            return
        now = time.monotonic()
        for mine, its in ((self.requests, old.requests), (self.tokens, old.tokens)):
            its.retune(mine.limit, now)
        self.requests, self.tokens = old.requests, old.tokens
        self.ledgers()
        for name in self._ledgers.keys() & old._ledgers.keys():
            old._ledgers[name].cap = self._ledgers[name].cap
            self._ledgers[name] = old._ledgers[name]

    def admit(self, now: float | None = None) -> Awaitable[None] | None:
        """Let a request in, or raise a `Fault`: 429 by rate, 503 while spending is not known.

        None where that was decided at once; else it is decided when awaited.
        """
        if self._spending.unknown:
            raise _not_known()
        if self._rate is not None:
            return self._rate.admit()
        now = time.monotonic() if now is None else now
        wait = self.requests.wait_s(now, 1.0)
        if wait > 0:
            raise too_many(f"{self.requests.limit} requests a minute", "requests", wait)
        wait = self.tokens.wait_s(now, 1.0)
        if wait > 0:
            raise too_many(f"{self.tokens.limit} tokens a minute", "tokens", wait)
        self.requests.take(1.0)
        return None

    def used(self, tokens: int) -> None:
        """Tokens that a request has taken."""
        if self._rate is not None:
            self._rate.used(tokens)
        else:
            self.tokens.take(tokens)

    def periods(self, now: float) -> list[Period]:
        """Today and this month, where there is a budget."""
        if self._current and all(p.since <= now < p.until for p in self._current):
            return self._current
        moment, found = time.gmtime(now), []
        year, month = moment.tm_year, moment.tm_mon
        if self._day_usd is not None:
            midnight = calendar.timegm((year, month, moment.tm_mday, 0, 0, 0))
            found.append(
                Period(f"{year:04d}-{month:02d}-{moment.tm_mday:02d}", midnight, midnight + 86400, self._day_usd)
            )
        if self._month_usd is not None:
            first = calendar.timegm((year, month, 1, 0, 0, 0))
            days = calendar.monthrange(year, month)[1]
            found.append(Period(f"{year:04d}-{month:02d}", first, first + days * 86400, self._month_usd))
        self._current = found
        return found

    def ledgers(self, now: float | None = None) -> Sequence[Ledger]:
        """Those of today and of this month, where there is a budget."""
        if self._day_usd is None and self._month_usd is None:
            return ()
        periods = self.periods(time.time() if now is None else now)
        if self._shared is not None:
            of = self._shared.leases.of
            return [of(self._name, p.name, p.since, p.until, p.usd) for p in periods]
        for old in self._ledgers.keys() - {p.name for p in periods}:  # requests that began in it keep it
            del self._ledgers[old]
        for period in periods:
            if period.name not in self._ledgers:
                self._ledgers[period.name] = Ledger(period.usd)
        return [self._ledgers[p.name] for p in periods]

    def exhausted(self, now: float | None = None) -> Fault:
        """The answer to a request that does not fit what is left of the budgets."""
        now = time.time() if now is None else now
        if self._shared is not None and not self._shared.leases.known(self._name):
            return _not_known()
        moment = time.gmtime(now)
        left = [ledger.remaining or 0 for ledger in self.ledgers(now)]
        month = self._month_usd is not None and (self._day_usd is None or left[-1] < left[0])
        days = calendar.monthrange(moment.tm_year, moment.tm_mon)[1] - moment.tm_mday if month else 0
        today = moment.tm_hour * 3600 + moment.tm_min * 60 + moment.tm_sec
        what = f"{self._month_usd:g} USD a month" if month else f"{self._day_usd:g} USD a day"
        return Fault(
            429,
            f"The budget of this key, {what}, has no room for this request. Wait until it begins anew, or lower max_tokens.",
            "insufficient_quota",
            retry_after_s=float(days * 86400 + 86400 - today),
        )

    async def recall(self, store: Store) -> None:
        """Book what the store says was spent today and this month; `StoreError` if it can not, and nobody is let in.

        A shared budget is known to Redis.
        """
        if self._shared is not None:
            return
        self._spending.unknown = True
        now = time.time()
        spent = [pico(await store.spent_usd(self._name, period.since)) for period in self.periods(now)]
        for ledger, amount in zip(self.ledgers(now), spent, strict=True):
            ledger.spent += amount
        self._spending.unknown = False


async def recall(quotas: Sequence[Quota], store: Store) -> asyncio.Task[None] | None:
    """Have quotas know what was spent. Where the store is away they are refused, until the task that is given is done."""
    unknown: list[Quota] = []
    for quota in quotas:
        try:
            await quota.recall(store)
        except StoreError as error:
            if not unknown:
                _log.error("keys with budgets are refused until the store tells what they have spent (%s)", error)
            unknown.append(quota)
    return asyncio.ensure_future(_recall_later(unknown, store)) if unknown else None


async def _recall_later(unknown: list[Quota], store: Store) -> None:
    while unknown:
        await asyncio.sleep(_AGAIN_S)
        try:
            await unknown[0].recall(store)
            unknown.pop(0)
        except StoreError as error:
            _log.debug("spending is still not known (%s)", error)


def _not_known() -> Fault:
    said = "What is left of this key's budget can not be known at the moment. Come again in a second."
    return Fault(503, said, "budget_unknown", retry_after_s=1.0)


def too_many(limit: str, what: str, wait_s: float) -> Fault:
    """The answer to a request above a rate."""
    return Fault(
        429,
        f"This key may use {limit}. Come again in {max(wait_s, 0.1):.1f} s.",
        f"{what}_per_minute",
        retry_after_s=wait_s,
    )
