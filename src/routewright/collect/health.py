"""Whether a model that fails is ill, or only failed: what one outage may do to a table.

A call that failed after all its retries is an outcome: score 0. A server that is down is not, however many calls it
refuses. So failures that look like an outage are held back until it is known what they were:

    the next call succeeds          the held calls failed on their own: they become rows
    `IN_A_ROW` of them in a row,    the model is ill: it is left alone, then tried with one call at a time, at
    or the breaker opens            growing distances; if it recovers the held calls are made again, and if it has
                                    not by `patience_s` it is given up, and its rows are missing

A call that is made again and still fails becomes a row after `TRIES` of them, lest one query that breaks a server
keeps it down for ever.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from routewright.pools.limits import Breaker
from routewright.types import Reply

if TYPE_CHECKING:
    from routewright.collect.journal import Row

IN_A_ROW = 20
TRIES = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0
_OUTAGE = frozenset({"connect", "timeout", "server", "malformed", "cut", "rate_limit", "unavailable"})
_NO_ENTRY = frozenset({401, 402, 403, 404})  # a wrong key, no credit, no such model: true of every call alike


def opens(breaker: Breaker) -> float:
    """When an open breaker lets a call pass again, by `time.monotonic`; 0 if it is not open."""
    return breaker.open_until if breaker.failures and breaker.in_a_row >= breaker.failures else 0.0


def asked(reply: Reply) -> bool:
    """Whether any attempt was made at all: none is while a breaker is open."""
    return reply.error is None or any(a.kind != "unavailable" for a in reply.attempts)


def outage(reply: Reply) -> bool:
    """Whether all that went wrong could befall any query."""
    return all(a.kind in _OUTAGE or a.status in _NO_ENTRY for a in reply.attempts if a.error)


def unaffordable(reply: Reply) -> bool:
    """Whether an attempt was left out because it did not fit the cap: not the model's fault."""
    return any(a.kind == "budget" for a in reply.attempts)


@dataclass(slots=True)
class Health:
    """How one model is doing."""

    patience_s: float
    streak: int = 0
    held: list[Row] = field(default_factory=list)
    ill_since: float | None = None
    pause_s: float = field(default_factory=lambda: FIRST_PAUSE_S)
    next_try: float = 0.0
    given_up: str = ""
    failures: Counter[int] = field(default_factory=Counter)

    @property
    def ill(self) -> bool:
        return self.ill_since is not None

    def wait_s(self, running: int) -> float:
        """Seconds until a call may be made; 0 is now. An ill model is tried by one call at a time."""
        if not self.ill:
            return 0.0
        return LONGEST_PAUSE_S if running else max(0.0, self.next_try - time.monotonic())

    def works(self) -> tuple[list[Row], list[Row]]:
        """A call got through. Returns the held failures that are rows now, and those whose cells are to be asked again."""
        rows: list[Row] = []
        again: list[Row] = []
        for row in self.held:
            self.failures[row.cell] += 1
            (again if self.ill and self.failures[row.cell] < TRIES else rows).append(row)
        self.held, self.streak, self.ill_since, self.pause_s = [], 0, None, FIRST_PAUSE_S
        return rows, again

    def fails(self, error: str, breaker_until: float, row: Row | None) -> None:
        """A call failed as in an outage; `row` is None where it was not even made, for the breaker was open."""
        now = time.monotonic()
        if row is not None:
            self.streak += 1
            self.held.append(row)
        if self.ill_since is None:
            if row is not None and self.streak < IN_A_ROW:
                return
            self.ill_since, self.next_try = now, 0.0
        if now >= self.next_try:  # calls that were under way when it fell ill are not tries
            self.next_try = max(now + self.pause_s, breaker_until)
            self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
        if max(now, self.next_try) - self.ill_since > self.patience_s:
            self.given_up = error
