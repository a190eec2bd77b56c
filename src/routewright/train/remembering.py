"""Workers that are asked the same thing again and again while a router trains: each reply is made once, and charged every time.

    pool = remembering(pool, Path("out/replies.sqlite"))

Not the pool's own cache, whose hits cost nothing: a router must be charged for a call whoever asked before, or what an episode
costs would depend on its place in the training. Only for models that do not sample; replies outlive the process where a file is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from routewright.pools.bounds import as_json
from routewright.pools.cache import ResponseCache
from routewright.pools.pool import Endpoint, Pool
from routewright.pools.providers.base import Ask, Completion, Delta, Provider


class Remembering(Provider):
    """Another provider, whose replies are kept."""

    kind: ClassVar[str] = "remembering"
    summary: ClassVar[str] = "another provider, whose replies are kept"

    def __init__(self, inner: Provider, kept: ResponseCache | None = None) -> None:
        super().__init__(name=inner.name)
        self.inner, self.kept = inner, kept
        self.asked = self.made = 0
        self._replies: dict[bytes, asyncio.Future[Completion]] = {}

    @property
    def address(self) -> str:
        return self.inner.address

    async def complete(self, ask: Ask) -> Completion:
        self.asked += 1
        key = as_json([ask.model, list(ask.messages), ask.max_tokens, dict(ask.options), ask.stop, ask.sample])
        found = self._replies.get(key)
        if found is None:
            found = asyncio.ensure_future(self._make(ask))
            self._replies[key] = found
            found.add_done_callback(lambda made: self._forget(key, made))
        return await asyncio.shield(found)

    def _forget(self, key: bytes, made: asyncio.Future[Completion]) -> None:
        if made.cancelled() or made.exception() is not None:
            self._replies.pop(key, None)

    async def _make(self, ask: Ask) -> Completion:
        name = self.kept.key(f"{self.inner.kind} {self.address}", ask) if self.kept is not None else None
        if self.kept is not None and name is not None and (old := await self.kept.get(name)) is not None:
            return old
        self.made += 1
        made = await self.inner.complete(ask)
        if self.kept is not None and name is not None:
            await self.kept.put(name, made)
        return made

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        done = await self.complete(ask)
        yield Delta(done.text)
        yield done

    async def aclose(self) -> None:
        await self.inner.aclose()
        if self.kept is not None:
            self.kept.close()


def remembering(pool: Pool, path: Path | None = None) -> Pool:
    """The pool with all its endpoints remembering."""
    kept = ResponseCache(path) if path is not None else None
    old = {id(m.endpoint): m.endpoint for m in pool.members.values()}
    new = {key: Endpoint(e.name, Remembering(e.provider, kept), e.calls, e.entry) for key, e in old.items()}
    return replace(pool, members={name: replace(m, endpoint=new[id(m.endpoint)]) for name, m in pool.members.items()})
