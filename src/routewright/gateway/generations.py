"""Setups that have served and are on their way out: each is closed once the last request that began on it has ended.

In order: one that came later may share endpoints with one that still has requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from routewright.gateway.faults import where_of
from routewright.gateway.setup import Setup
from routewright.pools.pool import Endpoint

_log = logging.getLogger("routewright.gateway")
_closing: set[asyncio.Task[None]] = set()  # a task that nobody holds may vanish


class Generation:
    """A setup and how many requests are inside."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.inside = 0

    def endpoints(self) -> set[Endpoint]:
        return {member.endpoint for member in self.setup.pool.members.values()}

    async def aclose(self, others: Collection[Setup]) -> None:
        """Close what no other setup uses."""
        used = {member.endpoint for other in others for member in other.pool.members.values()}
        for endpoint in self.endpoints() - used:
            await endpoint.retire()
        cache = self.setup.pool.cache
        if cache is not None and all(other.pool.cache is not cache for other in others):
            cache.close()
        self.let_go()

    def let_go(self) -> None:
        """End the workers of its policies."""
        for serving in self.setup.coordinators.values():
            serving.close()


def retire(generations: list[Generation]) -> None:
    """Close those at the front of the line that nothing runs on any more, but the last, which serves."""
    while len(generations) > 1 and not generations[0].inside:
        old = generations.pop(0)
        task = asyncio.ensure_future(_close(old, [one.setup for one in generations]))
        _closing.add(task)
        task.add_done_callback(_closing.discard)


async def _close(old: Generation, others: list[Setup]) -> None:
    try:
        await old.aclose(others)
    except Exception as error:
        _log.error("what was served before could not be closed: %s", where_of(error))
