"""Spans as a real collector gets them, over OTLP/HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.extras import needs
from tests.gateway.world import ASK, Running, Upstream, eventually, gateway, listening, pool_at, whole

needs("opentelemetry.sdk.trace", "otel")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

from routewright.gateway.asked import Asked, Routing  # noqa: E402
from routewright.gateway.served import Served  # noqa: E402
from routewright.gateway.settings import TelemetrySettings  # noqa: E402
from routewright.gateway.telemetry import Telemetry, laid_out  # noqa: E402
from routewright.types import Call, Decision, Episode, Plan, Query, Reply, Step, Usage  # noqa: E402

SERVER, CLIENT = 2, 3  # kinds of spans
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "xyzzy-prompt-of-nobody"


class Collector:
    """A collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.raw = b""
        self.app = Starlette(routes=[Route("/v1/traces", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        self.raw += body
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        return Response(b"", media_type="application/x-protobuf")

    @property
    def spans(self) -> list[Any]:
        return [s for r in self.requests for rs in r.resource_spans for ss in rs.scope_spans for s in ss.spans]


def facts(span: Any) -> dict[str, Any]:
    """Its attributes as Python has them."""
    return {a.key: plain_of(a.value) for a in span.attributes}


def plain_of(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [plain_of(v) for v in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@contextmanager
def traced(replies: Mapping[str, Any] | None = None, policy: str = "single", **settings: Any) -> Iterator[Any]:
    """A gateway that tells a collector."""
    collector, upstream = Collector(), Upstream(replies)
    with listening(collector.app) as there, listening(upstream.app) as up:
        telemetry = Telemetry(TelemetrySettings(otlp=there, **settings))
        with gateway(pool_at(up, "small", "large", retries=1), {"auto": policy}, telemetry=telemetry) as running:
            yield running, collector


def ask(running: Running, model: str, **headers: str) -> Any:
    made: list[Any] = [{"role": "user", "content": SECRET}]
    return running.client().chat.completions.create(model=model, messages=made, extra_headers=headers, temperature=0.5)


def test_a_request_is_a_server_span_with_its_calls_inside() -> None:
    with traced(policy="self_refine") as (running, collector):
        done = ask(running, "auto")
        eventually(lambda: len(collector.spans) == 3)
    (server,) = (s for s in collector.spans if s.kind == SERVER)
    calls = [s for s in collector.spans if s.kind == CLIENT]
    told = facts(server)
    trace_id = done.model_extra["routing"]["trace_id"]
    assert (server.name, server.trace_id.hex(), server.parent_span_id) == ("POST /v1/chat/completions", trace_id, b"")
    assert told["http.response.status_code"] == 200
    assert told["http.request.method"] == "POST"
    assert told["routewright.trace_id"] == trace_id
    assert (told["routewright.coordinator"], told["routewright.policy"]) == ("auto", "self_refine")
    assert told["routewright.models"] == ["small", "small"]
    assert told["routewright.probability"] == 1.0
    assert told["routewright.cost_usd"] == pytest.approx(4e-5)
    assert told["routewright.value_usd"] == 0.01
    for call in calls:
        assert (call.name, call.trace_id, call.parent_span_id) == ("chat small", server.trace_id, server.span_id)
        told = facts(call)
        assert told["gen_ai.operation.name"] == "chat"
        assert told["gen_ai.provider.name"] == "openai"
        assert told["gen_ai.request.model"] == "small"
        assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (10, 5)
        assert told["gen_ai.response.finish_reasons"] == ["stop"]
        assert told["gen_ai.request.temperature"] == 0.5
        assert told["server.address"] == "127.0.0.1"
        assert told["server.port"] > 0
        assert "error.type" not in told
        assert server.start_time_unix_nano <= call.start_time_unix_nano < call.end_time_unix_nano
        assert call.end_time_unix_nano <= server.end_time_unix_nano + 1000
    first, second = sorted(calls, key=lambda s: s.start_time_unix_nano)
    assert first.end_time_unix_nano <= second.start_time_unix_nano + 1000
    assert {a.key: a.value.string_value for a in collector.requests[0].resource_spans[0].resource.attributes}[
        "service.name"
    ] == "routewright"
    assert SECRET.encode() not in collector.raw, "no text of a request"
    assert b"one two three" not in collector.raw, "nor of a reply"


def test_a_client_s_trace_goes_on() -> None:
    with traced(sample=0.0, service="mine") as (running, collector):
        ask(running, "small", traceparent=PARENT, tracestate="vendor=1")
        ask(running, "small", traceparent=PARENT[:-1] + "0")
        ask(running, "small", traceparent="nonsense")
        ask(running, "small")
        eventually(lambda: collector.spans)
    (server,) = (s for s in collector.spans if s.kind == SERVER)  # the others: not sampled
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (PARENT.split("-")[1], PARENT.split("-")[2])
    assert server.trace_state == "vendor=1"
    assert facts(server)["routewright.trace_id"] != server.trace_id.hex()
    assert "routewright.coordinator" not in facts(server)
    names = [a.value.string_value for a in collector.requests[0].resource_spans[0].resource.attributes]
    assert "mine" in names


def test_failures_are_told_by_their_kind_alone() -> None:
    def failed(body: dict[str, Any]) -> Any:
        return (503, {"error": {"message": f"can not do {SECRET}"}})

    with traced({"small": failed}) as (running, collector):
        with pytest.raises(Exception, match="50"):
            ask(running, "small")
        eventually(lambda: len(collector.spans) == 3)
    (server,) = (s for s in collector.spans if s.kind == SERVER)
    told = facts(server)
    assert told["http.response.status_code"] >= 500
    assert told["error.type"] == str(told["http.response.status_code"])
    assert server.status.code == 2
    calls = [s for s in collector.spans if s.kind == CLIENT]
    assert [facts(s)["error.type"] for s in calls] == ["server", "server"], "a span an attempt"
    assert [facts(s)["http.response.status_code"] for s in calls] == [503, 503]
    assert all("gen_ai.usage.input_tokens" not in facts(s) for s in calls)
    assert SECRET.encode() not in collector.raw


def test_what_an_upstream_calls_itself_is_not_made_up() -> None:
    other = whole("hello")
    other["model"] = "another-model"
    with traced({"small": lambda body: other}) as (running, collector):
        ask(running, "small")
        eventually(lambda: len(collector.spans) == 2)
    (call,) = (s for s in collector.spans if s.kind == CLIENT)
    assert "gen_ai.response.model" not in facts(call)


def test_a_dead_collector_stops_nothing() -> None:
    upstream = Upstream()
    telemetry = Telemetry(TelemetrySettings(otlp="http://127.0.0.1:1", queue=3))
    with listening(upstream.app) as up:
        began = time.monotonic()
        with gateway(pool_at(up, "small"), telemetry=telemetry) as running:
            for _ in range(20):
                assert running.client().chat.completions.create(model="small", messages=ASK).choices
            eventually(lambda: telemetry.lost > 0)
            assert "routewright_spans_lost" in running.service.metrics.text(running.service.store, []).decode()
        assert time.monotonic() - began < 25, "and the end waits for it no longer than it may"
    assert len(telemetry._ended) <= 3


def test_a_queue_that_is_full_leaves_requests_out() -> None:
    telemetry = Telemetry(TelemetrySettings(otlp="http://127.0.0.1:1", queue=2))  # never opened
    query = Query("q")
    for i in range(5):
        trace_id = f"{i + 1:032x}"
        telemetry.began(trace_id, {"headers": [(b"x", b"y")], "path": "/"})
        episode = Episode(query, (), "", None, 0.0, 0.1, trace_id=trace_id)
        telemetry.ended(Served(Asked("m", query, Routing()), "", "direct", episode), "k", 200, False, None)  # type: ignore[arg-type]
    assert (len(telemetry._ended), telemetry.lost, len(telemetry._began)) == (2, 3, 0)
    for i in range(9):
        telemetry.began(f"{i:032x}", {"headers": [], "path": "/"})
    assert len(telemetry._began) == 2, "requests that never end are forgotten"


def reply(seconds: float) -> Reply:
    return Reply("t", "m", Usage(1, 1), 0.0, seconds)


def test_calls_of_a_plan_are_laid_out_as_they_waited_for_one_another() -> None:
    plan = Plan((Call("a"), Call("b"), Call("c", after=(0, 1)), Call("d", after=(0,))))
    steps = [
        Step(Decision(Call("first")), reply(1.0)),
        Step(Decision(plan)),
        Step(Decision(plan.calls[0]), reply(2.0), 0),
        Step(Decision(plan.calls[3]), reply(1.0), 3),
        Step(Decision(plan.calls[1]), reply(5.0), 1),
        Step(Decision(plan.calls[2]), reply(1.0), 2),
        Step(Decision(Call("last")), reply(1.0)),
    ]
    found = [(index, start) for index, start, _ in laid_out(steps, 8.5)]
    assert found == [(0, 0.5), (2, 1.5), (3, 3.5), (4, 1.5), (5, 6.5), (6, 7.5)]
    assert [start for _, start, _ in laid_out(steps[:1], 0.2)] == [0.0], "clocks may differ"


def test_without_it_nothing_of_it_is_imported() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom routewright.gateway.app import build_app\n"
        "from routewright.gateway.settings import check_settings\n"
        "pool = Path(sys.argv[1]); (pool / 'pool.toml').write_text('[[models]]\\nname = \"m\"\\nprovider = \"echo\"\\nusd_per_mtok_in = 0\\nusd_per_mtok_out = 0\\n')\n"
        "build_app(check_settings({'pool': 'pool.toml'}, 'here'), pool)\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'google.protobuf', 'routewright.evaluate'))])\n"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stderr
