"""What whole and streamed answers of the Responses API have in common: the response object, its items, usage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from routewright.gateway.asked import Asked
from routewright.gateway.dialects.writing import CUT, Said, ToolCall
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(asked: Asked, trace_id: str, status: str, **more: Any) -> dict[str, Any]:
    """The response object; `more` replaces what it begins with."""
    return {
        "id": f"resp_{trace_id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": asked.model,
        "output": (),
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
        "usage": None,
        **(asked.echo or {}),
        **more,
    }


def finished(served: Served, finish: str, output: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """The response object of an answer."""
    cut = _INCOMPLETE.get(finish)
    told = {
        "incomplete_details": {"reason": cut} if cut else None,
        "output": output,
        "usage": usage(served),
        "routing": served.routing(),
    }
    return response(served.asked, served.episode.trace_id, "incomplete" if cut else "completed", **{**told, **more})


def failed(asked: Asked, trace_id: str, fault: Fault, **more: Any) -> dict[str, Any]:
    """The response object where there is no answer."""
    code = "rate_limit_exceeded" if fault.status == 429 else "server_error"
    return response(asked, trace_id, "failed", **{**more, "error": {"code": code, "message": fault.message}})


def usage(served: Served) -> dict[str, Any]:
    """Tokens of all steps. Upstreams' tokens of reasoning are among `output_tokens`, and not counted apart."""
    summed = served.usage
    return {
        "input_tokens": summed.tokens_in,
        "input_tokens_details": {"cached_tokens": summed.tokens_cached, "cache_write_tokens": 0},
        "output_tokens": summed.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": summed.tokens_in + summed.tokens_out,
        "by_model": served.by_model(),
    }


def message(trace_id: str, index: int, content: Sequence[Mapping[str, Any]], status: str) -> dict[str, Any]:
    """An item of the output that is text; `index` is its place there."""
    return {
        "id": f"msg_{trace_id}_{index}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def function_call(trace_id: str, index: int, call: ToolCall, status: str) -> dict[str, Any]:
    """An item of the output that is a tool call."""
    return {
        "id": f"fc_{trace_id}_{index}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def part(text: str, refusal: bool = False) -> dict[str, Any]:
    """The content of a message."""
    if refusal:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": (), "logprobs": ()}


def items(said: Said, trace_id: str) -> list[dict[str, Any]]:
    """The whole output."""
    status = "incomplete" if said.finish in CUT else "completed"
    output = []
    if said.text or said.refusal:
        content = [part(said.text)] if said.text else [part(said.refusal, refusal=True)]
        output.append(message(trace_id, 0, content, status))
    for call in said.calls:
        output.append(function_call(trace_id, len(output), call, status))
    return output
