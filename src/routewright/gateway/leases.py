"""Budgets that several gateways share, by leases: a gateway takes a slice in Redis, and spends from it on its own.

For each key and period Redis counts what was *granted*: all that was spent, and all that gateways hold. A gateway's lease is
the ledger above its episodes, and its cap is what it has drawn. So at every moment

    sum over gateways of (spent + reserved) <= sum of drawn <= granted <= budget

whoever dies, and while Redis is away. No request waits for Redis unless the lease does not cover its worst case: leases are
taken ahead (a share of the budget, twice the most that was reserved at once lately, never more than a quarter of what is
left), what lies idle or is lacking elsewhere goes back.

What a killed gateway held stays granted until the period ends. After Redis was restarted or emptied nothing is granted until
a roll call has ended, in which every gateway says what it holds; the sum of the records in the store is added, and what is
still known to Redis is never lowered. Not here: the connection and the beat (`shared.py`), the steps in Redis (`scripts.py`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routewright.errors import StoreError
from routewright.gateway.scripts import ATTEND, CONFIRM, DRAW
from routewright.pools.budget import PICO, Hold, Ledger, pico

if TYPE_CHECKING:
    from routewright.gateway.shared import Shared

_IDLE_S = 5.0  # a lease that was not touched for so long goes back
_PATIENCE_S = 0.8  # a request waits so long for what other gateways hold
_AT_ONCE = 16  # leases drawn side by side
_KEPT_S = 2 * 86400  # Redis keeps a budget so long after its period
_log = logging.getLogger("routewright.gateway")


@dataclass(slots=True)
class _Wanted:
    """A request that waits for so much, pico-dollars."""

    amount: int
    done: asyncio.Future[bool]
    since: float


class Lease(Ledger):
    """What this gateway may spend of one key's day or month: `cap` is what it has drawn of `whole`.

    `fits` and `remaining` also count what can be fetched (`refill`), when last heard of: the `room` that is left in Redis, and
    what others hold and may give back.
    """

    __slots__ = (
        "_leases",
        "epoch",
        "free_low",
        "key",
        "lacked",
        "others",
        "peak",
        "place",
        "room",
        "seq",
        "since",
        "told",
        "touched",
        "until",
        "waiting",
        "whole",
    )  # fmt: skip
    cap: int

    def __init__(self, leases: Leases, key: str, period: str, since: float, until: float) -> None:
        super().__init__(0.0)
        self._leases, self.key, self.place = leases, key, f"budget:{period}:{key}"
        self.since, self.until = since, until  # of the period, seconds since 1970
        self.cap = self.whole = self.room = 0
        self.told = 0  # spent by episodes that have ended: their records are in the store, or on their way
        self.peak = 0  # the most that was reserved at once, lately
        self.free_low = 0  # below, more is taken ahead
        self.others, self.lacked = 0, False  # what others have free; whether one of them lacks it
        self.seq, self.epoch = 0, ""
        self.touched = -math.inf
        self.waiting: list[_Wanted] = []

    @property
    def free(self) -> int:
        """Drawn, and neither spent nor reserved."""
        return max(0, self.cap - self.spent - self.reserved)

    def fits_pico(self, amount: int | None) -> bool:
        self.touched = time.monotonic()  # asked for, if in vain: so what can be fetched is looked after
        return amount is not None and amount <= self.free + self.room + self.others

    def covers(self, amount: int | None) -> bool:
        return amount is not None and amount <= self.free

    def reserve_pico(self, amount: int | None) -> Hold | None:
        if amount is None or amount > self.free:
            return None
        hold = Hold(self, amount)
        self.reserved += amount
        self.peak = max(self.peak, self.reserved)
        if self.free < self.free_low:
            self._leases.poke()
        return hold

    @property
    def remaining(self) -> int | None:
        self.touched = time.monotonic()
        return self.free + self.room + self.others

    async def refill(self, amount: int | None) -> bool:
        return await self._leases.fetch(self, amount)

    def ended(self, spent: int = 0) -> None:
        self.told += spent


class Leases:
    """All leases of a gateway. `poke` asks for a turn soon."""

    def __init__(self, shared: Shared, share: float, wait_s: float, poke: Callable[[], None]) -> None:
        self._shared, self._share, self._wait_s, self.poke = shared, share, wait_s, poke
        self._all: dict[tuple[str, str], Lease] = {}
        self._confirming: dict[Lease, asyncio.Task[None]] = {}

    def of(self, key: str, period: str, since: float, until: float, usd: float) -> Lease:
        """The lease of a key and period whose budget is `usd`."""
        lease = self._all.get((key, period))
        if lease is None:
            lease = self._all[key, period] = Lease(self, key, period, since, until)
            lease.whole = math.floor(round(usd * PICO, 3))
            lease.room = 0 if self._shared.away else lease.whole
        lease.whole = math.floor(round(usd * PICO, 3))
        return lease

    @property
    def busy(self) -> bool:
        """Whether there is something to look after."""
        return any(lease.waiting or lease.free or lease.reserved for lease in self._all.values())

    def known(self, key: str) -> bool:
        """Whether Redis can be asked what is left of a key's budgets."""
        mine = [lease for lease in self._all.values() if lease.key == key]
        return not self._shared.away and all(lease.epoch == self._shared.epoch for lease in mine)

    async def fetch(self, lease: Lease, amount: int | None) -> bool:
        """Have more drawn, so that `amount` can be reserved; False if there is not so much, or Redis is away."""
        if amount is None or amount > lease.whole or self._shared.away:
            return False
        if amount <= lease.free:
            return True
        wanted = _Wanted(amount, asyncio.get_running_loop().create_future(), time.monotonic())
        lease.waiting.append(wanted)
        self.poke()
        try:
            return await asyncio.wait_for(wanted.done, self._wait_s)
        except TimeoutError:
            return False

    def gone(self) -> None:
        """Redis is away: there is what we hold."""
        for lease in self._all.values():
            lease.room = lease.others = 0
            for wanted in lease.waiting:
                if not wanted.done.done():
                    wanted.done.set_result(False)
            lease.waiting.clear()

    def back(self) -> None:
        """Redis is back: how much is left there is seen when it is asked."""
        for lease in self._all.values():
            lease.room = max(0, lease.whole - lease.cap)

    async def attend(self, epoch: str) -> None:
        """Answer the roll call: say what of each lease is not in the store yet."""
        held = [lease for lease in self._all.values() if lease.cap]
        for lease in self._all.values():
            lease.epoch = ""
        told = {lease: lease.told for lease in held}
        lost_usd = await self._shared.recorded() if held else None
        for lease in held:
            drawn = lease.cap
            lease.cap = least = (
                lease.spent + lease.reserved
            )  # nothing is reserved until we know whether we are too late
            outstanding = drawn if lost_usd is None else min(drawn, drawn - told[lease] + pico(lost_usd))
            arguments = [epoch, self._shared.id, drawn, least, outstanding, round(lease.until + _KEPT_S)]
            try:
                said, had = await self._shared.call(ATTEND, ["marker", lease.place], arguments)
            except BaseException:
                lease.cap = drawn
                raise
            lease.cap = int(had) if said != "moved" else drawn
            self._settle(lease)

    async def turn(self, beat: bool) -> None:
        """Draw where it is low, or on every beat; give back what is idle."""
        now, due = time.time(), []
        for name, lease in list(self._all.items()):
            idle = time.monotonic() - lease.touched > _IDLE_S
            over = now > lease.until and not lease.reserved
            if beat:
                lease.peak = max(lease.reserved, lease.peak * 9 // 10)
            if over and not lease.free and not lease.waiting:
                del self._all[name]
            elif lease.waiting or lease.free < lease.free_low or (beat and (lease.free or not idle)):
                due.append((lease, idle or over))
        due.sort(key=lambda one: not one[0].waiting)
        for first in range(0, len(due), _AT_ONCE):
            draws = (self._draw(lease, idle) for lease, idle in due[first : first + _AT_ONCE])
            for ended in await asyncio.gather(*draws, return_exceptions=True):
                if isinstance(ended, BaseException):
                    raise ended

    async def give_back(self) -> None:
        """At the end: what is free goes back."""
        for lease in self._all.values():
            if lease.free and lease.epoch == self._shared.epoch:
                await self._draw(lease, True)

    async def _draw(self, lease: Lease, idle: bool) -> None:
        if lease.epoch != self._shared.epoch:
            self._confirm(lease)
            return
        lease.waiting = [wanted for wanted in lease.waiting if not wanted.done.done()]
        left, lacking = lease.free, []
        for wanted in lease.waiting:
            if wanted.amount <= left:
                left -= wanted.amount
            else:
                lacking.append(wanted.amount)
        ahead = min(max(int(lease.whole * self._share), 2 * lease.peak), lease.room // 4)
        if idle or lease.lacked:
            ahead = 0
        keep, back = max(ahead, lease.peak), 0
        if lease.lacked or (idle and not lease.waiting):
            back = left
        elif not lease.waiting and lease.free > 2 * keep:
            back = lease.free - keep
        want = 0 if back else max(0, sum(lacking) - left) + (max(0, ahead - left) if not lacking else ahead)
        least = max(1, min(lacking) - left) if lacking else 1
        lease.cap -= back
        lease.seq += 1
        keys = ["marker", lease.place, "gateways"]
        arguments = [lease.epoch, self._shared.id, lease.seq, lease.whole, want, least, back, lease.free]
        said, drawn, room, others, short = await self._shared.call(DRAW, keys, arguments)
        if said != "ok":  # Redis was restarted or emptied; what was to go back stays out of use until it is told
            lease.epoch = ""
            self._shared.moved()
            return
        lease.cap, lease.room = int(drawn), max(0, int(room))
        lease.others, lease.lacked = int(others), short == "1"
        lease.free_low = min(ahead, lease.room) // 2
        self._settle(lease)

    def _settle(self, lease: Lease) -> None:
        """Tell those who wait what has become of it."""
        left, now, still = lease.free, time.monotonic(), []
        for wanted in lease.waiting:
            if wanted.done.done():
                continue
            if wanted.amount <= left:
                left -= wanted.amount
                wanted.done.set_result(True)
            elif not self._may_come(lease, wanted, now):
                wanted.done.set_result(False)
            else:
                still.append(wanted)
        lease.waiting = still
        if still and lease.room:
            self.poke()

    def _may_come(self, lease: Lease, wanted: _Wanted, now: float) -> bool:
        """Whether there is enough in Redis, or other gateways have it and may give it back."""
        if lease.epoch != self._shared.epoch or wanted.amount <= lease.free + lease.room:
            return True
        held = lease.free + lease.room + lease.others
        return wanted.amount <= held and now - wanted.since < _PATIENCE_S

    def _confirm(self, lease: Lease) -> None:
        """Have Redis know the budget, apart from the beat: the store may take its time."""
        if lease not in self._confirming and not self._shared.settling:
            task = self._confirming[lease] = asyncio.ensure_future(self._confirmed(lease))
            task.add_done_callback(lambda _: self._confirming.pop(lease, None))

    async def _confirmed(self, lease: Lease) -> None:
        epoch, keys, expires = self._shared.epoch, ["marker", lease.place], round(lease.until + _KEPT_S)
        try:
            said = await self._shared.call(CONFIRM, keys, [epoch, "", expires])
            if said == "base":
                base = 0  # nothing was granted of a period that has begun since Redis lost anything
                if lease.since * 1000 < self._shared.until_ms:
                    base = pico(await self._shared.store.spent_usd(lease.key, lease.since))
                said = await self._shared.call(CONFIRM, keys, [epoch, str(base), expires])
            if said == "ok":
                lease.epoch = epoch
            elif said == "moved":
                self._shared.moved()
        except StoreError as error:
            _log.error("shared: what %s has spent is not known, its budget waits (%s)", lease.key, error)
            await asyncio.sleep(1.0)
        except self._shared.failures:
            await asyncio.sleep(0.1)  # the beat notices by itself
        if lease.waiting:
            self.poke()
