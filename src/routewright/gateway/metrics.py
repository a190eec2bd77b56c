"""Counts and times for Prometheus. Labels are names of the configuration: no text of a request, no key.

Each gateway has a registry of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from routewright.gateway.served import Served
from routewright.pools.pool import Endpoint
from routewright.stores.base import Store

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1)


class Metrics:
    """What a gateway counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self.requests = Counter("routewright_requests", "Requests that ended.", ["model", "status"], registry=registry)
        self.calls = Counter("routewright_calls", "Calls to models.", ["model", "outcome"], registry=registry)
        self.tokens = Counter("routewright_tokens", "Tokens of calls.", ["model", "kind"], registry=registry)
        self.cost = Counter("routewright_cost_usd", "USD charged for calls.", ["model"], registry=registry)
        self.fallbacks = Counter(
            "routewright_fallbacks",
            "Requests that the coordinator's policy did not serve.",
            ["model"],
            registry=registry,
        )
        self.seconds = Histogram(
            "routewright_request_seconds", "From request to answer.", ["model"], buckets=_SECONDS, registry=registry
        )
        self.overhead = Histogram(
            "routewright_overhead_seconds",
            "Seconds of a request of one call in which no model was waited for.",
            ["model"],
            buckets=_OVERHEAD,
            registry=registry,
        )
        self.first = Histogram(
            "routewright_first_token_seconds",
            "To the first streamed token.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("routewright_in_flight", "Requests being served.", registry=registry)
        self.lost = Gauge("routewright_records_lost", "Records that could not be kept.", registry=registry)
        self.breakers = Gauge(
            "routewright_breaker_failures", "Failures in a row of an endpoint.", ["endpoint"], registry=registry
        )

    def count(self, served: Served, status: int) -> None:
        """One request that ended."""
        name, episode = served.asked.model, served.episode
        self.requests.labels(name, str(status)).inc()
        self.seconds.labels(name).observe(episode.latency_s)
        replies = served.replies
        if len(replies) == 1:
            self.overhead.labels(name).observe(max(0.0, episode.latency_s - replies[0].latency_s))
        if served.first_token_s is not None:
            self.first.labels(name).observe(served.first_token_s)
        if served.fallback:
            self.fallbacks.labels(name).inc()
        for reply in replies:
            self.calls.labels(reply.model, "error" if reply.error is not None else "answer").inc()
            self.tokens.labels(reply.model, "prompt").inc(reply.usage.tokens_in)
            self.tokens.labels(reply.model, "completion").inc(reply.usage.tokens_out)
            self.cost.labels(reply.model).inc(reply.cost_usd)

    def refused(self, status: int) -> None:
        """One request that was turned away before anything was asked."""
        self.requests.labels("", str(status)).inc()

    def text(self, store: Store, endpoints: Iterable[Endpoint]) -> bytes:
        """Everything, in Prometheus' text format."""
        self.lost.set(store.lost)
        for endpoint in endpoints:
            self.breakers.labels(endpoint.name).set(endpoint.breaker.in_a_row)
        return generate_latest(self.registry)
