"""What one endpoint is spared: too many calls at once, too many a minute, and any at all while it is down."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from routewright.errors import ProviderError

_OUTAGES = ("connect", "timeout", "server", "malformed", "cut")  # kinds that say the endpoint is ill


class Breaker:
    """Closed, open, half open.

    After `failures` failures in a row the endpoint is left alone for `cooldown_s`; then one call may try, and its
    outcome closes the breaker or opens it again. Refusals and rate limits are not outages.
    """

    def __init__(self, failures: int, cooldown_s: float) -> None:
        self.failures, self.cooldown_s = failures, cooldown_s
        self.in_a_row = 0
        self.open_until = 0.0
        self._probing = False

    def admit(self, endpoint: str) -> bool:
        """Pass, or raise `ProviderError` of kind `unavailable`; whether the call is the one that tries.

        A call that was let in reports `done`, or `given_up` if nothing came of it either way.
        """
        if not self.failures or self.in_a_row < self.failures:
            return False
        wait = self.open_until - time.monotonic()
        if wait > 0 or self._probing:
            raise ProviderError(
                f"{endpoint} is left alone after {self.in_a_row} failures in a row (next try in {max(wait, 0):.1f} s)",
                "unavailable",
                reached=False,
            )
        self._probing = True
        return True

    def done(self, error: ProviderError | None, probe: bool = False) -> None:
        """Report a call's end; None is a success. A rate limit says nothing about health."""
        self.given_up(probe)
        if error is not None and error.kind == "rate_limit":
            return
        if error is None or error.kind not in _OUTAGES:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.failures and self.in_a_row >= self.failures:
            self.open_until = time.monotonic() + self.cooldown_s

    @property
    def state(self) -> str:
        """closed, open, or half-open: the next call may try, or one is trying."""
        if not self.failures or self.in_a_row < self.failures:
            return "closed"
        return "half-open" if self._probing or self.open_until <= time.monotonic() else "open"

    def given_up(self, probe: bool = False) -> None:
        if probe:
            self._probing = False


class Slots:
    """At most `n` holders at once in one event loop; others wait in order.

    A pool may serve one loop after another (`Coordinator.run` makes one a call), and who waits belongs to a loop.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._by_loop: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    def _mine(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            for old in [old for old in self._by_loop if old.is_closed()]:
                del self._by_loop[old]
            self._by_loop[loop] = asyncio.Semaphore(self._n)
        return self._by_loop[loop]

    async def acquire(self) -> None:
        await self._mine().acquire()

    def release(self) -> None:
        try:
            self._mine().release()
        except RuntimeError:  # there is no loop: it ended around the holder, and with it all who waited
            return

    def full(self) -> bool:
        """Whether who comes now would have to wait."""
        return self._mine().locked()


class Gate:
    """At most `concurrency` calls at once, and at most so many calls and tokens in any 60 seconds (0: no limit).

    Calls wait for their turn in order. Tokens are counted by the call's upper bound, before it is made.
    """

    WINDOW_S = 60.0

    def __init__(self, concurrency: int, requests_per_minute: int = 0, tokens_per_minute: int = 0) -> None:
        self._slots = Slots(concurrency)
        self.requests, self.tokens = requests_per_minute, tokens_per_minute
        self._recent: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._turn = Slots(1) if requests_per_minute or tokens_per_minute else None

    async def enter(self, tokens: int) -> None:
        await self._slots.acquire()
        if self._turn is None:
            return
        try:
            await self._turn.acquire()
            try:
                while (wait := self._wait_s(tokens)) > 0:
                    await asyncio.sleep(wait)
                self._count(tokens)
            finally:
                self._turn.release()
        except BaseException:
            self._slots.release()
            raise

    async def enter_now(self, tokens: int) -> bool:
        """Enter if that takes no waiting; whether it did."""
        if self._slots.full() or (self._turn is not None and (self._turn.full() or self._wait_s(tokens) > 0)):
            return False
        await self._slots.acquire()  # at once: there is room
        if self._turn is not None:
            self._count(tokens)
        return True

    def _count(self, tokens: int) -> None:
        self._recent.append((time.monotonic(), tokens))
        self._sum += tokens

    def leave(self) -> None:
        self._slots.release()

    def _wait_s(self, tokens: int) -> float:
        now = time.monotonic()
        while self._recent and self._recent[0][0] <= now - self.WINDOW_S:
            self._sum -= self._recent.popleft()[1]
        full = bool(self.requests) and len(self._recent) >= self.requests
        # One call above the whole limit may pass alone: waiting would not help it.
        full |= bool(self.tokens) and bool(self._recent) and self._sum + tokens > self.tokens
        return self._recent[0][0] + self.WINDOW_S - now if full else 0.0
