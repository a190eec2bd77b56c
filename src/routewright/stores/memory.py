"""`memory`: the last records, in this process. For trials: a restart forgets them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import replace
from itertools import islice

from pydantic import Field

from routewright import config
from routewright.stores.base import Feedback, Record, Store
from routewright.stores.summary import Summary, summary_of


class Memory(Store):
    """Records in an ordered dictionary; the oldest make room."""

    kind = "memory"
    summary = "the last records, in this process; a restart forgets them"

    class Config(config.Config):
        records: int = Field(10_000, ge=1, description="kept at most; the oldest make room")

    def __init__(self, config: Config | None = None, retain_s: float = 0.0) -> None:
        super().__init__(config, retain_s)
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._feedback: dict[tuple[str, str], Feedback] = {}
        self._named: dict[str, set[str]] = {}

    def record(self, record: Record) -> None:
        self._records[record.trace_id] = record
        while self._records and (len(self._records) > self.config.records or self._old()):
            trace_id, _ = self._records.popitem(last=False)
            for name in self._named.pop(trace_id, ()):
                del self._feedback[trace_id, name]

    def _old(self) -> bool:
        first = next(iter(self._records.values()))
        return bool(self.retain_s) and first.at < time.time() - self.retain_s

    async def feedback(self, feedback: Feedback) -> bool:
        if feedback.trace_id not in self._records:
            return False
        self._feedback[feedback.trace_id, feedback.name] = feedback
        self._named.setdefault(feedback.trace_id, set()).add(feedback.name)
        return True

    async def find(self, trace_id: str) -> Record | None:
        return self._records.get(trace_id)

    async def spent_usd(self, key: str, since: float) -> float:
        return sum(r.cost_usd for r in self._records.values() if r.key == key and r.at >= since)

    async def judged(self) -> list[tuple[Record, Feedback]]:
        pairs = [(self._records[f.trace_id], f) for f in self._feedback.values()]
        return sorted(pairs, key=lambda pair: (pair[0].at, pair[1].at))

    async def recent(self, limit: int, before: float = math.inf) -> list[Record]:
        found = (r for r in reversed(self._records.values()) if r.at < before)
        return [replace(r, query=None, response=None, trace=b"") for r in islice(found, limit)]

    async def over_time(self, since: float, until: float, bucket_s: float) -> Summary:
        kept = list(reversed(self._records.values()))
        return await asyncio.to_thread(summary_of, kept, since, until, bucket_s)
