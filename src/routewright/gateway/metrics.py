"""Counts and times for Prometheus. Labels are names of the configuration: no text of a request, no key.

Each gateway has a registry of its own. `model` is what was asked for (a coordinator, one of its presets, or a model of the
pool) where requests are counted, and the model that was called where calls are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from routewright.gateway.served import Served
from routewright.gateway.tally import Spread, Tally
from routewright.pools.pool import Endpoint
from routewright.stores.base import Store
from routewright.types import Decision

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1)
_STATES = ("closed", "open", "half-open")


class Metrics:
    """What a gateway counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        by = ("model", "policy")
        self.requests = Tally("routewright_requests", "Requests that ended.", (*by, "status"))
        self.calls = Tally("routewright_calls", "Calls to models.", ("model", "outcome"))
        self.errors = Tally("routewright_call_errors", "Attempts at calls that failed.", ("model", "kind"))
        self.tokens = Tally("routewright_tokens", "Tokens of calls.", ("model", "kind"))
        self.cost = Tally("routewright_cost_usd", "USD charged for calls.", ("model",))
        self.fallbacks = Tally(
            "routewright_fallbacks", "Requests that the coordinator's policy did not serve.", ("model",)
        )
        self.decisions = Tally(
            "routewright_decisions", "Decisions of coordinators.", ("coordinator", "policy", "action", "chance")
        )
        compared = ("coordinator", "baseline")
        self.compared = Tally(
            "routewright_compared_cost_usd", "USD charged for requests that have a baseline.", compared
        )
        self.baseline = Tally(
            "routewright_baseline_cost_usd", "USD that the best single model would have cost: an estimate.", compared
        )
        self.seconds = Spread("routewright_request_seconds", "From request to answer.", by, _SECONDS)
        self.overhead = Spread(
            "routewright_overhead_seconds",
            "Seconds of a request, its calls one after another, in which no model was waited for.",
            by,
            _OVERHEAD,
        )
        self.first = Spread("routewright_first_token_seconds", "To the first streamed token.", by, _SECONDS)
        self.in_flight = Gauge("routewright_in_flight", "Requests being served.", registry=registry)
        self.lost = Gauge("routewright_records_lost", "Records that could not be kept.", registry=registry)
        self.spans_lost = Gauge("routewright_spans_lost", "Requests whose spans were left out.", registry=registry)
        self.breakers = Gauge(
            "routewright_breaker_failures", "Failures in a row of an endpoint.", ["endpoint"], registry=registry
        )
        self.states = Gauge(
            "routewright_breaker_state",
            "1 for the state an endpoint's breaker is in.",
            ["endpoint", "state"],
            registry=registry,
        )
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        for one in vars(self).values():
            if isinstance(one, (Tally, Spread)):
                yield one.family()
        saved = GaugeMetricFamily(
            "routewright_saved_usd",
            "Baseline less cost, since the start: an estimate, below 0 where routing cost more.",
            labels=self.baseline.labels,
        )
        for labels, usd in self.baseline.values.items():
            saved.add_metric(labels, usd - self.compared.values.get(labels, 0.0))
        yield saved

    def count(self, served: Served, status: int, baseline: tuple[str, float] | None = None) -> None:
        """One request that ended; `baseline`: the best single model and what it would have cost, USD."""
        asked, episode = served.asked.model, served.episode
        by = (asked, served.policy)
        self.requests.add((*by, str(status)))
        self.seconds.add(by, episode.latency_s)
        replies = served.replies
        if replies and not any(step.node is not None for step in episode.steps):  # calls of a plan run side by side
            waited = replies[0].latency_s if len(replies) == 1 else sum(reply.latency_s for reply in replies)
            self.overhead.add(by, max(0.0, episode.latency_s - waited))
        if served.first_token_s is not None:
            self.first.add(by, served.first_token_s)
        if served.fallback:
            self.fallbacks.add((asked,))
        if served.coordinator:
            self._decided(served)
            if baseline is not None:
                labels = (served.coordinator, baseline[0])
                self.baseline.add(labels, baseline[1])
                self.compared.add(labels, episode.cost_usd)
        for reply in replies:
            model, usage = reply.model, reply.usage
            self.calls.add((model, "error" if reply.error is not None else "answer"))
            self.tokens.add((model, "prompt"), usage.tokens_in)
            self.tokens.add((model, "completion"), usage.tokens_out)
            if usage.tokens_cached:
                self.tokens.add((model, "prompt_cached"), usage.tokens_cached)
            self.cost.add((model,), reply.cost_usd)
            for attempt in reply.attempts:
                if attempt.error is not None:
                    self.errors.add((attempt.model, attempt.kind or "other"))

    def _decided(self, served: Served) -> None:
        for step in served.episode.steps:
            wish = step.decision
            if isinstance(wish, Decision) and (step.node is None or wish.choices):
                p = wish.probability
                chance = "unknown" if p is None else "certain" if p == 1.0 else "drawn"
                action = type(wish.action).__name__.lower()
                self.decisions.add((served.coordinator, served.policy, action, chance))

    @property
    def being_served(self) -> int:
        """Requests in flight."""
        return int(next(iter(self.in_flight.collect())).samples[0].value)

    def refused(self, status: int) -> None:
        """One request that was turned away before anything was asked."""
        self.requests.add(("", "", str(status)))

    def text(self, store: Store, endpoints: Iterable[Endpoint]) -> bytes:
        """Everything, in Prometheus' text format."""
        self.lost.set(store.lost)
        for gauge in (self.breakers, self.states):  # a pool may have been replaced
            gauge.clear()
        for endpoint in endpoints:
            self.breakers.labels(endpoint.name).set(endpoint.breaker.in_a_row)
            state = endpoint.breaker.state
            for one in _STATES:
                self.states.labels(endpoint.name, one).set(one == state)
        return generate_latest(self.registry)
