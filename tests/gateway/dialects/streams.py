"""Reading a streamed answer back, in the form of any dialect that there is."""

from __future__ import annotations

import json
from typing import Any

from routewright.pools.providers.sse import Events

DONE = "[DONE]"


def events(data: bytes) -> list[Any]:
    """The data of all events. Python's own JSON reads it, so that ours does not check itself."""
    parser = Events()
    return [e.decode() if e == DONE.encode() else json.loads(e) for e in [*parser.feed(data), *parser.end()]]


def text_of(found: list[Any]) -> str:
    """The text that a stream's events add up to."""
    return "".join(_piece(e) for e in found if isinstance(e, dict))


def _piece(event: dict[str, Any]) -> str:
    if event.get("type") == "content_block_delta":
        return str(event["delta"].get("text", ""))
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    return "".join(c["delta"].get("content") or "" for c in event.get("choices", ()) if c["index"] == 0)


def routing_of(found: list[Any]) -> Any:
    """The `routing` object of a stream."""
    told = [e.get("routing") or e.get("response", {}).get("routing") for e in found if isinstance(e, dict)]
    return next((one for one in told if one), None)


def calls_of(found: list[Any]) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of the tool calls of a stream."""
    calls: dict[Any, list[str]] = {}
    for event in found:
        if not isinstance(event, dict):
            continue
        kind = event.get("type")
        if kind == "content_block_start" and event["content_block"]["type"] == "tool_use":
            calls[event["index"]] = [event["content_block"]["id"], event["content_block"]["name"], ""]
        elif kind == "content_block_delta" and "partial_json" in event["delta"]:
            calls[event["index"]][2] += event["delta"]["partial_json"]
        elif kind == "response.output_item.added" and event["item"]["type"] == "function_call":
            calls[event["output_index"]] = [event["item"]["call_id"], event["item"]["name"], ""]
        elif kind == "response.function_call_arguments.delta":
            calls[event["output_index"]][2] += event["delta"]
        for choice in event.get("choices", ()):
            for part in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(part["index"], ["", "", ""])
                call[0] = part.get("id") or call[0]
                call[1] = part["function"].get("name") or call[1]
                call[2] += part["function"].get("arguments") or ""
    return [(a, b, c) for a, b, c in calls.values()]
