"""Requests that come in the same turn of the event loop have their forecasts made at once.

    together = Together(policy.prepare)
    took_s = await together.ask(query)          # when it is done; the decision finds it remembered

Reading sixteen short texts at once costs a sixth of reading them one by one. Nobody waits for others to come: only what
is there already is put together. Not here: what a failure means; whoever decides next meets it again by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from routewright.types import Query

MOST, LONGEST = (
    24,
    24_000,
)  # texts at once, and characters of them that are read: 1.5 ms in which the event loop is held
_READ = 2_000  # characters of a text that an encoder reads, about


class Together:
    """Queries that wait for the end of this turn of the loop."""

    def __init__(self, prepare: Callable[[Sequence[Query]], None]) -> None:
        self._prepare = prepare
        self._waiting: list[tuple[Query, asyncio.Future[float]]] = []

    def ask(self, query: Query) -> asyncio.Future[float]:
        """Done when the query is prepared, or could not be; how long that held the loop, seconds, for one of its batch."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[float] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._make)
        self._waiting.append((query, done))
        return done

    def _make(self) -> None:
        n = size = 0
        for query, _ in self._waiting[:MOST]:
            size += min(len(query.text), _READ)
            if n and size > LONGEST:
                break
            n += 1
        batch, self._waiting = self._waiting[:n], self._waiting[n:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._make)
        batch = [one for one in batch if not one[1].done()]  # whose client has gone in the meantime
        if len(batch) < 2:  # nothing to put together: it is read when it is decided on
            for _, done in batch:
                done.set_result(0.0)
            return
        began = time.perf_counter()
        try:
            self._prepare([query for query, _ in batch])
        except Exception:  # met again, by each alone, where a failed decision is seen to
            took = 0.0
        else:
            took = time.perf_counter() - began
        for _, done in batch:
            if not done.done():
                done.set_result(took)
            took = 0.0
