"""A provider that does only what it is told, on a clock that stands still: for tests that drive calls step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from routewright.pools.providers.base import Ask, Completion, Delta, Provider


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time moves only by `pass_s`, so deadlines and waits cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def settle(self, ticks: int = 40) -> None:
        """Let everything run that can run now."""

        async def spin() -> None:
            for _ in range(ticks):
                await asyncio.sleep(0)

        self.run_until_complete(spin())

    def pass_s(self, seconds: float) -> None:
        self.now += seconds
        self.settle()


@dataclass(eq=False)
class Asked:
    """One attempt that reached the provider, and how it ended.

    `stubborn` ones need a further item after they are cancelled before they end; with `late` they then answer with it,
    as an upstream does whose reply was already on its way.
    """

    ask: Ask
    streamed: bool
    stubborn: bool = False
    late: bool = False
    inbox: asyncio.Queue[Delta | Completion | BaseException | None] = field(default_factory=asyncio.Queue)
    text: str = ""  # streamed so far
    cancelled: bool = False
    over: bool = False
    last: Any = None  # the item it ended with; None if it was cancelled, or the stream just stopped

    async def get(self) -> Delta | Completion | BaseException | None:
        try:
            return await self.inbox.get()
        except asyncio.CancelledError:
            self.cancelled = True
            if not self.stubborn:
                raise
            item = await self.inbox.get()
            if self.late and isinstance(item, Completion):
                return item
            raise


class Stepwise(Provider):
    """Keeps every attempt; whoever holds it puts the attempt's fate into its inbox.

    `mood` is what the next attempts are like (stubborn, late); `at_once` their fate if they do not wait to be told.
    """

    kind: ClassVar[str] = "stepwise"
    summary: ClassVar[str] = "test"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self.mood = (False, False)
        self.at_once: Completion | BaseException | None = None

    def _begin(self, ask: Ask, streamed: bool) -> Asked:
        made = Asked(ask, streamed, *self.mood)
        if self.at_once is not None:
            made.inbox.put_nowait(self.at_once)
        self.asked.append(made)
        return made

    async def complete(self, ask: Ask) -> Completion:
        made = self._begin(ask, False)
        try:
            item = await made.get()
            made.last = item
        finally:
            made.over = True
        if isinstance(item, BaseException):
            raise item
        assert isinstance(item, Completion)
        return item

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        made = self._begin(ask, True)
        try:
            while True:
                item = await made.get()
                if isinstance(item, BaseException):
                    made.last = item
                    raise item
                if item is None:
                    return
                if isinstance(item, Delta):
                    made.text += item.text
                else:
                    made.last = item
                yield item
                if isinstance(item, Completion):
                    return
        finally:
            made.over = True
