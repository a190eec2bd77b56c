"""What writing an answer has in common: JSON of any text, the choices of an answer, its tool calls. Used by every dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from routewright.gateway.faults import Fault
from routewright.gateway.served import Served
from routewright.pools.providers.wire import CHOICES, is_count, text_of

CUT = ("length", "content_filter")  # why a reply ended that is not whole
_encode = msgspec.json.Encoder().encode


def encode(value: Any) -> bytes:
    """JSON. Half a surrogate pair, which has no place in UTF-8, becomes a question mark instead of an error."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_whole(value))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_whole(key): _whole(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(one) for one in value]
    return value


def openai_error(fault: Fault) -> dict[str, Any]:
    """An error as OpenAI's APIs have them."""
    return {"error": {"message": fault.message, "type": fault.type, "param": fault.param, "code": fault.code}}


def choices_of(served: Served) -> list[dict[str, Any]]:
    """The choices of an answer: index, message, finish_reason, and logprobs where there are any."""
    reply = served.reply
    message = dict(reply.message) if reply is not None and reply.message else {}
    several = message.pop(CHOICES, None)
    if several:
        return [{**c, "message": c["message"] or {}, "finish_reason": c["finish_reason"] or "stop"} for c in several]
    if not message:
        message = {"role": "assistant", "content": served.episode.answer}
    return [{"index": 0, "message": message, "finish_reason": reply.finish if reply is not None else "stop"}]


class Said(NamedTuple):
    """The first choice of an answer: its text, its refusal, its calls, and why it ended."""

    text: str
    refusal: str
    calls: list[ToolCall]
    finish: str


class ToolCall(NamedTuple):
    """A call of a tool that a model asks for; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


def said_in(served: Served) -> Said:
    """What the dialects of one choice tell of an answer."""
    reply, first = served.reply, choices_of(served)[0]
    message = first["message"]
    refusal = message.get("refusal")
    text = text_of(message.get("content")) or served.episode.answer
    calls = calls_of(message, served.episode.trace_id)
    finish = reply.finish if reply is not None else "stop"
    return Said(text, refusal if isinstance(refusal, str) else "", calls, finish)


def calls_of(message: Mapping[str, Any], trace_id: str) -> list[ToolCall]:
    """The tool calls of a whole message."""
    found = []
    for i, part in enumerate(_parts(message)):
        given, (name, arguments) = part.get("id"), _function(part)
        found.append(ToolCall(given if given and isinstance(given, str) else call_id(trace_id, i), name, arguments))
    return found


def call_id(trace_id: str, i: int) -> str:
    """The id of a call whose upstream gave none."""
    return f"call_{trace_id[:24]}_{i}"


class CallPiece(NamedTuple):
    """A piece of a tool call in a stream; `number` is the upstream's own of the call."""

    number: int
    id: str
    name: str
    arguments: str


def pieces_of(delta: Mapping[str, Any] | None, known: list[str]) -> Iterator[CallPiece]:
    """The pieces of tool calls in a delta. `known` holds the ids so far: where an upstream numbers none, a new id is a new call."""
    for part in _parts(delta or {}):
        index, given = part.get("index"), part.get("id")
        if not is_count(index):
            fits = [i for i, one in enumerate(known) if given in (None, "", one)]
            index = fits[-1] if fits else len(known)
        name, arguments = _function(part)
        yield CallPiece(index, given if isinstance(given, str) else "", name, arguments)


def _parts(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    calls = message.get("tool_calls")
    for part in calls if isinstance(calls, (list, tuple)) else ():
        if isinstance(part, Mapping):
            yield part


def _function(part: Mapping[str, Any]) -> tuple[str, str]:
    function = part.get("function")
    if not isinstance(function, Mapping):
        return "", ""
    name, arguments = function.get("name"), function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = encode(arguments).decode()
    return name if isinstance(name, str) else "", arguments or ""


def rest_of(written: str, answer: str) -> str:
    """What of the answer was not written yet."""
    if not answer.startswith(written):
        raise not_as_streamed()
    return answer[len(written) :]


def not_as_streamed() -> Fault:
    """An answer that is not what was streamed can not be: it is a defect."""
    return Fault(500, "The answer is not what was streamed. This is a defect of the gateway.", "internal_error")
