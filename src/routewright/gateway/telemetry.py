"""Traces for OpenTelemetry: a span for every request, and one for every attempt at a call, told after the fact.

    [telemetry]
    otlp = "http://127.0.0.1:4318"

Spans are made from what was served, in a thread of their own: a request leaves its episode in a bounded queue and is done.
A collector that is slow or dead fills the queue; what does not fit is counted (`routewright_spans_lost`) and left out. A
request continues the trace of its client's `traceparent`; without one the trace's id is the answer's own trace id. Names
follow the GenAI semantic conventions (`gen_ai.*`), which are still in development. No text of a request or reply, and no
key, is in any of them.

When calls began is not recorded: their spans are laid out from how long each took, one after another (the calls of a plan
after those they waited for), and so that the last ends with its request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from routewright import __version__
from routewright.errors import MissingExtra
from routewright.gateway.served import Served
from routewright.gateway.settings import TelemetrySettings
from routewright.pools.pool import Pool
from routewright.types import Attempt, Call, Decision, Generate, Plan, Reply, Step

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

_EVERY_S = 0.5  # between batches
_BATCH = 256  # requests in a batch
_EXPORT_S = 5.0  # the longest a batch may take to be taken, tries included
_NS = 1_000_000_000
_REQUEST = {"max_tokens": "max_tokens", "max_completion_tokens": "max_tokens", "seed": "seed"}
_REQUEST_FLOATS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_log = logging.getLogger("routewright.gateway")


@dataclass(frozen=True, slots=True)
class _Began:
    """What a request came with."""

    at_ns: int
    path: str
    carrier: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Ended:
    """A request that is to be told of."""

    began: _Began
    served: Served
    key: str
    status: int
    streamed: bool
    pool: Pool


class Telemetry:
    """Makes spans and sends them to one collector. `MissingExtra` without OpenTelemetry's SDK."""

    def __init__(self, settings: TelemetrySettings) -> None:
        self._began: OrderedDict[str, _Began] = OrderedDict()
        self._ended: deque[_Ended] = deque()
        self._most = settings.queue
        self.lost = 0  # requests without spans
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._tracer = _Tracer(settings)

    def open(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._work, name="routewright-telemetry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what waits, within some seconds, and stop. Blocks: not for the event loop."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_EXPORT_S)
        self._tracer.close()

    def began(self, trace_id: str, scope: Mapping[str, Any]) -> None:
        """A request that will be answered, by its ASGI scope."""
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        self._began[trace_id] = _Began(time.time_ns(), str(scope["path"]), carrier)
        while len(self._began) > self._most:  # requests that never ended have left theirs
            self._began.popitem(last=False)

    def ended(self, served: Served, key: str, status: int, streamed: bool, pool: Pool) -> None:
        """The end of it. Never blocks, never raises."""
        began = self._began.pop(served.episode.trace_id, None)
        if began is None:
            return
        if len(self._ended) >= self._most:
            self.lost += 1
            return
        self._ended.append(_Ended(began, served, key, status, streamed, pool))

    def _work(self) -> None:
        while True:
            last = self._closing.wait(_EVERY_S)
            while self._ended:
                some = [self._ended.popleft() for _ in range(min(len(self._ended), _BATCH))]
                try:
                    if not self._tracer.send(some):
                        self.lost += len(some)
                except Exception as error:  # a defect here is no reason to serve less
                    self.lost += len(some)
                    _log.error("telemetry: spans could not be made (%s)", type(error).__name__)
            if last:
                return


