"""What is counted, by name; what routing saved, and against what."""

from __future__ import annotations

import math
import time
from typing import Any

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from routewright.coordinator import Coordinator
from routewright.errors import ConfigError
from routewright.gateway.asked import Asked, Routing
from routewright.gateway.baseline import baseline_usd
from routewright.gateway.metrics import Metrics
from routewright.gateway.served import Served
from routewright.gateway.tally import Spread, Tally
from routewright.policies.base import build_policy
from routewright.pools.bounds import estimate_tokens
from routewright.pools.limits import Breaker
from routewright.pools.pool import load_pool
from routewright.stores.base import build_store
from routewright.types import Answer, Call, Decision, Episode, ModelCard, Plan, Query, Reply, Step, Usage
from tests.gateway.world import ASK, Running, Upstream, gateway, listening, pool_at, whole

DEAR = ModelCard("dear", 10.0, 100.0, usd_per_mtok_cached=1.0)


def pool_of_two(base_url: str) -> Any:
    """A cheap model and one that costs ten times as much."""
    prices = {"small": (1, 2), "large": (10, 20)}
    entries = [
        {"name": n, "provider": "up", "usd_per_mtok_in": i, "usd_per_mtok_out": o, "output_tokens": 100}
        for n, (i, o) in prices.items()
    ]
    provider = {"kind": "openai", "base_url": base_url + "/v1", "retries": 0, "breaker_failures": 2}
    return load_pool({"providers": {"up": provider}, "models": entries})


def values(running: Running) -> dict[tuple[str, ...], float]:
    """Every sample: (name, label=value ...) -> value."""
    running.service.flush()
    text = running.service.metrics.text(running.service.store, running.service.endpoints).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))] = sample.value
    return found


def test_requests_calls_and_savings_are_counted_by_name() -> None:
    upstream = Upstream({"large": lambda body: (503, {"error": {"message": "no"}})})
    with (
        listening(upstream.app) as up,
        gateway(
            pool_of_two(up), {"auto": "single", "twice": "self_refine"}, entries={"auto": {"baseline": "large"}}
        ) as running,
    ):
        client = running.client()
        for _ in range(3):
            client.chat.completions.create(model="auto", messages=ASK)
        client.chat.completions.create(model="twice", messages=ASK)
        client.chat.completions.create(model="small", messages=ASK, stream=True).close()
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model="large", messages=ASK)
        running.last()
        told = values(running)
        record = running.service.store._records  # type: ignore[attr-defined]
    assert told["routewright_requests_total", "model=auto", "policy=single", "status=200"] == 3
    assert told["routewright_requests_total", "model=twice", "policy=self_refine", "status=200"] == 1
    assert told["routewright_calls_total", "model=large", "outcome=error"] == 1
    assert told["routewright_call_errors_total", "kind=server", "model=large"] == 1
    assert told["routewright_tokens_total", "kind=prompt", "model=small"] >= 50
    assert told["routewright_request_seconds_count", "model=auto", "policy=single"] == 3
    assert told["routewright_request_seconds_bucket", "le=+Inf", "model=auto", "policy=single"] == 3
    assert told["routewright_overhead_seconds_count", "model=twice", "policy=self_refine"] == 1
    assert told["routewright_overhead_seconds_sum", "model=twice", "policy=self_refine"] < 0.5
    chance = ("action=call", "chance=certain", "coordinator=twice", "policy=self_refine")
    assert told["routewright_decisions_total", *chance] == 2
    labels = ("baseline=large", "coordinator=auto")  # 10 prompt and 5 completion tokens, three times
    assert told["routewright_baseline_cost_usd_total", *labels] == pytest.approx(3 * (10 * 10 + 5 * 20) / 1e6)
    assert told["routewright_compared_cost_usd_total", *labels] == pytest.approx(3 * (10 * 1 + 5 * 2) / 1e6)
    assert told["routewright_saved_usd", *labels] == pytest.approx(3 * 180 / 1e6)
    assert not any("coordinator=twice" in name for name in told if "baseline" in name[0]), "it has none"
    kept = [(r.asked == "auto", r.baseline_usd) for r in record.values()]
    assert all(usd == pytest.approx(2e-4) if compared else usd is None for compared, usd in kept)


def test_the_best_single_model_of_a_training_is_the_baseline() -> None:
    upstream = Upstream()
    made = Coordinator(build_policy("single", {"model": "large"}), about={"best_single": "small"})
    gone = Coordinator(build_policy("single"), about={"best_single": "sold"})
    with listening(upstream.app) as up, gateway(pool_of_two(up), {"auto": made, "gone": gone}) as running:
        for name in ("auto", "gone"):
            running.client().chat.completions.create(model=name, messages=ASK)
        running.last()
        told = values(running)
    labels = ("baseline=small", "coordinator=auto")
    assert told["routewright_saved_usd", *labels] == pytest.approx(-180 / 1e6), "it may be negative"
    assert told["routewright_baseline_cost_usd_total", *labels] == pytest.approx(20 / 1e6)
    assert not any("coordinator=gone" in name for name in told if "baseline" in name[0])


def test_a_baseline_has_to_be_a_model_of_the_pool() -> None:
    with (
        pytest.raises(ConfigError, match=r"coordinators\.auto\.baseline = 'huge' is no model"),
        gateway(pool_at("http://127.0.0.1:1", "small"), {"auto": "single"}, entries={"auto": {"baseline": "huge"}}),
    ):
        pass


def served(*steps: Step, answer: str = "x" * 40, chosen: int | None = None, text: str = "q" * 400) -> Served:
    query = Query(text)
    episode = Episode(query, steps, answer, None, 0.0, 1.0, chosen=chosen)
    return Served(Asked("auto", query, Routing()), "auto", "p", episode)


