"""Anthropic's Messages API: requests and replies translated both ways. Failures are in `test_openai.py`."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from routewright.errors import ProviderError
from routewright.pools.providers.anthropic_wire import body_of
from routewright.pools.providers.base import Ask, Completion, Provider
from routewright.types import Usage
from tests.pools.providers.test_openai import ask, failing, run
from tests.pools.providers.test_wire import replace
from tests.pools.providers.upstream import Canned, Upstream, pieces_of

WIRE = Path(__file__).parent / "wire"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOL = {"type": "function", "function": {"name": "find", "description": "finds", "parameters": {"type": "object"}}}


def body(*messages: dict[str, Any], greedy: bool = True, sample: int = 0, **options: Any) -> dict[str, Any]:
    return body_of(Ask("claude", messages, 100, options, sample=sample), False, greedy)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_a_plain_request() -> None:
    assert body(user("hello")) == {
        "model": "claude",
        "messages": [user("hello")],
        "max_tokens": 100,
        "temperature": 0.0,
    }
    assert body_of(Ask("claude", (user("a"),), 1, stop=("END",)), True, False) == {
        "model": "claude", "messages": [user("a")], "max_tokens": 1, "stop_sequences": ["END"], "stream": True,
    }  # fmt: skip


def test_system_messages_go_together() -> None:
    made = body(
        {"role": "system", "content": "a"}, user("q"), {"role": "developer", "content": [{"type": "text", "text": "b"}]}
    )
    assert made["system"] == "a\n\nb"
    assert made["messages"] == [user("q")]
    cached = [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]
    assert body({"role": "system", "content": cached}, user("q"))["system"] == cached
    assert "system" not in body({"role": "system", "content": ""}, user("q"))


def test_images() -> None:
    parts = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    assert body(user(parts))["messages"][0]["content"] == [
        {"type": "text", "text": "what is this"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
    ]


def test_a_conversation_with_tools() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": "Zürich"}'}},
        {"id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}},
    ]
    made = body(
        user("q"),
        {"role": "assistant", "content": "one moment", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "noon"}]},
        user("and now?"),
        tools=[TOOL, {"type": "function", "function": {"name": "now"}}],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert made["messages"] == [
        user("q"),
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "one moment"},
                {"type": "tool_use", "id": "c1", "name": "find", "input": {"q": "Zürich"}},
                {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "found"},
                {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "noon"}]},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]
    assert made["tools"] == [
        {"name": "find", "description": "finds", "input_schema": {"type": "object"}},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert made["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert "parallel_tool_calls" not in made


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("auto", {"type": "auto"}), ("none", {"type": "none"}), ("required", {"type": "any"}), (None, None),
     ({"type": "function", "function": {"name": "find"}}, {"type": "tool", "name": "find"})],
)  # fmt: skip
def test_tool_choice(choice: Any, expected: Any) -> None:
    assert body(user("q"), tools=[TOOL], tool_choice=choice).get("tool_choice") == expected


def test_options() -> None:
    made = body(user("q"), temperature=1.7, top_p=0.5, top_k=4, stop="x", user="u-1", seed=3, n=1, logprobs=True,
                thinking={"type": "enabled"}, stream=True, max_tokens=7)  # fmt: skip
    del made["messages"], made["model"]
    assert made == {"max_tokens": 100, "temperature": 1.0, "top_p": 0.5, "top_k": 4, "stop_sequences": ["x"],
                    "metadata": {"user_id": "u-1"}, "thinking": {"type": "enabled"}}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "temperature"),
    [({}, 0.0), ({"temperature": None}, None), ({"temperature": None, "sample": 2}, 1.0), ({"sample": 2}, 1.0), ({"greedy": False}, None), ({"top_p": 0.9}, None), ({"temperature": 0.3, "sample": 2}, 0.3),
     ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, None)],
)  # fmt: skip
def test_temperature(options: dict[str, Any], temperature: float | None) -> None:
    assert body(user("q"), **options).get("temperature") == temperature


def test_response_format_is_an_instruction() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    made = body({"role": "system", "content": "be brief"}, user("q"),
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})  # fmt: skip
    assert made["system"].startswith("be brief\n\nAnswer with one JSON object")
    assert json.dumps(schema, separators=(",", ":")) in made["system"]
    assert "response_format" not in made
    assert "JSON object" in body(user("q"), response_format={"type": "json_object"})["system"]
    assert "system" not in body(user("q"), response_format={"type": "text"})


@pytest.mark.parametrize(
    ("messages", "options", "said"),
    [
        ((user([{"type": "input_audio", "input_audio": {}}]),), {}, "'input_audio'"),
        ((user([{"type": "image_url", "image_url": {"url": "data:image/png,abc"}}]),), {}, "not base64"),
        (({"role": "function", "content": "x"},), {}, "role 'function'"),
        (({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "[1"}}]},), {}, "'f'"),
        ((user("q"),), {"n": 3}, "n = 3"),
        ((user("q"),), {"tools": [TOOL], "tool_choice": "any"}, "tool_choice = 'any'"),
    ],
)  # fmt: skip
def test_what_can_not_be_translated_is_refused_before_it_is_sent(messages: Any, options: Any, said: str) -> None:
    async def check(up: Upstream, provider: Provider) -> None:
        for call in (provider.complete, lambda a: pieces_of(provider.stream(a))):
            error = await failing(call(Ask("claude", messages, 9, options)))
            assert (error.kind, error.retryable, error.reached) == ("refused", False, False)
            assert said in str(error)
        assert up.calls() == 0

    run(check, "anthropic")


def recorded(provider_check: Any) -> tuple[Completion, list[Any]]:
    async def check(up: Upstream, provider: Provider) -> Any:
        up.script(
            Canned(((WIRE / "anthropic_tools.json").read_bytes(),)),
            Canned.stream((WIRE / "anthropic_tools.sse").read_bytes(), size=37),
        )
        return await provider.complete(ask()), await pieces_of(provider.stream(ask()))

    done: tuple[Completion, list[Any]] = run(check, "anthropic")
    return done


def test_recorded_replies_say_the_same_whole_and_streamed() -> None:
    whole, pieces = recorded(None)
    last = pieces[-1]
    assert whole.usage == last.usage == Usage(2048, 95, 1920)  # 100 fresh, 28 written, 1920 read
    assert whole.finish == last.finish == "tool_calls"
    assert whole.text == last.text == "Let me look it up in Zürich."
    assert whole.served_by == last.served_by == "claude-sonnet-4-5-20250929"
    assert whole.message is not None
    arguments = [call["function"]["arguments"] for call in whole.message["tool_calls"]]
    assert [json.loads(text) for text in arguments] == [{"location": "Zürich", "days": 2}, {}]
    assert last.message["tool_calls"] == whole.message["tool_calls"]
    assert last.message["thinking_blocks"] == whole.message["thinking_blocks"]
    assert "".join(piece.text for piece in pieces[:-1]) == last.text
    raw = [piece.raw for piece in pieces[:-1] if piece.raw]
    assert raw[0] == {"reasoning_content": "They ask for "}
    assert [part["tool_calls"][0]["index"] for part in raw if "tool_calls" in part] == [0, 0, 0, 1, 1]


def test_a_reply_can_be_sent_back() -> None:
    """The next turn's request holds the blocks of the reply as they came, thinking with its signature first."""
    whole, pieces = recorded(None)
    came = json.loads((WIRE / "anthropic_tools.json").read_text())["content"]
    for message in (whole.message, pieces[-1].message):
        turns = body(user("q"), dict(message or {}), {"role": "tool", "tool_call_id": "toolu_02", "content": "noon"})[
            "messages"
        ]
        assert turns[1]["content"] == came


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
     ("refusal", "content_filter"), ("pause_turn", "stop"), ("model_context_window_exceeded", "length"), (None, "stop")],
)  # fmt: skip
def test_stop_reasons(reason: Any, finish: str) -> None:
    async def check(up: Upstream, provider: Provider) -> None:
        reply = {"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": reason}
        up.script(Canned((json.dumps(reply).encode(),)))
        done = await provider.complete(ask())
        assert (done.text, done.finish, done.message) == ("a", finish, None)

    run(check, "anthropic")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": None}, Usage(3, 4)),
        ({"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 7}, Usage(10, 4, 7)),
        ({"input_tokens": -3, "output_tokens": 4}, None),
        ({"input_tokens": 3}, None),
        ({"output_tokens": 3}, None),
        ("many", None),
    ],
)
def test_usage(usage: Any, expected: Usage | None) -> None:
    async def check(up: Upstream, provider: Provider) -> None:
        up.script(Canned((json.dumps({"content": [], "usage": usage}).encode(),)))
        assert (await provider.complete(ask())).usage == expected

    run(check, "anthropic")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("overloaded_error", ("server", True, 529)), ("rate_limit_error", ("rate_limit", True, 429)),
     ("api_error", ("server", True, 500)), ("invalid_request_error", ("refused", False, 400))],
)  # fmt: skip
def test_an_error_inside_a_stream(kind: str, expected: tuple[str, bool, int]) -> None:
    async def check(up: Upstream, provider: Provider) -> None:
        event = f'event: error\ndata: {{"type": "error", "error": {{"type": "{kind}", "message": "Oh"}}}}\n\n'
        up.script(Canned.stream(event.encode()))
        error = await failing(pieces_of(provider.stream(ask())))
        assert (error.kind, error.retryable, error.status) == expected
        assert error.reached  # it had begun to answer

    run(check, "anthropic")


