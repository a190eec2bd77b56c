"""What whole and streamed answers of the Messages API have in common: the reason of the end, usage, errors."""

from __future__ import annotations

from typing import Any

from routewright.gateway.dialects.writing import Said
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def reason(said: Said) -> str:
    """`stop_reason`."""
    if said.refusal and not said.text:
        return "refusal"
    return _REASONS.get(said.finish, "tool_use" if said.calls else "end_turn")


def usage(served: Served) -> dict[str, Any]:
    """Tokens of all steps."""
    summed = served.usage
    return {
        "input_tokens": max(0, summed.tokens_in - summed.tokens_cached),
        "output_tokens": summed.tokens_out,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": summed.tokens_cached,
        "by_model": served.by_model(),
    }


def error_of(fault: Fault, trace_id: str) -> dict[str, Any]:
    """An error; its type goes by the status. The code is ours, as in the other dialects."""
    kind = _TYPES.get(fault.status, "invalid_request_error" if fault.status < 500 else "api_error")
    error: dict[str, Any] = {"type": kind, "message": fault.message}
    if fault.code:
        error["details"] = {"error_code": fault.code}
    return {"type": "error", "error": error, "request_id": trace_id or None}
