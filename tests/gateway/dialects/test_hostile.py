"""Whatever is sent is a request or a refusal; whatever a model says comes back whole. Both with hostile text and shapes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routewright.gateway.asked import Asked, Routing
from routewright.gateway.dialects.base import Dialect
from routewright.gateway.dialects.table import DIALECTS
from routewright.gateway.faults import Fault
from routewright.pools.bounds import estimate_prompt, messages_of, most_tokens_in
from routewright.pools.providers.base import Delta
from routewright.pools.providers.http import encode
from routewright.pools.providers.wire import Assembler, Chunk, Piece
from routewright.types import Query, Reply
from tests.gateway.dialects.streams import DONE, calls_of, events, routing_of, text_of
from tests.gateway.dialects.test_contract import served

NAMES = list(DIALECTS)
ODD = st.sampled_from(
    ["\n\ndata: x\n\n", "\r", "\x00", "\u2028", "\ud800", "\udfff\ud800", "event: error", ": c", "[DONE]", "🙂"]
)
WORDS = st.text(max_size=8) | ODD
NUMBERS = (
    st.integers() | st.sampled_from([2**63, 2**64, -(2**64), 10**40, 10**400, 1e308, -1e308, 5e-324]) | st.floats()
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
RIGHT: dict[str, dict[str, Any]] = {
    "chat": {
        "model": "auto",
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "n": 2,
        "max_tokens": 5,
        "temperature": 1,
        "stop": ["x"],
        "stream_options": {"include_usage": True},
        "routing": {"value_usd": 1, "allow": ["small"]},
    },
    "responses": {
        "model": "auto",
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "t"}, {"type": "input_image", "image_url": "u"}],
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
            {"type": "reasoning", "summary": []},
        ],
        "instructions": "i",
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "reasoning": {"effort": "low"},
        "max_output_tokens": 5,
        "metadata": {"a": "b"},
        "routing": {"value_usd": 1, "allow": ["small"]},
    },
    "messages": {
        "model": "auto",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "t"}, PIXEL]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [PIXEL]}]},
        ],
        "tools": [{"name": "f", "input_schema": {}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "output_config": {"format": {"type": "json_schema", "schema": {}}},
        "stop_sequences": ["x"],
        "temperature": 1,
        "routing": {"value_usd": 1, "allow": ["small"]},
    },
}


def dialect(name: str) -> Dialect:
    return DIALECTS.load(name)()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything in a body."""
    found = [path]
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def with_at(value: Any, path: Sequence[Any], put: Any) -> Any:
    """A copy with something else in one place."""
    if not path:
        return put
    if isinstance(value, dict):
        return {**value, path[0]: with_at(value[path[0]], path[1:], put)}
    return [with_at(one, path[1:], put) if i == path[0] else one for i, one in enumerate(value)]


def taken(name: str, body: bytes) -> Asked | Fault:
    """What a dialect makes of bytes. A request it takes can be counted, priced and sent."""
    try:
        asked = dialect(name).read(body, {})
    except Fault as fault:
        refused = fault
    else:
        refused = None
    if refused is not None:
        assert 400 <= refused.status < 500
        assert refused.message
        json.loads(dialect(name).error(refused, "0" * 32))
        return refused
    assert asked.model
    assert asked.needs is not None
    most_tokens_in(messages_of(asked.query), asked.query.options)
    estimate_prompt(messages_of(asked.query), asked.query.options)
    json.loads(encode({**asked.query.options, "messages": asked.query.messages}, "here"))
    dialect(name).frames(asked, "0" * 32).fault(Fault(502, "x"))
    return asked


