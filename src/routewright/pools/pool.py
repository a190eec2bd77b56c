"""A pool: model cards, the endpoints behind them, and what its world allows.

    pool = load_pool("pool.toml")
    reply = await pool.call(Request("small", messages, query), Ledger(0.01))
    await pool.aclose()

A pool does not change. `PoolFile` watches a file and hands out the pool it describes now; endpoints whose section did
not change are kept, with their connections and breakers, and calls in flight end on the endpoint they began on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from routewright.errors import ConfigError, UnknownName
from routewright.pools import caller
from routewright.pools.budget import Ledger
from routewright.pools.cache import ResponseCache
from routewright.pools.config import CallSettings, PoolConfig, ProviderEntry, check_pool, read_pool
from routewright.pools.limits import Breaker, Gate, Slots
from routewright.pools.providers.base import Provider, build_provider
from routewright.types import ModelCard, Query, Reply

Judge: TypeAlias = Callable[[Query, Reply | None, str], Awaitable[float | None]]


class Endpoint:
    """A provider with its gate and its breaker."""

    def __init__(self, name: str, provider: Provider, calls: CallSettings, entry: ProviderEntry | None = None) -> None:
        self.name, self.provider, self.calls, self.entry = name, provider, calls, entry
        self.breaker = Breaker(calls.breaker_failures, calls.breaker_cooldown_s)
        self.identity = f"{provider.kind} {provider.address}"
        self._gate = Gate(calls.concurrency, calls.requests_per_minute, calls.tokens_per_minute)
        self._inside = 0
        self._retired = False
        self._closing: asyncio.Task[None] | None = None

    async def enter(self, member: Member, tokens: int) -> None:
        self._inside += 1
        try:
            if member.slots is not None:
                await member.slots.acquire()
            try:
                await self._gate.enter(tokens)
            except BaseException:
                if member.slots is not None:
                    member.slots.release()
                raise
        except BaseException:
            self._out()
            raise

    async def enter_now(self, member: Member, tokens: int) -> bool:
        """`enter` if that takes no waiting; whether it did."""
        if (member.slots is not None and member.slots.full()) or not await self._gate.enter_now(tokens):
            return False
        if member.slots is not None:
            await member.slots.acquire()
        self._inside += 1
        return True

    def leave(self, member: Member) -> None:
        self._gate.leave()
        if member.slots is not None:
            member.slots.release()
        self._out()

    def _out(self) -> None:
        self._inside -= 1
        if self._retired and not self._inside:
            self._closing = asyncio.ensure_future(self.provider.aclose())

    async def retire(self) -> None:
        """Close once the last call in flight has ended."""
        self._retired = True
        if not self._inside:
            await self.provider.aclose()


@dataclass(frozen=True)
class Member:
    """One model of a pool."""

    card: ModelCard
    endpoint: Endpoint
    upstream: str
    fallback: tuple[str, ...] = ()
    slots: Slots | None = None

    @cached_property
    def bounded(self) -> bool:
        """Whether the world itself knows the most a call can cost."""
        return self.endpoint.provider.bounded


@dataclass(frozen=True)
class Rules:
    """What a world allows. A live pool allows everything; a recorded table only what was recorded.

    `once`: a model may be asked once in an episode. `alone`: no call may see earlier replies or another prompt than
    the query. `clock`: latencies are the world's own, not the wall clock's.
    """

    once: bool = False
    alone: bool = False
    clock: bool = False


@dataclass(frozen=True)
class Pool:
    """Models by name, in order."""

    members: Mapping[str, Member]
    cache: ResponseCache | None = None
    rules: Rules = field(default_factory=Rules)
    judge: Judge | None = None  # quality of an answer, where the world knows it
    transcripts: str = "plain"  # how replies are shown to the next model; see `routewright.episodes.prompts`

    @cached_property
    def cards(self) -> tuple[ModelCard, ...]:
        return tuple(m.card for m in self.members.values())

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self.members)

    def member(self, name: str) -> Member:
        if name not in self.members:
            raise UnknownName("model of this pool", name, self.members)
        return self.members[name]

    def line_up(self, name: str) -> list[Member]:
        """The model and, after it, its fallbacks."""
        first = self.member(name)
        return [first, *(self.members[n] for n in first.fallback if n in self.members)]

    async def call(self, request: caller.Request, ledger: Ledger, on_delta: caller.OnDelta | None = None) -> Reply:
        """Ask a model; see `routewright.pools.caller`."""
        return await caller.call(self, request, ledger, on_delta)

    async def aclose(self) -> None:
        """Let every connection go."""
        for endpoint in {id(m.endpoint): m.endpoint for m in self.members.values()}.values():
            await endpoint.provider.aclose()
        if self.cache is not None:
            self.cache.close()


def build_pool(
    config: PoolConfig, keep: Mapping[str, Endpoint] | None = None, cache: ResponseCache | None = None
) -> Pool:
    """A pool from its configuration; endpoints in `keep` that are configured alike are used again, and so is `cache`."""
    endpoints: dict[str, Endpoint] = {}
    for name, entry in config.providers.items():
        old = (keep or {}).get(name)
        if old is not None and old.entry == entry:
            endpoints[name] = old
        else:
            endpoints[name] = Endpoint(name, build_provider(entry.kind, entry.options, name), entry.calls, entry)
    members = {}
    for m in config.models:
        card = ModelCard(
            m.name,
            m.usd_per_mtok_in,
            m.usd_per_mtok_out,
            m.context_tokens,
            m.description,
            m.usd_per_mtok_cached,
            m.output_tokens,
            tuple(m.capabilities),
        )
        slots = Slots(m.concurrency) if m.concurrency else None
        members[m.name] = Member(card, endpoints[m.provider], m.upstream or m.name, m.fallback, slots)
    if config.cache is None:
        cache = None
    elif cache is None or (cache.path, cache.sampled) != (Path(config.cache.path), config.cache.sampled):
        cache = ResponseCache(config.cache.path, config.cache.sampled)
    return Pool(members, cache, transcripts=config.transcripts)


def load_pool(path: str | Path | Mapping[str, Any]) -> Pool:
    """The pool a file describes, or a mapping of the same form. Nothing is called yet."""
    return build_pool(check_pool(path, "the pool given") if isinstance(path, Mapping) else read_pool(path))


class PoolFile:
    """A pool file that may change while it is in use.

    `current` reads it again when its time or size has changed. A file that has become wrong changes nothing: the last
    good pool stays, and `error` says what is the matter.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._config = read_pool(self.path)
        self._stamp = self._look()
        self.pool = build_pool(self._config)
        self.error: ConfigError | UnknownName | None = None

    def _look(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_size)

    async def current(self) -> Pool:
        """The pool as the file describes it now."""
        stamp = self._look()
        if stamp == self._stamp:
            return self.pool
        self._stamp = stamp
        try:
            config = read_pool(self.path)
            old = {m.endpoint.name: m.endpoint for m in self.pool.members.values()}
            pool = build_pool(config, old, self.pool.cache)
        except (ConfigError, UnknownName) as error:
            self.error = error
            return self.pool
        self.error = None
        kept = {id(m.endpoint) for m in pool.members.values()}
        before, self._config, self.pool = self.pool, config, pool
        if before.cache is not None and before.cache is not pool.cache:
            before.cache.close()  # a call in flight opens it again
        for endpoint in old.values():
            if id(endpoint) not in kept:
                await endpoint.retire()
        return pool


def pool_of(cards: Sequence[ModelCard], provider: Provider, rules: Rules, judge: Judge | None = None) -> Pool:
    """A pool whose models all live in one provider: a recorded or simulated world."""
    calls = CallSettings(concurrency=1_000_000, retries=0, breaker_failures=0, deadline_s=3600.0)
    endpoint = Endpoint(provider.name, provider, calls)
    return Pool({c.name: Member(c, endpoint, c.name) for c in cards}, None, rules, judge)