class _Tracer:
    """From ended requests to OTLP over HTTP. One thread at a time."""

    def __init__(self, settings: TelemetrySettings) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
            from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError as error:
            raise MissingExtra("telemetry.otlp", str(error.name), "otel") from error
        done: list[ReadableSpan] = []

        class Ids(RandomIdGenerator):
            """A trace that begins here has the id that the answer says."""

            ours = 0

            def generate_trace_id(self) -> int:
                return self.ours or super().generate_trace_id()

        class Collect(SpanProcessor):
            def on_end(self, span: ReadableSpan) -> None:
                if span.context is not None and span.context.trace_flags.sampled:
                    done.append(span)

        self._ids, self._done = Ids(), done
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample)),
            resource=Resource.create({"service.name": settings.service, "service.version": __version__}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(Collect())
        self._tracer = self._provider.get_tracer("routewright.gateway", __version__)
        self._exporter = OTLPSpanExporter(settings.otlp.rstrip("/") + "/v1/traces", timeout=_EXPORT_S)

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def send(self, ended: Sequence[_Ended]) -> bool:
        """Whether the collector took them."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._done.clear()
        for one in ended:
            self._request(one)
        spans = list(self._done)
        self._done.clear()
        return not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS

    def _request(self, ended: _Ended) -> None:
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        began, episode = ended.began, ended.served.episode
        self._ids.ours = int(episode.trace_id, 16)
        span = self._tracer.start_span(
            f"POST {began.path}",
            context=TraceContextTextMapPropagator().extract(began.carrier),
            kind=SpanKind.SERVER,
            attributes=_request_attributes(ended),
            start_time=began.at_ns,
        )
        if span.is_recording():
            if ended.status >= 500:
                span.set_status(StatusCode.ERROR)
            inside = set_span_in_context(span)
            for index, start_s, reply in laid_out(episode.steps, episode.latency_s):
                self._call(ended, inside, index, began.at_ns + round(start_s * _NS), reply)
        span.end(began.at_ns + round(episode.latency_s * _NS))

    def _call(self, ended: _Ended, inside: Any, index: int, at_ns: int, reply: Reply) -> None:
        from opentelemetry.trace import StatusCode

        end_ns = at_ns + round(reply.latency_s * _NS)
        attempts = [a for a in reply.attempts if a.kind != "budget"]  # refused by our own ledger: nobody was called
        for number, attempt in enumerate(attempts, 1):
            took = round(attempt.latency_s * _NS)
            if number == len(attempts):
                at_ns = max(at_ns, end_ns - took)
            upstream, facts = _attempt_attributes(ended.pool, attempt)
            span: Span = self._tracer.start_span(
                f"chat {upstream}",
                context=inside,
                kind=_kind(facts),
                attributes={**_asked_attributes(ended.served), **facts, "routewright.step": index},
                start_time=at_ns,
            )
            if attempt.error is not None:
                span.set_attribute("error.type", attempt.kind or "_OTHER")
                span.set_status(StatusCode.ERROR)
            elif reply.error is None:
                for name, value in _reply_attributes(reply, upstream, ended.served.episode.steps[index]).items():
                    span.set_attribute(name, value)
            at_ns += took
            span.end(at_ns)


def laid_out(steps: Sequence[Step], latency_s: float) -> Iterator[tuple[int, float, Reply]]:
    """Number of a step, when its call may have begun (seconds from the request's start), and its reply; see the module."""
    found: list[tuple[int, float, Reply]] = []
    at, begun_at = 0.0, 0.0
    plan: tuple[Call, ...] = ()
    ends: dict[int, float] = {}
    for index, step in enumerate(steps):
        action = step.decision.action if isinstance(step.decision, Decision) else None
        if isinstance(action, Plan):
            plan, ends, begun_at = action.calls, {}, at
        if step.reply is None:
            continue
        start = at
        if step.node is not None and step.node < len(plan):
            start = max((ends.get(n, begun_at) for n in plan[step.node].after), default=begun_at)
        found.append((index, start, step.reply))
        end = start + step.reply.latency_s
        if step.node is not None:
            ends[step.node] = end
        at = max(at, end)
    lead = max(0.0, latency_s - at)
    return ((index, lead + start, reply) for index, start, reply in found)


def _request_attributes(ended: _Ended) -> dict[str, Any]:
    served, episode = ended.served, ended.served.episode
    reply = served.reply
    facts = {
        "http.request.method": "POST",
        "http.route": ended.began.path,
        "url.path": ended.began.path,
        "http.response.status_code": ended.status,
        "error.type": str(ended.status) if ended.status >= 500 else None,
        "routewright.trace_id": episode.trace_id,
        "routewright.key": ended.key,
        "routewright.asked": served.asked.model,
        "routewright.coordinator": served.coordinator or None,
        "routewright.policy": served.policy,
        "routewright.model": reply.model if reply is not None else None,
        "routewright.models": list(served.models),
        "routewright.probability": served.probability,
        "routewright.cost_usd": episode.cost_usd,
        "routewright.value_usd": episode.value_usd if served.coordinator else None,
        "routewright.fallback": served.fallback or None,
        "routewright.stopped": episode.stopped,
        "routewright.streamed": ended.streamed,
        "routewright.first_token_s": served.first_token_s,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _asked_attributes(served: Served) -> dict[str, Any]:
    """What the client said of how the reply is to be made: numbers only."""
    options, facts = served.asked.query.options, {}
    for name, ours in _REQUEST.items():
        if isinstance(options.get(name), int):
            facts[f"gen_ai.request.{ours}"] = options[name]
    for name in _REQUEST_FLOATS:
        if isinstance(options.get(name), (int, float)):
            facts[f"gen_ai.request.{name}"] = float(options[name])
    if isinstance(options.get("n"), int) and options["n"] != 1:
        facts["gen_ai.request.choice.count"] = options["n"]
    return facts


def _attempt_attributes(pool: Pool, attempt: Attempt) -> tuple[str, dict[str, Any]]:
    """The model's name upstream, and what is known of who was asked."""
    member = pool.members.get(attempt.model)
    upstream = member.upstream if member is not None else attempt.model
    facts: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": member.endpoint.provider.kind if member is not None else attempt.endpoint,
        "gen_ai.request.model": upstream,
        "routewright.model": attempt.model,
        "routewright.endpoint": attempt.endpoint,
        "routewright.cost_usd": attempt.cost_usd,
    }
    if attempt.status is not None:
        facts["http.response.status_code"] = attempt.status
    if member is not None:
        address = urlsplit(member.endpoint.provider.address)
        if address.scheme in ("http", "https") and address.hostname:
            facts["server.address"] = address.hostname
            facts["server.port"] = address.port or (443 if address.scheme == "https" else 80)
    return upstream, facts


def _kind(facts: Mapping[str, Any]) -> Any:
    """A call over the network, or one of a model in this process."""
    from opentelemetry.trace import SpanKind

    return SpanKind.CLIENT if "server.address" in facts else SpanKind.INTERNAL


def _reply_attributes(reply: Reply, upstream: str, step: Step) -> dict[str, Any]:
    wish = step.decision
    role = "policy" if isinstance(wish, Generate) else wish.action.role if isinstance(wish.action, Call) else ""
    facts: dict[str, Any] = {
        "gen_ai.response.finish_reasons": [reply.finish],
        "gen_ai.usage.input_tokens": reply.usage.tokens_in,
        "gen_ai.usage.output_tokens": reply.usage.tokens_out,
    }
    if not any("upstream says" in attempt.note for attempt in reply.attempts):
        facts["gen_ai.response.model"] = upstream
    if reply.usage.tokens_cached:
        facts["gen_ai.usage.cache_read.input_tokens"] = reply.usage.tokens_cached
    if role:
        facts["routewright.role"] = role
    if isinstance(wish, Decision) and wish.probability is not None:
        facts["routewright.probability"] = wish.probability
    return facts
