"""Counts and times by label, kept in dictionaries and turned into Prometheus' families when they are read.

`prometheus_client`'s own counters take a lock for every step, and its histograms walk all their buckets; here one event
loop writes, and a request costs a few microseconds. Counting belongs to that loop; reading may happen on it too, or nowhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

Labels: TypeAlias = tuple[str, ...]


class Tally:
    """A counter: it only goes up."""

    __slots__ = ("help", "labels", "name", "values")

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """`labels` in the order of the names."""
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def family(self) -> CounterMetricFamily:
        made = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in self.values.items():
            made.add_metric(labels, value)
        return made


class Spread:
    """A histogram."""

    __slots__ = ("bounds", "counts", "help", "labels", "name", "sums")

    def __init__(self, name: str, help: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name, self.help, self.labels, self.bounds = name, help, tuple(labels), tuple(bounds)
        self.counts: dict[Labels, list[int]] = {}
        self.sums: dict[Labels, float] = {}

    def add(self, labels: Labels, value: float) -> None:
        """One observation; it belongs to the first bound that is not below it."""
        counts = self.counts.get(labels)
        if counts is None:
            counts = self.counts[labels] = [0] * (len(self.bounds) + 1)
            self.sums[labels] = 0.0
        counts[bisect_left(self.bounds, value)] += 1
        self.sums[labels] += value

    def family(self) -> HistogramMetricFamily:
        made = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        names = [*map(floatToGoString, self.bounds), "+Inf"]
        for labels, counts in self.counts.items():
            so_far, buckets = 0, []
            for name, count in zip(names, counts, strict=True):
                so_far += count
                buckets.append((name, float(so_far)))
            made.add_metric(labels, buckets, self.sums[labels])
        return made
