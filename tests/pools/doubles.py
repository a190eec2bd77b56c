"""A provider that does what it is told, in memory, for tests of what calls it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from routewright.pools.config import CallSettings
from routewright.pools.pool import Endpoint, Member, Pool
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.types import ModelCard, Usage


class Scripted(Provider):
    """Each call takes the next item: a text, a Completion, an exception to raise, or a number of seconds to wait first.

    With the script used up it says "answer of <model>". `asked` holds every attempt; `most` the most at once.
    """

    kind: ClassVar[str] = "scripted"
    summary: ClassVar[str] = "test"

    def __init__(self, *script: Any, name: str = "scripted") -> None:
        super().__init__(name=name)
        self.script: deque[Any] = deque(script)
        self.asked: list[Ask] = []
        self.closed = 0
        self.inside = self.most = 0

    async def complete(self, ask: Ask) -> Completion:
        self.asked.append(ask)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            while self.script:
                item = self.script.popleft()
                if isinstance(item, (int, float)):
                    await asyncio.sleep(item)
                    continue
                if isinstance(item, BaseException):
                    raise item
                return item if isinstance(item, Completion) else Completion(item, Usage(10, 5))
            return Completion(f"answer of {ask.model}", Usage(10, 5))
        finally:
            self.inside -= 1

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        done = await self.complete(ask)
        for letter in done.text:
            yield Delta(letter)
        yield done

    async def aclose(self) -> None:
        self.closed += 1


def scripted_pool(*providers: Scripted, fallback: bool = False, **calls: Any) -> Pool:
    """A pool of one model per provider, m0, m1, ...: each at 1 and 2 USD per million tokens, 100 tokens of reply."""
    settings = CallSettings(**{"backoff_s": 0.0, "breaker_failures": 0, **calls})
    members = {}
    for i, provider in enumerate(providers):
        card = ModelCard(f"m{i}", 1.0, 2.0, None, "", None, 100)
        behind = tuple(f"m{j}" for j in range(i + 1, len(providers))) if fallback else ()
        members[card.name] = Member(card, Endpoint(f"e{i}", provider, settings), card.name, behind)
    return Pool(members)