def step(usage: Usage, context: Any = "query", node: int | None = None, **reply: Any) -> Step:
    made = Reply("t", "m", usage, 0.0, 0.1, **reply)
    return Step(Decision(Call("m", context=context)), made, node)


def test_a_baseline_is_this_prompt_and_this_answer_at_its_prices() -> None:
    draft, final = Usage(100, 7), Usage(900, 20)
    two = served(step(draft), step(final, "transcript"), chosen=1)
    assert baseline_usd(two, 200, DEAR) == pytest.approx((100 * 10 + 20 * 100) / 1e6), "the prompt as it stands"
    cached = served(step(Usage(100, 20, tokens_cached=60)), chosen=0)
    assert baseline_usd(cached, 200, DEAR) == pytest.approx((40 * 10 + 60 * 1 + 20 * 100) / 1e6), "no saving of ours"
    parts = served(Step(Decision(Plan((Call("m"),)))), step(draft, node=0), step(final, "transcript"), chosen=2)
    estimated = baseline_usd(parts, 200, DEAR)
    assert estimated is not None
    assert 50 * 10 + 20 * 100 < estimated * 1e6 < 200 * 10 + 20 * 100, "a subtask is not the request"
    assert baseline_usd(two, 502, DEAR) == 0.0, "without an answer its cost is a loss"
    assert baseline_usd(served(step(draft, cached=True), chosen=0), 200, DEAR) == 0.0, (
        "our cache is no saving of routing's"
    )
    failed = served(step(Usage(0, 0), error="no"), step(draft), chosen=1)
    assert baseline_usd(failed, 200, DEAR) == pytest.approx((100 * 10 + 7 * 100) / 1e6)
    assert baseline_usd(two, 200, ModelCard("unknown")) is None
    voted = served(step(draft), Step(Decision(Answer("vote"))), chosen=None)
    assert baseline_usd(voted, 200, DEAR) == pytest.approx((100 * 10 + estimate_tokens("x" * 40) * 100) / 1e6)


def test_breakers_say_their_state() -> None:
    breaker = Breaker(2, 60.0)
    assert breaker.state == "closed"
    breaker.in_a_row, breaker.open_until = 2, time.monotonic() + 60
    assert breaker.state == "open"
    breaker.open_until = time.monotonic() - 1
    assert breaker.state == "half-open"
    assert breaker.admit("e")
    breaker.open_until = time.monotonic() + 60
    assert breaker.state == "half-open", "one call is trying"
    breaker.done(None, probe=True)
    assert breaker.state == "closed"
    assert Breaker(0, 1.0).state == "closed"


def test_breakers_of_a_replaced_pool_are_gone() -> None:
    with gateway(pool_of_two("http://127.0.0.1:1")) as running:
        running.service.endpoints[0].breaker.in_a_row = 9
        running.service.endpoints[0].breaker.open_until = math.inf
        told = values(running)
        assert told["routewright_breaker_state", "endpoint=up", "state=open"] == 1
        assert told["routewright_breaker_state", "endpoint=up", "state=closed"] == 0
        running.service.pool = load_pool(
            {
                "providers": {"next": {"kind": "echo"}},
                "models": [{"name": "small", "provider": "next", "usd_per_mtok_in": 1, "usd_per_mtok_out": 1}],
            }
        )
        told = values(running)
        assert told["routewright_breaker_state", "endpoint=next", "state=closed"] == 1
        assert not any("endpoint=up" in name for name in told)


def test_labels_are_names_of_the_configuration() -> None:
    """Nothing a client makes up becomes a label: a million of them would be a million series."""
    upstream = Upstream({"small": lambda body: whole("xyzzy-reply")})
    with listening(upstream.app) as up, gateway(pool_of_two(up), {"auto": "single"}) as running:
        for name in ("xyzzy-model", "auto:xyzzy"):
            with pytest.raises(openai.NotFoundError):
                running.client().chat.completions.create(model=name, messages=ASK)
        running.client().chat.completions.create(model="auto", messages=[{"role": "user", "content": "xyzzy"}])
        running.last()
        text = running.service.metrics.text(running.service.store, []).decode()
    assert "xyzzy" not in text
    assert 'routewright_requests_total{model="",policy="",status="404"} 2.0' in text


def test_tallies_and_spreads_are_prometheus_own() -> None:
    spread = Spread("s", "h", ["a"], (0.1, 1.0))
    for value in (0.1, 0.1000001, 1.0, 5.0):
        spread.add(("x",), value)
    samples = {(s.name, s.labels.get("le")): s.value for s in spread.family().samples}
    assert samples["s_bucket", "0.1"] == 1, "a bound belongs to its bucket"
    assert (samples["s_bucket", "1.0"], samples["s_bucket", "+Inf"], samples["s_count", None]) == (3, 4, 4)
    assert samples["s_sum", None] == pytest.approx(6.2000001)
    tally = Tally("t", "h", ["a", "b"])
    tally.add(("x", "y"))
    tally.add(("x", "y"), 0.5)
    assert [(s.name, s.labels, s.value) for s in tally.family().samples] == [("t_total", {"a": "x", "b": "y"}, 1.5)]


def test_counting_costs_little() -> None:
    """A few microseconds a request; the bound is wide, for machines that are busy."""
    metrics, one = Metrics(), served(step(Usage(10, 5)), chosen=0)
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            metrics.count(one, 200, ("dear", 1e-3))
        best = min(best, (time.perf_counter() - began) / 2000)
    assert best < 50e-6
    assert metrics.text(build_store("memory"), []).count(b"routewright_saved_usd{") == 1
