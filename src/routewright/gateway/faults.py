"""What a request can be refused with: a status, and the fields of an OpenAI error.

Not here: the form on the wire, which is the dialect's. No message holds a key or a text of the request.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from routewright.errors import BudgetExceeded, PoolError, RoutewrightError, UnknownName
from routewright.types import Reply

_STATUS = {"rate_limit": 429, "timeout": 504, "unavailable": 503, "connect": 502, "too_long": 400}
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_PASSED = (400, 413, 422)  # an upstream's verdicts about the request itself


class Fault(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: What was wrong, what was expected, what to do.
        code: For programs, as OpenAI has them.
        param: The field that is meant.
        retry_after_s: When to come again, seconds.
    """

    def __init__(
        self, status: int, message: str, code: str = "", param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.retry_after_s = status, message, param, retry_after_s
        self.code = code or None
        if status == 429:
            self.type = "insufficient_quota" if code == "insufficient_quota" else "rate_limit_error"
        else:
            self.type = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


def bad(message: str, param: str | None = None, code: str = "invalid_value") -> Fault:
    """A request that can not be understood: 400."""
    return Fault(400, message, code, param)


def fault_of(error: BaseException) -> Fault:
    """What an exception of the pool or of an episode means to the client."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, BudgetExceeded):
        return Fault(400, str(error), "budget_exceeded", "routing.budget_usd")
    if isinstance(error, PoolError):
        return Fault(400, str(error), "unsupported")
    if isinstance(error, UnknownName):
        return Fault(404, str(error), "model_not_found", "model")
    if isinstance(error, RoutewrightError):
        return Fault(500, str(error), "internal_error")
    return Fault(500, f"The gateway failed ({type(error).__name__}). Its log says more.", "internal_error")


def fault_of_reply(reply: Reply | None) -> Fault:
    """No model answered: what the last attempt came to. An upstream's own verdict on the request keeps its status."""
    if reply is None:
        return Fault(502, "No model gave a reply.", "upstream_error")
    said = reply.error or "no reply"
    failed = [a for a in reply.attempts if a.error is not None and a.kind != "budget"]
    if not failed:
        return Fault(502, f"No model answered: {said}.", "upstream_error")
    last = failed[-1]
    if last.kind == "too_long":
        return Fault(400, said, "context_length_exceeded", "messages")
    if last.kind == "refused" and last.status in _PASSED:
        return Fault(last.status, said, "upstream_refused")
    status = _STATUS.get(last.kind, 502)
    return Fault(status, said, f"upstream_{last.kind}", retry_after_s=1.0 if status in (429, 503) else None)


def where_of(error: BaseException) -> str:
    """An exception for the log, on one line: its type and where it came from. Its message may quote the request."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(
        [type(error).__name__, *(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))]
    )


def in_line(text: str) -> str:
    """A name as it may stand in a line of the log: what could begin another line, or move a cursor, is a question mark."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