def test_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "k-1234")

    async def check(up: Upstream, provider: Provider) -> None:
        await provider.complete(ask())
        seen = up.requests[0]
        assert seen.path == "/v1/messages"
        assert (seen.headers["x-api-key"], seen.headers["anthropic-version"]) == ("k-1234", "2024-01-01")
        assert "Authorization" not in seen.headers

    run(check, "anthropic", api_key_env="A_KEY", version="2024-01-01")


def test_hostile_replies_end_in_a_completion_or_a_provider_error() -> None:
    """Values of the recorded replies are replaced by nonsense, whole and streamed."""
    nonsense: list[Any] = [None, 0, -1, 1e300, True, "", "x", [], [None], {}, {"a": {}}, [[]]]
    whole = json.loads((WIRE / "anthropic_tools.json").read_text())
    lines = (WIRE / "anthropic_tools.sse").read_text().splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    rng = random.Random(0)

    async def check(up: Upstream, provider: Provider) -> None:
        kinds = []
        for i in range(300):
            changed: Any = json.loads(json.dumps(events if i % 2 else whole))
            for _ in range(2):
                replace(changed, rng, nonsense)
            if i % 2:
                data = "".join(f"data: {json.dumps(event)}\n\n" for event in changed)
                up.script(Canned.stream(data.encode()))
            else:
                up.script(Canned((json.dumps(changed).encode(),)))
            try:
                await (pieces_of(provider.stream(ask())) if i % 2 else provider.complete(ask()))
                kinds.append("whole")
            except ProviderError as error:
                kinds.append(error.kind)
        assert {"whole", "malformed"} <= set(kinds) <= {"whole", "malformed", "cut", "server"}

    run(check, "anthropic")


def test_cancelling_a_stream_closes_its_connection() -> None:
    async def check(up: Upstream, provider: Provider) -> None:
        task = asyncio.ensure_future(pieces_of(provider.stream(ask("stall", "one two three"))))
        while not up.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(check, "anthropic")
