"""`chat`: OpenAI's chat completions.

What the gateway does not read (tools, response_format, stop, seed, logprobs, ...) goes to the model untouched. `model` in
an answer is what was asked for; who answered is in `routing`. `usage` sums every step, with `by_model` beside it.

Source: the OpenAI API reference, `POST /chat/completions`, objects `chat.completion` and `chat.completion.chunk`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from routewright.gateway.asked import Asked, routing_of
from routewright.gateway.dialects.base import Dialect, Frames
from routewright.gateway.dialects.reading import flag, model_of, object_of, text_in
from routewright.gateway.dialects.writing import choices_of, encode, openai_error, rest_of
from routewright.gateway.faults import Fault, bad
from routewright.gateway.served import Served
from routewright.pools.providers.base import Delta
from routewright.types import Query

_OURS = ("model", "messages", "stream", "stream_options", "routing")


class Chat(Dialect):
    """Chat completions."""

    name = "chat"
    path = "/v1/chat/completions"

    def read(self, body: bytes, headers: Mapping[str, str], most_messages: int = 4096) -> Asked:
        given = object_of(body, "fields model and messages")
        model = model_of(given.get("model"))
        messages = _messages(given.get("messages"), most_messages)
        stream = flag(given, "stream")
        _check_numbers(given)
        options = {k: v for k, v in given.items() if k not in _OURS}
        query = Query(text_in(messages), messages=messages, options=options)
        return Asked(model, query, routing_of(given.get("routing"), headers), stream, _include_usage(given))

    def whole(self, served: Served) -> bytes:
        return encode(
            {
                "id": f"chatcmpl-{served.episode.trace_id}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": served.asked.model,
                "choices": [
                    {
                        "index": c["index"],
                        "message": {"role": "assistant", "content": None, **c["message"]},
                        "logprobs": c.get("logprobs"),
                        "finish_reason": c["finish_reason"],
                    }
                    for c in choices_of(served)
                ],
                "usage": _usage(served),
                "routing": served.routing(),
            }
        )

    def frames(self, asked: Asked, trace_id: str) -> ChatFrames:
        return ChatFrames(asked, trace_id)

    def error(self, fault: Fault, trace_id: str = "") -> bytes:
        return encode(openai_error(fault))


class ChatFrames(Frames):
    """Chunks. `usage` is null in all but the last where it is asked for, as OpenAI does it."""

    def __init__(self, asked: Asked, trace_id: str) -> None:
        head = {
            "id": f"chatcmpl-{trace_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": asked.model,
        }
        usage = b',"usage":null' if asked.include_usage else b""
        self._head = b"data: " + encode(head)[:-1] + b',"choices":'
        self._tail = usage + b"}\n\n"
        self._quick = (
            self._head + b'[{"index":0,"delta":{"content":',
            b'},"logprobs":null,"finish_reason":null}]' + (self._tail),
        )
        self._include_usage = asked.include_usage
        self._text: list[str] = []  # of the first choice, as written
        self._called = False  # whether tool calls were written
        self._ended: set[int] = set()

    def delta(self, delta: Delta) -> bytes:
        self._text.append(delta.text)
        if self.began and delta.raw is None and not delta.choices:
            return self._quick[0] + encode(delta.text) + self._quick[1]
        first, self.began = not self.began, True
        self._called |= delta.raw is not None and bool(delta.raw.get("tool_calls"))
        if delta.choices:
            self._ended.update(c["index"] for c in delta.choices if c["finish_reason"] is not None)
            return self._chunk(delta.choices)
        content = dict(delta.raw) if delta.raw is not None else {"content": delta.text}
        if first:
            content = {"role": "assistant", **content}
        return self._chunk([_piece(0, content)])

    def end(self, served: Served) -> bytes:
        out = []
        choices = choices_of(served)
        if not self.began:
            self.began = True
            out.append(self._chunk([_piece(c["index"], _as_delta(c["message"]), c.get("logprobs")) for c in choices]))
        else:
            if rest := rest_of("".join(self._text), served.episode.answer):
                out.append(self._chunk([_piece(0, {"content": rest})]))
            if not self._called and (calls := _as_delta(choices[0]["message"]).get("tool_calls")):
                out.append(self._chunk([_piece(0, {"tool_calls": calls})]))
        last = [_piece(c["index"], {}, None, c["finish_reason"]) for c in choices if c["index"] not in self._ended]
        out.append(self._chunk(last, {"routing": served.routing()}))
        if self._include_usage:
            out.append(self._head + b'[],"usage":' + encode(_usage(served)) + b"}\n\n")
        return b"".join([*out, b"data: [DONE]\n\n"])

    def fault(self, fault: Fault) -> bytes:
        return b"data: " + encode(openai_error(fault)) + b"\n\ndata: [DONE]\n\n"

    def _chunk(self, choices: Any, more: Mapping[str, Any] | None = None) -> bytes:
        extra = b"," + encode(more)[1:-1] if more else b""
        return self._head + encode(choices) + extra + self._tail


def _messages(given: Any, most: int) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(given, list) or not given:
        raise bad("messages is missing or empty. Expected a list of objects with role and content.", "messages")
    if len(given) > most:
        raise bad(f"messages has {len(given)} entries. Expected at most {most}.", "messages")
    for i, message in enumerate(given):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise bad(f"messages[{i}] is no object with a role.", f"messages[{i}]")
        content = message.get("content")
        parts = isinstance(content, list) and all(isinstance(p, dict) for p in content)
        if content is not None and not isinstance(content, str) and not parts:
            raise bad(f"messages[{i}].content is neither a text nor a list of parts.", f"messages[{i}].content")
    return tuple(given)


def _include_usage(given: Mapping[str, Any]) -> bool:
    options = given.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise bad("stream_options is no object.", "stream_options")
    return flag(options, "include_usage")


def _check_numbers(given: Mapping[str, Any]) -> None:
    """The few options that the gateway reckons with."""
    for name, most in (("n", 128), ("max_tokens", 2**31), ("max_completion_tokens", 2**31)):
        value = given.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most):
            raise bad(f"{name} is out of range. Expected a whole number from 1 to {most}.", name)
    warmth = given.get("temperature")
    if warmth is not None and (
        isinstance(warmth, bool) or not isinstance(warmth, (int, float)) or not 0 <= warmth <= 2
    ):
        raise bad("temperature is out of range. Expected 0 to 2.", "temperature")


def _as_delta(message: Mapping[str, Any]) -> dict[str, Any]:
    """A whole message as one delta: its tool calls are numbered."""
    delta = {"role": "assistant", **message}
    if isinstance(delta.get("tool_calls"), list):
        delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(delta["tool_calls"])]
    return delta


def _piece(index: int, delta: Mapping[str, Any], logprobs: Any = None, finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _usage(served: Served) -> dict[str, Any]:
    usage = served.usage
    return {
        "prompt_tokens": usage.tokens_in,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.tokens_in + usage.tokens_out,
        "prompt_tokens_details": {"cached_tokens": usage.tokens_cached},
        "by_model": served.by_model(),
    }
