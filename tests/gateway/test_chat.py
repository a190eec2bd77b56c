"""Chat completions, not streamed: the official client against a real server, a real upstream behind it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any, ClassVar

import openai
import pytest

from routewright.policies.base import Policy, Wish, build_policy
from routewright.types import State
from tests.gateway.world import ASK, Running, Upstream, gateway, listening, pool_at, whole

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
}
LOGPROBS = {"content": [{"token": "one", "logprob": -0.1, "bytes": None, "top_logprobs": []}], "refusal": None}


class Broken(Policy):
    """A policy that raises."""

    kind: ClassVar[str] = "broken"
    summary: ClassVar[str] = "test"

    def decide(self, states: Any, rng: Any) -> list[Wish]:
        raise ZeroDivisionError("a secret of the policy")


class Late(Policy):
    """A policy that asks once, then raises."""

    kind: ClassVar[str] = "late"
    summary: ClassVar[str] = "test"

    def decide(self, states: Any, rng: Any) -> list[Wish]:
        (state,) = states
        assert isinstance(state, State)
        if state.steps:
            raise ZeroDivisionError
        return build_policy("self_refine").decide(states, rng)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream(
        {
            "tooled": lambda b: whole(CALL, finish_reason="tool_calls"),
            "sure": lambda b: whole("one", logprobs=LOGPROBS),
            "many": lambda b: {
                **whole("first"),
                "choices": [whole("first")["choices"][0], {**whole("second")["choices"][0], "index": 1}],
            },
            "strict": lambda b: (400, {"error": {"message": "no such option", "code": "bad"}}),
            "long": lambda b: (400, {"error": {"message": "This model's maximum context length is 9 tokens."}}),
            "busy": lambda b: (429, {"error": {"message": "slow down"}}, {"retry-after": "100"}),
            "down": lambda b: (500, {"error": {"message": "broken"}}),
            "empty": lambda b: whole(""),
        }
    )
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


@pytest.fixture(scope="module")
def served(upstream: Upstream) -> Iterator[Running]:
    names = ("plain", "second", "tooled", "sure", "many", "strict", "long", "busy", "down", "empty")
    pool = pool_at(upstream.url, *names, retries=0)  # type: ignore[attr-defined]
    coordinators = {
        "auto": "single",
        "twice": "self_refine",
        "voters": build_policy("vote", {"models": ["plain", "second"]}),
        "broken": Broken(),
        "late": Late(),
    }
    entries = {"broken": {"fallback": "second"}, "auto": {"value_usd": 0.5}}
    with gateway(pool, coordinators, entries=entries) as running:
        yield running


def test_an_answer_says_what_was_done(served: Running) -> None:
    raw = served.client().chat.completions.with_raw_response.create(model="auto", messages=ASK)
    done = raw.parse()
    assert done.choices[0].message.content == "one two three"
    assert (done.choices[0].finish_reason, done.model) == ("stop", "auto")
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (10, 5, 15)
    told: dict[str, Any] = done.model_extra["routing"]  # type: ignore[index]
    assert (told["model"], told["models"], told["coordinator"], told["policy"]) == (
        "plain",
        ["plain"],
        "auto",
        "single",
    )
    assert told["cost_usd"] == pytest.approx(20e-6)
    assert (told["probability"], told["value_usd"], told["stopped"]) == (1.0, 0.5, "answer")
    assert raw.headers["x-routewright-model"] == "plain"
    assert float(raw.headers["x-routewright-cost-usd"]) == pytest.approx(20e-6)
    assert raw.headers["x-routewright-trace-id"] == told["trace_id"] == done.id.removeprefix("chatcmpl-")
    record = served.record(told["trace_id"])
    assert (record.status, record.cost_usd, record.answered_by) == (200, told["cost_usd"], "plain")
    assert (record.query, record.response) == (None, None)


def test_options_reach_the_model_untouched(served: Running, upstream: Upstream) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    given: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image], "name": "ann"},
        ],
        "tools": TOOLS,
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "stop": ["END"],
        "seed": 7,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "max_tokens": 17,
        "metadata": {"a": "b"},
        "extra_body": {"min_p": 0.1, "routing": {"explain": True}},
    }
    served.client().chat.completions.create(model="plain", **given)
    sent = upstream.bodies[-1]
    expected = {k: v for k, v in given.items() if k != "extra_body"} | {"min_p": 0.1, "model": "plain"}
    assert sent == expected, "nothing is added, nothing is lost, and our own fields stay with us"


def test_a_temperature_is_added_for_coordinators_only(served: Running, upstream: Upstream) -> None:
    """Policies are judged on greedy answers; a model named directly gets what the client sent."""
    served.client().chat.completions.create(model="auto", messages=ASK)
    assert upstream.bodies[-1]["temperature"] == 0
    served.client().chat.completions.create(model="plain", messages=ASK)
    assert "temperature" not in upstream.bodies[-1]
    served.client().chat.completions.create(model="auto", messages=ASK, temperature=0.3)
    assert upstream.bodies[-1]["temperature"] == 0.3


def test_tool_calls_logprobs_and_choices_come_back(served: Running) -> None:
    client = served.client().chat.completions
    done = client.create(model="tooled", messages=ASK, tools=TOOLS)  # type: ignore[call-overload]
    assert done.choices[0].finish_reason == "tool_calls"
    assert done.choices[0].message.tool_calls[0].function.name == "weather"
    sure = client.create(model="sure", messages=ASK, logprobs=True)
    assert sure.choices[0].logprobs is not None
    assert sure.choices[0].logprobs.content is not None
    assert sure.choices[0].logprobs.content[0].logprob == -0.1
    many = client.create(model="many", messages=ASK, n=2)
    assert [(c.index, c.message.content) for c in many.choices] == [(0, "first"), (1, "second")]


def test_usage_sums_all_steps(served: Running) -> None:
    done = served.client().chat.completions.create(model="twice", messages=ASK)
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (20, 10)
    by_model = done.usage.model_extra["by_model"]  # type: ignore[index]
    assert by_model["plain"]["calls"] == 2
    assert sum(row["cost_usd"] for row in by_model.values()) == pytest.approx(
        done.model_extra["routing"]["cost_usd"]  # type: ignore[index]
    )


def test_the_whole_conversation_is_seen(served: Running, upstream: Upstream) -> None:
    talk: list[Any] = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "third"},
    ]
    served.client().chat.completions.create(model="voters", messages=talk)
    assert upstream.bodies[-1]["messages"] == talk
    assert served.last().models == ("plain", "second")


def routed(served: Running, model: str = "auto", headers: dict[str, str] | None = None, **routing: Any) -> Any:
    done = served.client().chat.completions.create(
        model=model,
        messages=ASK,
        max_tokens=50,
        extra_body={"routing": routing} if routing else None,
        extra_headers=headers,
    )
    return done.model_extra["routing"]  # type: ignore[index]


def test_routing_in_the_body_and_in_headers(served: Running) -> None:
    assert routed(served, allow=["second"])["model"] == "second"
    assert routed(served, deny=["plain"])["model"] == "second"
    assert routed(served, headers={"x-routewright-deny": "plain, second"})["model"] == "tooled"
    assert routed(served, value_usd=2)["value_usd"] == 2
    assert routed(served, headers={"x-routewright-value-usd": "3"})["value_usd"] == 3
    assert routed(served, headers={"x-routewright-value-usd": "3"}, value_usd=2)["value_usd"] == 2
    told = routed(served, "twice", max_steps=1)
    assert (len(told["models"]), told["stopped"]) == (1, "steps")
    (step,) = routed(served, explain=True)["steps"]
    assert (step["answered_by"], step["reason"], step["probability"]) == ("plain", "the first of the pool", 1.0)
    assert "steps" not in routed(served)


def test_a_budget_is_held(served: Running) -> None:
    with pytest.raises(openai.BadRequestError, match="No model fits budget_usd=1e-09") as caught:
        routed(served, budget_usd=1e-9)
    assert caught.value.code == "budget_exceeded"
    with pytest.raises(openai.BadRequestError, match="are left"):
        routed(served, "plain", budget_usd=1e-9)
    assert routed(served, "twice", budget_usd=0.01)["cost_usd"] <= 0.01


def test_what_a_policy_does_not_support_is_served_by_one_call(served: Running) -> None:
    done = served.client().chat.completions.create(model="twice", messages=ASK, tools=TOOLS)  # type: ignore[call-overload]
    told = done.model_extra["routing"]
    assert (told["policy"], told["fallback"], len(told["models"])) == (
        "single",
        "self_refine does not support tools",
        1,
    )
    record = served.record(told["trace_id"])
    assert (record.fallback, record.policy) == ("self_refine does not support tools", "single")


def test_a_policy_that_raises_costs_no_answer(served: Running) -> None:
    raw = served.client().chat.completions.with_raw_response.create(model="broken", messages=ASK)
    assert raw.headers["x-routewright-fallback"] == "broken failed (ZeroDivisionError)"
    assert raw.headers["x-routewright-model"] == "second"
    assert raw.parse().choices[0].message.content == "one two three"
    metrics = urllib.request.urlopen(served.url + "/metrics").read().decode()
    assert 'routewright_fallbacks_total{model="broken"} 1.0' in metrics
    late = routed(served, "late")
    assert late["models"] == ["plain", "plain"], "what it had done before is charged and told"
    assert late["cost_usd"] == pytest.approx(40e-6)


class Slow(Policy):
    """A policy whose encoder hangs."""

    kind: ClassVar[str] = "slow"
    summary: ClassVar[str] = "test"
    blocking = True  # type: ignore[assignment]
    hang = threading.Event()

    def prepare(self, queries: Any) -> None:
        self.hang.wait(60)

    def decide(self, states: Any, rng: Any) -> list[Wish]:
        raise AssertionError("it never gets that far")


def test_an_encoder_that_hangs_costs_no_answer(upstream: Upstream) -> None:
    pool = pool_at(upstream.url, "plain", "second")  # type: ignore[attr-defined]
    entries = {"slow": {"fallback": "second"}}
    with gateway(pool, {"slow": Slow()}, {"limits": {"prepare_s": 0.1}}, entries=entries) as served:
        told = routed(served, "slow")
        assert (told["model"], told["fallback"]) == ("second", "slow was not ready within 0.1 s")
        text = "".join(
            part.choices[0].delta.content or ""
            for part in served.client().chat.completions.create(model="slow", messages=ASK, stream=True)
        )
        assert text == "one two three"
        Slow.hang.set()


@pytest.mark.parametrize(
    ("model", "kind", "code"),
    [
        ("strict", openai.BadRequestError, "upstream_refused"),
        ("long", openai.BadRequestError, "context_length_exceeded"),
        ("busy", openai.RateLimitError, "upstream_rate_limit"),
        ("down", openai.InternalServerError, "upstream_server"),
        ("empty", openai.InternalServerError, "empty_reply"),
        ("nobody", openai.NotFoundError, "model_not_found"),
        ("auto:q95", openai.NotFoundError, "model_not_found"),
    ],
)
def test_upstream_errors_have_their_status(served: Running, model: str, kind: Any, code: str) -> None:
    with pytest.raises(kind) as caught:
        served.client().chat.completions.create(model=model, messages=ASK)
    assert caught.value.code == code
    assert caught.value.request_id is not None


BAD: list[tuple[str, Any]] = [
    ("invalid_json", b"{"),
    ("invalid_json", b"[1]"),
    ("invalid_json", b"\xff"),
    ("invalid_json", b"[" * 100_000),
    ("invalid_value", {}),
    ("invalid_value", {"model": 7, "messages": ASK}),
    ("invalid_value", {"model": "auto"}),
    ("invalid_value", {"model": "auto", "messages": []}),
    ("invalid_value", {"model": "auto", "messages": ["hi"]}),
    ("invalid_value", {"model": "auto", "messages": [{"content": "hi"}]}),
    ("invalid_value", {"model": "auto", "messages": [{"role": "user", "content": 7}]}),
    ("invalid_value", {"model": "auto", "messages": ASK, "stream": "yes"}),
    ("invalid_value", {"model": "auto", "messages": ASK, "stream_options": 1}),
    ("invalid_value", {"model": "auto", "messages": ASK, "n": 0}),
    ("invalid_value", {"model": "auto", "messages": ASK, "max_tokens": "many"}),
    ("invalid_value", {"model": "auto", "messages": ASK, "temperature": 9}),
    ("invalid_value", {"model": "auto", "messages": ASK, "routing": 1}),
    ("invalid_value", {"model": "auto", "messages": ASK, "routing": {"valu_usd": 1}}),
    ("invalid_value", {"model": "auto", "messages": ASK, "routing": {"value_usd": -1}}),
    ("invalid_value", {"model": "auto", "messages": ASK, "routing": {"budget_usd": "x"}}),
    ("invalid_value", {"model": "auto", "messages": ASK, "routing": {"allow": "plain"}}),
    ("invalid_value", {"model": "auto", "messages": ASK, "routing": {"allow": ["nobody"]}}),
    ("invalid_value", {"model": "plain", "messages": ASK, "routing": {"deny": ["plain"]}}),
    ("invalid_value", {"model": "auto", "messages": ASK, "routing": {"max_steps": 0}}),
    ("invalid_value", {"model": "auto", "messages": ASK, "routing": {"explain": 1}}),
]


def posted(url: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {})) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(("code", "body"), BAD, ids=lambda x: str(x)[-50:])
def test_bad_input_is_an_openai_error(served: Running, code: str, body: Any) -> None:
    status, said = posted(served.url + "/v1/chat/completions", body)
    assert status == 400
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert (said["error"]["type"], said["error"]["code"]) == ("invalid_request_error", code)


def test_models(served: Running) -> None:
    listed = [m.id for m in served.client().models.list()]
    assert listed[:2] == ["auto", "twice"]
    assert "tooled" in listed
    assert served.client().models.retrieve("plain").id == "plain"
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve("nobody")


def test_other_paths_and_methods(served: Running) -> None:
    status, said = posted(served.url + "/v1/embeddings", {})
    assert (status, said["error"]["code"]) == (404, "no_route")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(served.url + "/v1/chat/completions")
    assert json.load(urllib.request.urlopen(served.url + "/healthz")) == {"status": "ok"}
    assert json.load(urllib.request.urlopen(served.url + "/readyz"))["status"] == "ready"
