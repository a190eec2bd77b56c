"""How much a key may ask: requests and tokens a minute, and hard budgets of a day and a month.

Rates are buckets that fill evenly, a minute's worth at most. A request is admitted while there is a request's worth and
any token left; its tokens are taken when they are known, so a bucket may go below zero and has to recover first.

Budgets are ledgers (`routewright.pools.budget`): every attempt reserves its worst case in the day's and the month's ledger
before it is made, so that no number of requests at once can pass them. They are kept in memory; at the start they are
filled from the store.
"""

from __future__ import annotations

import calendar
import time

from routewright.gateway.faults import Fault
from routewright.gateway.settings import KeyEntry
from routewright.pools.budget import Ledger, pico
from routewright.stores.base import Store


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


class Quota:
    """One key's limits, and what it has used of them."""

    def __init__(self, entry: KeyEntry | None = None) -> None:
        now = time.monotonic()
        self.requests = Bucket(entry.requests_per_minute if entry else 0, now)
        self.tokens = Bucket(entry.tokens_per_minute if entry else 0, now)
        self._day_usd, self._month_usd = (entry.usd_per_day, entry.usd_per_month) if entry else (None, None)
        self._name = entry.name if entry else ""
        self._ledgers: dict[str, Ledger] = {}

    @property
    def budgets(self) -> frozenset[str]:
        """Which budgets there are: day, month."""
        return frozenset(n for n, usd in (("day", self._day_usd), ("month", self._month_usd)) if usd is not None)

    def inherit(self, old: Quota) -> None:
        """Go on from what was used under other limits. Requests that began under those go on using it too."""
        now = time.monotonic()
        for mine, its in ((self.requests, old.requests), (self.tokens, old.tokens)):
            its.retune(mine.limit, now)
        self.requests, self.tokens = old.requests, old.tokens
        self.ledgers()
        for name in self._ledgers.keys() & old._ledgers.keys():
            old._ledgers[name].cap = self._ledgers[name].cap
            self._ledgers[name] = old._ledgers[name]

    def admit(self, now: float | None = None) -> None:
        """Let a request in, or raise a `Fault` of status 429."""
        now = time.monotonic() if now is None else now
        wait = self.requests.wait_s(now, 1.0)
        if wait > 0:
            raise _too_many(f"{self.requests.limit} requests a minute", "requests", wait)
        wait = self.tokens.wait_s(now, 1.0)
        if wait > 0:
            raise _too_many(f"{self.tokens.limit} tokens a minute", "tokens", wait)
        self.requests.take(1.0)

    def used(self, tokens: int) -> None:
        """Tokens that a request has taken."""
        self.tokens.take(tokens)

    def ledgers(self, now: float | None = None) -> list[Ledger]:
        """Those of today and of this month, where there is a budget."""
        moment = time.gmtime(now)
        wanted = {}
        if self._day_usd is not None:
            wanted[time.strftime("%Y-%m-%d", moment)] = self._day_usd
        if self._month_usd is not None:
            wanted[time.strftime("%Y-%m", moment)] = self._month_usd
        for old in self._ledgers.keys() - wanted.keys():  # requests that began in it keep it
            del self._ledgers[old]
        for name, limit in wanted.items():
            if name not in self._ledgers:
                self._ledgers[name] = Ledger(limit)
        return [self._ledgers[name] for name in wanted]

    def exhausted(self, now: float | None = None) -> Fault:
        """The answer to a request that does not fit what is left of the budgets."""
        now = time.time() if now is None else now
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
        """Book what the store says was spent today and this month."""
        moment = time.gmtime()
        midnight = calendar.timegm((*moment[:3], 0, 0, 0))
        first = calendar.timegm((*moment[:2], 1, 0, 0, 0))
        starts = [s for s, usd in ((midnight, self._day_usd), (first, self._month_usd)) if usd is not None]
        for since, ledger in zip(starts, self.ledgers(), strict=True):
            ledger.spent += pico(await store.spent_usd(self._name, since))


def _too_many(limit: str, what: str, wait_s: float) -> Fault:
    return Fault(
        429,
        f"This key may use {limit}. Come again in {max(wait_s, 0.1):.1f} s.",
        f"{what}_per_minute",
        retry_after_s=wait_s,
    )
