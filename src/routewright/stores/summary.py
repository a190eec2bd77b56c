"""What a store says of a stretch of time: requests, errors, cost, saving and calls in buckets, and how long answers took.

Reading is bounded: at most the newest `MOST` requests are counted, and latencies are those of the newest `TIMED`. `whole`
says whether that was all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routewright.stores.base import Record

MOST = 500_000
TIMED = 10_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """Requests that ended within `bucket_s` from `at` on.

    `errors` have a status of 500 or above. `baseline_usd` is what the best single model would have cost for those that have
    a baseline, and `compared_usd` what those did cost. `calls`: by model.
    """

    at: float
    requests: int = 0
    errors: int = 0
    cost_usd: float = 0.0
    compared_usd: float = 0.0
    baseline_usd: float = 0.0
    calls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """Buckets in order of time, those without a request left out; latencies sorted, seconds."""

    since: float
    until: float
    bucket_s: float
    buckets: tuple[Bucket, ...] = ()
    latencies_s: tuple[float, ...] = ()
    whole: bool = True

    def latency_s(self, share: float) -> float | None:
        """The latency that this share of the requests did not exceed; None if there were none."""
        if not self.latencies_s:
            return None
        return self.latencies_s[max(0, math.ceil(share * len(self.latencies_s)) - 1)]

    @property
    def total(self) -> Bucket:
        """All of it in one."""
        made = _Sums()
        for bucket in self.buckets:
            made.add(bucket)
        return made.bucket(self.since)


@dataclass(slots=True)
class _Sums:
    """A bucket in the making."""

    requests: int = 0
    errors: int = 0
    cost_usd: float = 0.0
    compared_usd: float = 0.0
    baseline_usd: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)

    def add(self, other: Row | Bucket) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.cost_usd += other.cost_usd
        self.compared_usd += other.compared_usd
        self.baseline_usd += other.baseline_usd
        calls = other.calls.items() if isinstance(other, Bucket) else ((m, other.requests) for m in other.models)
        for model, n in calls:
            self.calls[model] = self.calls.get(model, 0) + n

    def bucket(self, at: float) -> Bucket:
        return Bucket(
            at, self.requests, self.errors, self.cost_usd, self.compared_usd, self.baseline_usd, dict(self.calls)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """Requests of one bucket that called the same models: what a database can sum up by itself."""

    bucket: int
    models: Sequence[str]
    requests: int
    errors: int
    cost_usd: float
    compared_usd: float
    baseline_usd: float


def summed(
    rows: Iterable[Row], latencies_s: Iterable[float], since: float, until: float, bucket_s: float, whole: bool
) -> Summary:
    """The summary of rows."""
    made: dict[int, _Sums] = {}
    for row in rows:
        made.setdefault(row.bucket, _Sums()).add(row)
    buckets = tuple(sums.bucket(since + n * bucket_s) for n, sums in sorted(made.items()))
    return Summary(since, until, bucket_s, buckets, tuple(sorted(latencies_s)), whole)


def summary_of(records: Sequence[Record], since: float, until: float, bucket_s: float) -> Summary:
    """The summary of records given newest first."""
    some = [r for r in records if since <= r.at < until]
    counted = some[:MOST]
    rows = [
        Row(
            int((r.at - since) / bucket_s),
            r.models,
            1,
            int(r.status >= 500),
            r.cost_usd,
            0.0 if r.baseline_usd is None else r.cost_usd,
            r.baseline_usd or 0.0,
        )
        for r in counted
    ]
    return summed(rows, [r.latency_s for r in counted[:TIMED]], since, until, bucket_s, len(some) == len(counted))
