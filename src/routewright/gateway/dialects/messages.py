"""`messages`: Anthropic's Messages API.

A request is translated to the chat form (`messages_request.py`), so that any model of the pool can serve it, and the answer
back. What was done is in `routing`; `usage` sums every step, with `by_model` beside it. `input_tokens` is without what was
read from an upstream's cache, as the API has it.

`stop_reason` is end_turn, max_tokens, tool_use or refusal. Upstreams do not tell a stop sequence from an end, so it is never
stop_sequence. A model's reasoning is not passed on: it would need a signature.

Source: the Claude API reference, `POST /v1/messages`, version 2023-06-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from routewright.gateway.asked import Asked, routing_of
from routewright.gateway.dialects.base import Dialect
from routewright.gateway.dialects.messages_frames import MessagesFrames
from routewright.gateway.dialects.messages_reply import error_of, reason, usage
from routewright.gateway.dialects.messages_request import CountRequest, MessagesRequest, conversation, options
from routewright.gateway.dialects.reading import text_in, typed
from routewright.gateway.dialects.writing import Said, ToolCall, encode, said_in
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served
from routewright.types import Query

_EXPECTED = (
    "Served are blocks of text, image (base64, url), tool_use, tool_result and thinking, and tools of the client's own."
)
_REQUEST = msgspec.json.Decoder(MessagesRequest)
_COUNT = msgspec.json.Decoder(CountRequest)


class Messages(Dialect):
    """The Messages API."""

    name = "messages"
    path = "/v1/messages"

    def read(self, body: bytes, headers: Mapping[str, str], most_messages: int = 4096) -> Asked:
        given = typed(_REQUEST, body, _EXPECTED)
        messages = conversation(given, most_messages)
        query = Query(text_in(messages), messages=messages, options=options(given))
        return Asked(given.model, query, routing_of(given.routing, headers), bool(given.stream), True)

    def whole(self, served: Served) -> bytes:
        said = said_in(served)
        return encode(
            {
                "id": f"msg_{served.episode.trace_id}",
                "type": "message",
                "role": "assistant",
                "model": served.asked.model,
                "content": _content(said),
                "stop_reason": reason(said),
                "stop_sequence": None,
                "usage": usage(served),
                "routing": served.routing(),
            }
        )

    def frames(self, asked: Asked, trace_id: str) -> MessagesFrames:
        return MessagesFrames(asked, trace_id)

    def error(self, fault: Fault, trace_id: str = "") -> bytes:
        return encode(error_of(fault, trace_id))

    def headers(self, trace_id: str) -> list[tuple[bytes, bytes]]:
        return [(b"request-id", trace_id.encode())]


def counted(body: bytes, most_messages: int) -> tuple[str, tuple[dict[str, Any], ...], dict[str, Any]]:
    """A request to count tokens: its model, and what `routewright.pools.bounds.estimate_prompt` takes."""
    given = typed(_COUNT, body, _EXPECTED)
    return given.model, conversation(given, most_messages), options(given)


def _content(said: Said) -> list[dict[str, Any]]:
    text = said.text or said.refusal
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call, said.finish)}
        for call in said.calls
    ]


def _input(call: ToolCall, finish: str) -> dict[str, Any]:
    """The arguments as an object, which is all that this protocol has for them."""
    try:
        given = msgspec.json.decode(call.arguments or "{}")
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, dict):
        return given
    if finish == "length":
        return {}  # cut off, as stop_reason says
    said = f"The model's call of {call.name[:80]!r} has arguments that are no JSON object. Ask again, or another model."
    raise Fault(502, said, "malformed_tool_call")
