"""Streamed answers of the Messages API: message_start, blocks one after another, message_delta, message_stop.

How many tokens went in is known at the end only, where several models may have been asked: message_start has zeros, and
message_delta the whole usage. It has `routing` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routewright.gateway.dialects.blocks import BlockFrames
from routewright.gateway.dialects.messages_reply import error_of, reason, usage
from routewright.gateway.dialects.writing import Said, encode
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served


def _event(kind: str, told: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **told}))


class MessagesFrames(BlockFrames):
    """One streamed answer."""

    def head(self) -> bytes:
        message = {
            "id": f"msg_{self.trace_id}",
            "type": "message",
            "role": "assistant",
            "model": self.asked.model,
            "content": (),
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _event("message_start", {"message": message}) + _event("ping", {})

    def open_text(self, refusal: bool) -> bytes:
        return self._begun({"type": "text", "text": ""})

    def text(self, text: str, refusal: bool = False) -> bytes:
        return self._grown({"type": "text_delta", "text": text})

    def open_call(self, call_id: str, name: str) -> bytes:
        return self._begun({"type": "tool_use", "id": call_id, "name": name, "input": {}})

    def arguments(self, text: str) -> bytes:
        return self._grown({"type": "input_json_delta", "partial_json": text})

    def close(self, is_call: bool, cut: bool) -> bytes:
        return _event("content_block_stop", {"index": self.index})

    def ended(self, served: Served, said: Said) -> bytes:
        told = {
            "delta": {"stop_reason": reason(said), "stop_sequence": None},
            "usage": usage(served),
            "routing": served.routing(),
        }
        return _event("message_delta", told) + _event("message_stop", {})

    def fault(self, fault: Fault) -> bytes:
        return _event("error", error_of(fault, self.trace_id))

    def _begun(self, block: Mapping[str, Any]) -> bytes:
        return _event("content_block_start", {"index": self.index, "content_block": block})

    def _grown(self, delta: Mapping[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self.index, "delta": delta})
