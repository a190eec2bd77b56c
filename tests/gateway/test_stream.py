"""Streams: the official client and raw sockets against a real server, a real upstream behind it."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from routewright.policies.base import build_policy
from tests.gateway.test_chat import CALL, LOGPROBS, TOOLS
from tests.gateway.world import (
    ASK,
    USAGE_CHUNK,
    Running,
    Upstream,
    chunk,
    eventually,
    gateway,
    listening,
    plain,
    pool_at,
    whole,
)

TOOL_CHUNKS = [
    chunk({"role": "assistant", "content": None, "tool_calls": [{**CALL["tool_calls"][0], "index": 0}]}),  # type: ignore[index]
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}),
    chunk({}, "tool_calls"),
    USAGE_CHUNK,
]
MANY = [
    chunk({"content": "a"}, logprobs=LOGPROBS),
    {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]},
    chunk({"content": "c"}, logprobs=LOGPROBS),
    chunk({}, "stop"),
    {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
    USAGE_CHUNK,
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream(
        {
            "tooled": lambda b: TOOL_CHUNKS if b.get("stream") else whole(CALL, finish_reason="tool_calls"),
            "many": lambda b: MANY,
            "cut": lambda b: [chunk({"content": "half"}), 0.05, None],
            "down": lambda b: (500, {"error": {"message": "broken"}}),
            "slow": lambda b: (
                [chunk({"content": "first"}), *[x for _ in range(600) for x in (0.05, chunk({"content": "."}))]]
                if b.get("stream")
                else plain(b)
            ),
            "wait": lambda b: [30.0, chunk({"content": "late"})],
        }
    )
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


@pytest.fixture(scope="module")
def served(upstream: Upstream) -> Iterator[Running]:
    names = ("plain", "second", "tooled", "many", "cut", "down", "slow", "wait")
    pool = pool_at(upstream.url, *names, retries=2)  # type: ignore[attr-defined]
    coordinators = {
        "auto": "single",
        "twice": "self_refine",
        "voters": build_policy("vote", {"models": ["plain", "second"]}),
        "downfirst": build_policy("single", {"model": "down"}),
        "cutfirst": build_policy("single", {"model": "cut"}),
        "refined": build_policy("pipeline", {"models": ["down", "plain"]}),
    }
    with gateway(pool, coordinators) as running:
        yield running


def said(served: Running, model: str, **more: Any) -> tuple[str, list[Any]]:
    """The text of a stream, and its chunks."""
    chunks = list(served.client().chat.completions.create(model=model, messages=ASK, stream=True, **more))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    return text, chunks


@pytest.mark.parametrize("model", ["plain", "auto", "twice", "voters", "downfirst", "refined"])
def test_a_stream_says_what_a_whole_answer_does(served: Running, model: str) -> None:
    text, chunks = said(served, model, stream_options={"include_usage": True})
    done = served.client().chat.completions.create(model=model, messages=ASK)
    assert text == done.choices[0].message.content == "one two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices].count("stop") == 1
    usage = chunks[-1].usage
    assert (chunks[-1].choices, usage.prompt_tokens) == ([], done.usage.prompt_tokens)  # type: ignore[union-attr]
    told = chunks[-2].model_extra["routing"]
    whole_told = done.model_extra["routing"]  # type: ignore[index]
    assert told["models"] == whole_told["models"]
    record = served.record(told["trace_id"])
    assert (record.streamed, record.status, record.cost_usd) == (True, 200, told["cost_usd"])
    if model != "voters":
        assert told["first_token_s"] is not None


def test_usage_comes_only_where_asked_for(served: Running) -> None:
    _, chunks = said(served, "plain")
    assert all(c.usage is None and c.choices for c in chunks)


def test_tokens_come_as_they_are_made(served: Running, upstream: Upstream) -> None:
    """The first piece is there while the upstream, which needs half a minute, still writes; then the client goes."""
    before = upstream.left
    stream = served.client().chat.completions.create(model="slow", messages=ASK, stream=True)
    first = next(iter(stream))
    assert first.choices[0].delta.content == "first"
    trace_id = first.id.removeprefix("chatcmpl-")
    stream.close()
    eventually(lambda: upstream.left > before)
    record = served.record(trace_id)
    assert (record.stopped, record.status) == ("cancelled", 499)
    assert record.cost_usd > 0, "what had been made is charged"


def test_a_client_that_goes_away_before_the_answer_stops_the_upstream(served: Running, upstream: Upstream) -> None:
    before, known = upstream.left, len(upstream.bodies)
    link = raw(served, {"model": "wait", "messages": ASK, "stream": True})
    eventually(lambda: len(upstream.bodies) > known)
    link.close()
    eventually(lambda: upstream.left > before)
    assert eventually(lambda: served.last().stopped == "cancelled")


def raw(served: Running, body: Any) -> socket.socket:
    """A request on a bare socket."""
    address = urllib.parse.urlsplit(served.url)
    link = socket.create_connection((address.hostname, address.port), timeout=60)  # type: ignore[arg-type]
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Length: {len(data)}\r\n\r\n"
    link.sendall(head.encode() + data)
    return link


def lines(served: Running, body: Any) -> tuple[int, list[str]]:
    address = urllib.parse.urlsplit(served.url)
    link = http.client.HTTPConnection(address.hostname, address.port, timeout=60)  # type: ignore[arg-type]
    link.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = link.getresponse()
    text = answer.read().decode()
    link.close()
    return answer.status, [line for line in text.split("\n\n") if line]


def test_several_steps_are_told_in_comments(served: Running) -> None:
    status, events = lines(served, {"model": "twice", "messages": ASK, "stream": True})
    assert status == 200
    assert events[0].startswith(": step plain (answer): ")
    assert events[-1] == "data: [DONE]"
    assert "Zurich" not in "".join(e for e in events if e.startswith(":"))


def test_tool_calls(served: Running) -> None:
    for model in ("tooled", "auto"):
        more: dict[str, Any] = {"tools": TOOLS}
        if model == "auto":
            more["extra_body"] = {"routing": {"allow": ["tooled"]}}
        _, chunks = said(served, model, **more)
        calls = [c for part in chunks if part.choices for c in part.choices[0].delta.tool_calls or []]
        assert (calls[0].id, calls[0].function.name) == ("c1", "weather")
        assert "".join(c.function.arguments or "" for c in calls) == "{}"
        assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_several_choices_and_log_probabilities(served: Running) -> None:
    _, chunks = said(served, "many", n=2, logprobs=True)
    text = {0: "", 1: ""}
    finished, sure = {}, 0
    for part in chunks:
        for choice in part.choices:
            text[choice.index] += choice.delta.content or ""
            sure += choice.logprobs is not None
            if choice.finish_reason is not None:
                assert choice.index not in finished, "said once"
                finished[choice.index] = choice.finish_reason
    assert (text, finished, sure) == ({0: "ac", 1: "b"}, {0: "stop", 1: "length"}, 2)
    done = served.client().chat.completions.create(model="plain", messages=ASK, stream=False)
    assert done.choices[0].logprobs is None


@pytest.mark.parametrize("model", ["cut", "cutfirst"])
def test_after_the_first_byte_nothing_is_asked_again(served: Running, upstream: Upstream, model: str) -> None:
    """A reply that breaks off ends the stream with an error; no other model, and no second try, goes on with it."""
    before = len(upstream.bodies)
    parts: list[Any] = []
    stream = served.client().chat.completions.create(model=model, messages=ASK, stream=True)
    with pytest.raises(openai.APIError, match="broke off"):
        parts.extend(stream)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == "half"
    assert [b["model"] for b in upstream.bodies[before:]] == ["cut"]
    assert eventually(lambda: served.last().status == 502)
    assert served.last().cost_usd > 0


def test_an_error_before_the_first_byte_has_its_status(served: Running) -> None:
    with pytest.raises(openai.InternalServerError):
        said(served, "down")
    with pytest.raises(openai.NotFoundError):
        said(served, "nobody")
    with pytest.raises(openai.BadRequestError):
        said(served, "twice", extra_body={"routing": {"budget_usd": 1e-9}})


def test_a_reader_that_does_not_read_is_cut_off(upstream: Upstream) -> None:
    """Its stream may wait in memory up to a limit; then its episode ends, and no upstream works on for it."""
    upstream.replies["flood"] = lambda b: [x for _ in range(4000) for x in (chunk({"content": "x" * 8000}), 0.0)]
    pool = pool_at(upstream.url, "flood")  # type: ignore[attr-defined]
    with gateway(pool, values={"limits": {"unread_bytes": 65536}}) as served:
        link = raw(served, {"model": "flood", "messages": ASK, "stream": True})
        record = eventually(served.last)
        assert (record.stopped, record.status) == ("cancelled", 499)
        link.close()


def test_a_request_has_a_deadline(upstream: Upstream) -> None:
    pool = pool_at(upstream.url, "wait", "slow")  # type: ignore[attr-defined]
    with gateway(pool, {"auto": "single"}, {"limits": {"request_s": 0.3}}) as served:
        for stream in (False, True):
            with pytest.raises(openai.APIStatusError, match=r"No answer within 0\.3 s") as caught:
                served.client().chat.completions.create(model="auto", messages=ASK, stream=stream)
            assert caught.value.status_code == 504
        with pytest.raises(openai.APIError, match=r"No answer within 0\.3 s"):
            list(served.client().chat.completions.create(model="slow", messages=ASK, stream=True))
        record = served.last()
        assert (record.status, record.stopped) == (504, "cancelled")
        assert record.cost_usd > 0
