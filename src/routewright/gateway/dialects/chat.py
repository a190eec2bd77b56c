"""`chat`: OpenAI's chat completions.

What the gateway does not read (tools, response_format, stop, seed, logprobs, ...) goes to the model untouched. `model` in
an answer is what was asked for; who answered is in `routing`. `usage` sums every step, with `by_model` beside it.

Source: the OpenAI API reference, `POST /chat/completions`, objects `chat.completion` and `chat.completion.chunk`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from routewright.gateway.asked import Asked, routing_of
from routewright.gateway.dialects.base import Dialect, Frames
from routewright.gateway.faults import Fault, bad
from routewright.gateway.served import Served
from routewright.pools.providers.base import Delta
from routewright.pools.providers.wire import CHOICES, text_of
from routewright.types import Query

_OURS = ("model", "messages", "stream", "stream_options", "routing")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Chat(Dialect):
    """Chat completions."""

    name = "chat"
    path = "/v1/chat/completions"

    def read(self, body: bytes, headers: Mapping[str, str], most_messages: int = 4096) -> Asked:
        try:
            given = _decode(body)
        except (ValueError, RecursionError) as error:
            said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
            raise bad(f"The body is no JSON ({said}). Expected an object.", code="invalid_json") from None
        if not isinstance(given, dict):
            raise bad("The body is no JSON object. Expected fields model and messages.", code="invalid_json")
        model = given.get("model")
        if not isinstance(model, str) or not model:
            raise bad("model is missing or no text. Expected a name that GET /v1/models lists.", "model")
        messages = _messages(given.get("messages"), most_messages)
        stream = _flag(given, "stream")
        _check_numbers(given)
        options = {k: v for k, v in given.items() if k not in _OURS}
        text = "\n\n".join(part for m in messages if (part := text_of(m.get("content"))))
        query = Query(text, messages=messages, options=options)
        return Asked(model, query, routing_of(given.get("routing"), headers), stream, _include_usage(given))

    def whole(self, served: Served) -> bytes:
        return _encode(
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
                    for c in _choices(served)
                ],
                "usage": _usage(served),
                "routing": served.routing(),
            }
        )

    def frames(self, asked: Asked, trace_id: str) -> ChatFrames:
        return ChatFrames(asked, trace_id)

    def error(self, fault: Fault) -> bytes:
        return _encode(_error(fault))


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
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":'
        self._tail = usage + b"}\n\n"
        self._quick = (
            self._head + b'[{"index":0,"delta":{"content":',
            b'},"logprobs":null,"finish_reason":null}]' + (self._tail),
        )
        self._include_usage = asked.include_usage
        self._text: list[str] = []  # of the first choice, as written
        self._ended: set[int] = set()

    def delta(self, delta: Delta) -> bytes:
        self._text.append(delta.text)
        if self.began and delta.raw is None and not delta.choices:
            return self._quick[0] + _encode(delta.text) + self._quick[1]
        first, self.began = not self.began, True
        if delta.choices:
            self._ended.update(c["index"] for c in delta.choices if c["finish_reason"] is not None)
            return self._chunk(delta.choices)
        content = dict(delta.raw) if delta.raw is not None else {"content": delta.text}
        if first:
            content = {"role": "assistant", **content}
        return self._chunk([_piece(0, content)])

    def end(self, served: Served) -> bytes:
        out = []
        choices = _choices(served)
        if not self.began:
            self.began = True
            out.append(self._chunk([_piece(c["index"], _as_delta(c["message"]), c.get("logprobs")) for c in choices]))
        elif (rest := self._rest(served.episode.answer)) is not None:
            out.append(rest)
        last = [_piece(c["index"], {}, None, c["finish_reason"]) for c in choices if c["index"] not in self._ended]
        out.append(self._chunk(last, {"routing": served.routing()}))
        if self._include_usage:
            out.append(self._head + b'[],"usage":' + _encode(_usage(served)) + b"}\n\n")
        return b"".join([*out, b"data: [DONE]\n\n"])

    def fault(self, fault: Fault) -> bytes:
        return b"data: " + _encode(_error(fault)) + b"\n\ndata: [DONE]\n\n"

    def _rest(self, answer: str) -> bytes | None:
        """What of the answer was not written yet. An answer that is not what was streamed can not be: it is a defect."""
        written = "".join(self._text)
        if written == answer:
            return None
        if not answer.startswith(written):
            raise Fault(500, "The answer is not what was streamed. This is a defect of the gateway.", "internal_error")
        return self._chunk([_piece(0, {"content": answer[len(written) :]})])

    def _chunk(self, choices: Any, more: Mapping[str, Any] | None = None) -> bytes:
        extra = b"," + _encode(more)[1:-1] if more else b""
        return self._head + _encode(choices) + extra + self._tail


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


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(f"{name} is neither true nor false.", name)
    return bool(value)


def _include_usage(given: Mapping[str, Any]) -> bool:
    options = given.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise bad("stream_options is no object.", "stream_options")
    return _flag(options, "include_usage")


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


def _choices(served: Served) -> list[dict[str, Any]]:
    """The choices of the answer: index, message, finish_reason, and logprobs where there are any."""
    reply = served.reply
    message = dict(reply.message) if reply is not None and reply.message else {}
    several = message.pop(CHOICES, None)
    if several:
        return [{**c, "message": c["message"] or {}, "finish_reason": c["finish_reason"] or "stop"} for c in several]
    if not message:
        message = {"role": "assistant", "content": served.episode.answer}
    return [{"index": 0, "message": message, "finish_reason": reply.finish if reply is not None else "stop"}]


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


def _error(fault: Fault) -> dict[str, Any]:
    return {"error": {"message": fault.message, "type": fault.type, "param": fault.param, "code": fault.code}}
