"""`responses`: OpenAI's Responses API, without anything kept between requests.

A request is translated to the chat form (`responses_request.py`), so that any model of the pool can serve it, and the answer
back: an item of text, then the function calls. `status` is incomplete where the reply was cut off, or filtered. What was done
is in `routing`; `usage` sums every step, with `by_model` beside it. A model's reasoning is not passed on.

Source: the OpenAI API reference, `POST /responses`, and its streaming events.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from routewright.gateway.asked import Asked, routing_of
from routewright.gateway.dialects.base import Dialect
from routewright.gateway.dialects.reading import text_in, typed
from routewright.gateway.dialects.responses_frames import ResponsesFrames
from routewright.gateway.dialects.responses_reply import finished, items
from routewright.gateway.dialects.responses_request import (
    EXPECTED,
    ResponsesRequest,
    conversation,
    echoed,
    options,
    stateless,
)
from routewright.gateway.dialects.writing import encode, openai_error, said_in
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served
from routewright.types import Query

_REQUEST = msgspec.json.Decoder(ResponsesRequest)


class Responses(Dialect):
    """The Responses API."""

    name = "responses"
    path = "/v1/responses"

    def read(self, body: bytes, headers: Mapping[str, str], most_messages: int = 4096) -> Asked:
        given = typed(_REQUEST, body, EXPECTED)
        stateless(given)
        messages = conversation(given, most_messages)
        query = Query(text_in(messages), messages=messages, options=options(given))
        return Asked(
            given.model, query, routing_of(given.routing, headers), bool(given.stream), True, echo=echoed(given)
        )

    def whole(self, served: Served) -> bytes:
        said = said_in(served)
        return encode(finished(served, said.finish, items(said, served.episode.trace_id)))

    def frames(self, asked: Asked, trace_id: str) -> ResponsesFrames:
        return ResponsesFrames(asked, trace_id)

    def error(self, fault: Fault, trace_id: str = "") -> bytes:
        return encode(openai_error(fault))