@pytest.mark.parametrize("name", NAMES)
def test_the_right_ones_are_right(name: str) -> None:
    assert isinstance(taken(name, json.dumps(RIGHT[name]).encode()), Asked)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_one_thing_wrong_anywhere(name: str, data: st.DataObject) -> None:
    """Any value in any place of a right request: taken or refused, and never more than that."""
    body = RIGHT[name]
    path = data.draw(st.sampled_from(places(body)))
    wrong = with_at(body, path, data.draw(VALUES))
    taken(name, json.dumps(wrong).encode())
    taken(name, json.dumps(wrong, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_bytes_gone_wrong_anywhere(name: str, data: st.DataObject) -> None:
    body = json.dumps(RIGHT[name]).encode()
    at = data.draw(st.integers(0, len(body)))
    upto = data.draw(st.integers(at, len(body)))
    taken(name, body[:at] + data.draw(st.binary(max_size=6)) + body[upto:])


HOSTILE = {
    "deep lists": b'{"model":"a","messages":' + b"[" * 100_000,
    "deep closed": b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000,
    "nan": b'{"model":"a","temperature":NaN}',
    "infinity": b'{"model":"a","temperature":1e999}',
    "long number": b'{"model":"a","max_tokens":' + b"9" * 100_000 + b"}",
    "nothing but a number": b"1" * 4200,
    "nothing but a text": b'"' + b"[" * 5000 + b'"',
    "half a pair": b'{"model":"\\ud800"}',
    "no utf-8": b'{"model":"\xff\xfe"}',
    "overlong": b'{"model":"\xc0\xaf"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"model":"a"}'.encode("utf-16"),
    "two": b'{"model":"a"}{"model":"b"}',
    "nothing": b"",
    "nul": b"\x00",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bytes(name: str, what: str) -> None:
    refused = taken(name, HOSTILE[what])
    assert isinstance(refused, Fault)
    assert refused.status == 400
    assert len(refused.message) < 500


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("amount", [10**400, 2**64, -1, True, "1", [], math.inf, -0.5], ids=lambda x: str(x)[:20])
def test_amounts_that_are_none(name: str, amount: Any) -> None:
    refused = taken(name, json.dumps(with_at(RIGHT[name], ("routing", "value_usd"), amount)).encode())
    assert isinstance(refused, Fault)


@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_nested(name: str) -> None:
    """Where any value may be, in a tool's schema: what is taken can be sent on, and what could not is refused."""
    where = {"chat": ("tools", 0, "function", "parameters"), "responses": ("tools", 0, "parameters")}
    path = where.get(name, ("tools", 0, "input_schema"))
    head, _, tail = json.dumps(with_at(RIGHT[name], path, {"x": "HERE"})).encode().partition(b'"HERE"')
    for depth, opening, closing in (
        (100, b"[", b"]"),
        (100, b'{"a":', b"}"),
        (130, b'[1,{"a":', b"}]"),
        (400, b"[", b"]"),
    ):
        middle = b"[]" if opening.startswith(b"[") else b"{}"
        asked = taken(name, head + opening * depth + middle + closing * depth + tail)
        assert isinstance(asked, Asked) == (depth == 100), (depth, opening)
        if isinstance(asked, Fault):
            assert "nested too deeply" in asked.message
        padded = taken(name, b" " * 5000 + head + opening * depth + middle + closing * depth + tail)
        assert isinstance(padded, Asked) == isinstance(asked, Asked), "short and long bodies are checked alike"
    many = [{"role": "user", "content": "hi"}] * 2000
    assert isinstance(
        taken(name, json.dumps({**RIGHT[name], "messages" if name != "responses" else "input": many}).encode()), Asked
    )


CALLS = st.lists(st.tuples(st.text(min_size=1, max_size=5), WORDS.filter(bool), WORDS), max_size=3)


def clean(text: str) -> str:
    """Half a surrogate pair has no place in UTF-8: a question mark stands for it."""
    return text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    pieces=st.lists(WORDS, max_size=5),
    streamed=st.integers(0, 5),
    calls=CALLS,
    calls_too=st.booleans(),
    cut=st.booleans(),
)
def test_a_stream_adds_up_to_the_answer(
    name: str, pieces: list[str], streamed: int, calls: list[tuple[str, str, str]], calls_too: bool, cut: bool
) -> None:
    """Any text, any tool calls, however much of them was streamed: valid events, that add up to what was said."""
    assembler = Assembler()
    deltas = [assembler.add(Chunk([Piece({"content": piece})])) for piece in pieces[:streamed]]
    for i, (call, word, arguments) in enumerate(calls if calls_too else ()):
        whole = {"id": call, "type": "function", "function": {"name": word, "arguments": ""}}
        deltas.append(assembler.add(Chunk([Piece({"tool_calls": [{"index": i, **whole}]})])))
        for half in (arguments[:2], arguments[2:]):
            more = {"index": i, "function": {"arguments": half}}
            deltas.append(assembler.add(Chunk([Piece({"tool_calls": [more]})])))
    text = "".join(pieces)
    made = [{"id": c, "type": "function", "function": {"name": n, "arguments": a}} for c, n, a in calls]
    message = {"role": "assistant", "content": text or None, "tool_calls": made} if calls else None
    one = served(text)
    (step,) = one.episode.steps
    assert isinstance(step.reply, Reply)
    reply = replace(step.reply, message=message, finish="length" if cut else "stop")
    one = replace(one, episode=replace(one.episode, steps=(replace(step, reply=reply),)))

    frames = dialect(name).frames(one.asked, "0" * 32)
    data = b"".join(frames.delta(delta) for delta in deltas if delta is not None) + frames.end(one)
    found = events(data)
    assert text_of(found) == "".join(map(clean, pieces)) or text_of(found) == clean(text)
    assert [call[1:] for call in calls_of(found)] == [(clean(n), clean(a)) for _, n, a in calls]
    assert routing_of(found)["trace_id"] == "0" * 32
    assert (found[-1] == DONE) == (name == "chat")
    data.decode()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(text=WORDS, model=WORDS.filter(bool))
def test_a_whole_answer_is_json_of_the_same_text(name: str, text: str, model: str) -> None:
    one = replace(served(text), asked=Asked(model, Query("hi"), Routing()))
    body = json.loads(dialect(name).whole(one))
    assert body["model"] == clean(model)
    said = {
        "chat": lambda: body["choices"][0]["message"]["content"],
        "responses": lambda: "".join(part["text"] for item in body["output"] for part in item["content"]),
        "messages": lambda: "".join(block["text"] for block in body["content"]),
    }[name]()
    assert said == clean(text)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, derandomize=True)
@given(said=WORDS)
def test_a_fault_in_a_stream_is_one_event_whatever_it_says(name: str, said: str) -> None:
    frames = dialect(name).frames(served().asked, "0" * 32)
    found = events(frames.delta(Delta("one")) + frames.fault(Fault(502, said)))
    error = [e["error"] for e in found if isinstance(e, dict) and e.get("error")]
    assert [one["message"] for one in error] == [clean(said)]
