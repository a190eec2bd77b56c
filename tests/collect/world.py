"""A small world for tests of collecting: queries, pools, and a provider that does what a test says."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from routewright.collect import run as running
from routewright.collect.journal import Journal
from routewright.collect.plan import Plan, make_plan
from routewright.collect.queries import Asked
from routewright.collect.run import Ended, collect, prepare
from routewright.collect.settings import Settings
from routewright.errors import ProviderError
from routewright.pools.config import PoolConfig, check_pool
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Ask, Completion, Provider
from routewright.types import Query, Usage

DOWN = ProviderError("nobody is there", "connect", retryable=True, reached=False)


def asked(n: int, metric: str = "contains") -> list[Asked]:
    return [Asked(Query(f"What is {i} and {i}?", f"q{i}", "sums", "made"), str(i), metric) for i in range(n)]


def pool_config(*models: str, providers: Mapping[str, Any] | None = None, **each: Any) -> PoolConfig:
    """Models of one echo endpoint `here`, or of the endpoint that a name such as `a@there` says."""
    entries = []
    for model in models:
        name, _, where = model.partition("@")
        entries.append(
            {"name": name, "provider": where or "here", "usd_per_mtok_in": 1.0, "usd_per_mtok_out": 2.0, **each}
        )
    known = {"kind": "echo", "latency_s": 0.25, "retries": 0, "breaker_failures": 0, "backoff_s": 0.0}
    sections = {"here": known, **{k: {**known, **v} for k, v in (providers or {}).items()}}
    used = {entry["provider"] for entry in entries}
    return check_pool({"providers": {k: v for k, v in sections.items() if k in used}, "models": entries}, "the test")


def plan_of(queries: int = 6, *models: str, config: PoolConfig | None = None, **settings: Any) -> Plan:
    return make_plan(asked(queries), config or pool_config(*(models or ("a", "b"))), Settings(**settings))


class Scripted(Provider):
    """Answers as `echo`, unless `act(ask, nth call of its model)` says otherwise: raises, waits, or gives a text."""

    kind = "scripted"
    summary = "for tests"

    def __init__(self, act: Callable[[Ask, int], Any] | None = None) -> None:
        super().__init__(name="scripted")
        self.act = act or (lambda ask, nth: None)
        self.calls: Counter[str] = Counter()
        self.cells: Counter[tuple[str, str, int]] = Counter()
        self.running = self.most = self.most_tasks = 0

    async def complete(self, ask: Ask) -> Completion:
        self.calls[ask.model] += 1
        self.cells[ask.query.query_id, ask.model, ask.sample] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.most_tasks = max(self.most_tasks, len(asyncio.all_tasks()))
        try:
            done = self.act(ask, self.calls[ask.model])
            if asyncio.iscoroutine(done):
                done = await done
            if isinstance(done, ProviderError):
                raise done
            if isinstance(done, Completion):
                return done
            text = done if isinstance(done, str) else str(ask.messages[-1]["content"])
            return Completion(text, Usage(10, 5), latency_s=0.25)
        finally:
            self.running -= 1


def install(monkeypatch: pytest.MonkeyPatch, provider: Provider) -> None:
    """Have every endpoint of a collection speak to this provider."""
    build = running.build_pool

    def built(config: PoolConfig) -> Pool:
        pool = build(config)
        for member in pool.members.values():
            member.endpoint.provider = provider
        return pool

    monkeypatch.setattr(running, "build_pool", built)


def go(plan: Plan, path: Path, limit_s: float = 60.0) -> Ended:
    """One run to its end."""
    with Journal.open(path, plan.facts()) as journal:
        prepare(plan, journal)
        return asyncio.run(asyncio.wait_for(collect(plan, journal), limit_s))


def kept(plan: Plan, path: Path) -> list[Any]:
    """The rows of a journal."""
    with Journal.open(path, plan.facts()) as journal:
        return list(journal.rows())


def write_jsonl(path: Path, n: int) -> Path:
    lines = ({"query": q.query.text, "reference": q.reference, "metric": q.metric} for q in asked(n))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


POOL = """
[providers.here]
kind = "echo"
latency_s = 0.25
delay_s = {delay}
concurrency = 8

[[models]]
name = "a"
provider = "here"
usd_per_mtok_in = 1.0
usd_per_mtok_out = 2.0

[[models]]
name = "b"
provider = "here"
usd_per_mtok_in = 0.1
usd_per_mtok_out = 0.4
"""


def write_pool(path: Path, delay_s: float = 0.0) -> Path:
    path.write_text(POOL.format(delay=delay_s))
    return path
