"""The ledger of one episode: what may still be spent, counted exactly, so that the cap is never passed.

Before a call the most it can cost is reserved; when it has ended the reservation is settled at what it did cost. At
every moment

    spent + reserved <= cap

Amounts are whole pico-dollars (1e-12 USD, a millionth of a token at one dollar per million), so that sums have no
rounding. A bill above its reservation is charged up to the reservation only; the rest is kept apart as the overrun,
and the ledger is closed: nothing more can be reserved. Without a cap every bill is charged in full.

Not here: what a call can cost at most (`bounds.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from routewright.errors import RoutewrightError

PICO = 1_000_000_000_000


def pico(usd: float) -> int:
    """USD as whole pico-dollars, rounded up: a cost is never rounded away."""
    if not math.isfinite(usd) or usd < 0:
        raise RoutewrightError(f"An amount of {usd} USD can not be booked. Expected a finite number, 0 or more.")
    return math.ceil(round(usd * PICO, 3))  # 3 digits: 0.1 + 0.2 is not a pico more than 0.3


class Hold:
    """One reservation; settle it exactly once. Settling twice, or after `release`, is an error."""

    __slots__ = ("_ledger", "amount", "open")

    def __init__(self, ledger: Ledger, amount: int) -> None:
        self._ledger, self.amount, self.open = ledger, amount, True

    def settle(self, usd: float) -> tuple[float, float]:
        """Book what the call cost; returns (charged, overrun) in USD."""
        return self.settle_pico(pico(usd))

    def settle_pico(self, bill: int) -> tuple[float, float]:
        """`settle` for pico-dollars."""
        charged = bill if self._ledger.cap is None else min(bill, self.amount)
        self._close(charged)
        if bill > charged:
            self._ledger.overrun += bill - self.amount
            self._ledger.closed = True
        return charged / PICO, (bill - charged) / PICO

    def release(self) -> None:
        """Give the reservation back: the call was never made."""
        self._close(0)

    def _close(self, charged: int) -> None:
        if not self.open:
            raise RoutewrightError("A reservation was settled twice. Expected once per call; this is a defect.")
        self.open = False
        self._ledger.reserved -= self.amount
        self._ledger.spent += charged


class Ledger:
    """Spent, reserved and overrun of one episode, in pico-dollars; `cap` is None where there is no limit."""

    __slots__ = ("cap", "closed", "overrun", "reserved", "spent")

    def __init__(self, budget_usd: float = math.inf) -> None:
        if math.isnan(budget_usd) or budget_usd < 0:
            raise RoutewrightError(f"budget_usd must be 0 or more, got {budget_usd}.")
        self.cap = None if math.isinf(budget_usd) else math.floor(round(budget_usd * PICO, 3))
        self.spent = self.reserved = self.overrun = 0
        self.closed = False

    def fits(self, usd: float) -> bool:
        """Whether a call that costs at most `usd` may be made now. An unbounded one fits only where nothing is capped."""
        return self.fits_pico(pico(usd) if math.isfinite(usd) else None)

    def fits_pico(self, amount: int | None) -> bool:
        """`fits` for pico-dollars; None is unbounded."""
        if self.closed:
            return False
        if self.cap is None:
            return True
        return amount is not None and self.spent + self.reserved + amount <= self.cap

    def reserve(self, usd: float) -> Hold | None:
        """Set the most a call can cost aside; None if it does not fit."""
        return self.reserve_pico(pico(usd) if math.isfinite(usd) else None)

    def reserve_pico(self, amount: int | None) -> Hold | None:
        """`reserve` for pico-dollars; None is unbounded."""
        if not self.fits_pico(amount):
            return None
        hold = Hold(self, amount or 0)
        self.reserved += hold.amount
        return hold

    def covers(self, amount: int | None) -> bool:
        """Whether `reserve_pico` would do it now. What merely `fits` may have to be fetched first (`refill`)."""
        return self.fits_pico(amount)

    async def refill(self, amount: int | None) -> bool:
        """Fetch what is lacking for a reservation that fits; True if it is worth trying again. Nothing to fetch here."""
        return False

    def ended(self, spent: int = 0) -> None:
        """The episode is over and about to be recorded. `spent`: what it has booked, for ledgers above."""
        return

    @property
    def spent_usd(self) -> float:
        return self.spent / PICO

    @property
    def overrun_usd(self) -> float:
        return self.overrun / PICO

    @property
    def remaining(self) -> int | None:
        """What could still be reserved, pico-dollars; None: no limit."""
        if self.closed:
            return 0
        return None if self.cap is None else self.cap - self.spent - self.reserved

    @property
    def remaining_usd(self) -> float:
        """What could still be reserved."""
        left = self.remaining
        return math.inf if left is None else left / PICO


class SharedLedger(Ledger):
    """The ledger of one episode that draws on others as well: a key's day, a key's month.

    What it reserves is reserved in every one of them, what it books is booked there: each holds *spent + reserved <= cap*,
    whatever runs beside it. Those above are never closed by an overrun: it is this episode that ends.
    """

    __slots__ = ("above",)

    def __init__(self, budget_usd: float, above: Sequence[Ledger]) -> None:
        super().__init__(budget_usd)
        self.above = tuple(above)
        caps = [left for ledger in (self, *self.above) if (left := ledger.remaining) is not None]
        self.cap = min(caps) if caps else None

    def fits_pico(self, amount: int | None) -> bool:
        return super().fits_pico(amount) and all(ledger.fits_pico(amount) for ledger in self.above)

    def reserve_pico(self, amount: int | None) -> Hold | None:
        if not self.fits_pico(amount):
            return None
        hold = _SharedHold(self, amount or 0)
        self.reserved += hold.amount
        hold.above = []
        for ledger in self.above:
            made = ledger.reserve_pico(amount)
            if made is None:
                hold.release()
                return None
            hold.above.append(made)
        return hold

    def covers(self, amount: int | None) -> bool:
        return super().fits_pico(amount) and all(ledger.covers(amount) for ledger in self.above)

    async def refill(self, amount: int | None) -> bool:
        if not super().fits_pico(amount):
            return False
        lacking = [ledger for ledger in self.above if not ledger.covers(amount)]
        for ledger in lacking:
            if not await ledger.refill(amount):
                return False
        return bool(lacking)

    def ended(self, spent: int = 0) -> None:
        for ledger in self.above:
            ledger.ended(self.spent)

    @property
    def remaining(self) -> int | None:
        left = [one for one in (super().remaining, *(ledger.remaining for ledger in self.above)) if one is not None]
        return min(left) if left else None


class _SharedHold(Hold):
    """A reservation that stands in several ledgers."""

    __slots__ = ("above",)
    above: list[Hold]

    def _close(self, charged: int) -> None:
        super()._close(charged)
        for hold in self.above:
            hold._close(min(charged, hold.amount))
