"""Lines of the log: for people, or a JSON object a line; of requests, and of what went wrong.

No text of a request or reply and no key is in a line. An error may quote what it was given, and its message is other
people's text: of a failure the log has the kind and where in the code it happened, not the message.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, TypeAlias

import msgspec

from routewright.gateway.served import Served

Format: TypeAlias = Literal["text", "json"]
_Failure: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_REQUEST = "routewright_request"  # where a line carries what it is about
_log = logging.getLogger("routewright.gateway")


def log_request(served: Served, key: str, status: int, streamed: bool) -> None:
    """One line about a request that has ended."""
    episode = served.episode
    _log.info(
        "request %s key=%s model=%s answered_by=%s status=%d cost_usd=%.3g seconds=%.4f",
        episode.trace_id,
        printable(key),
        printable(served.asked.model),
        printable(",".join(served.models)),
        status,
        episode.cost_usd,
        episode.latency_s,
        extra={_REQUEST: (served, key, status, streamed)},
    )


def _facts(served: Served, key: str, status: int, streamed: bool) -> dict[str, Any]:
    """The same for machines, and more of it."""
    episode = served.episode
    return {
        "message": "request",
        "request": episode.trace_id,
        "key": key,
        "model": served.asked.model,
        "answered_by": ",".join(served.models),
        "status": status,
        "cost_usd": episode.cost_usd,
        "seconds": round(episode.latency_s, 6),
        "coordinator": served.coordinator,
        "policy": served.policy,
        "stopped": episode.stopped,
        "streamed": streamed,
        "prompt_tokens": served.usage.tokens_in,
        "completion_tokens": served.usage.tokens_out,
        "fallback": served.fallback,
    }


def printable(name: str) -> str:
    """A name as it may stand in a line: what could begin another line, or move a cursor, is a question mark."""
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)


class Lines(logging.Formatter):
    """A line for people; after it, of a failure, the way through the code."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.name == "asyncio":
            record.message = said(record)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if "\n" in text or "\r" in text:  # a name with a line break in it begins no line of its own
            text = text.replace("\r", "\\r").replace("\n", "\n  ")
        return text

    def formatException(self, ei: _Failure) -> str:
        return way(ei[1])


class JSONLines(logging.Formatter):
    """A JSON object a line: time, level, logger, message; and of a request its facts, of a failure its way."""

    _second, _at = -1, ""  # time is written anew once a second

    def format(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:
            self._second, self._at = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        at = f"{self._at}.{int(record.msecs):03d}Z"
        request = getattr(record, _REQUEST, None)
        told: dict[str, Any] = {"time": at, "level": record.levelname.lower(), "logger": record.name}
        told |= {"message": said(record)} if request is None else _facts(*request)
        if record.exc_info:
            told["error"] = way(record.exc_info[1])
        try:
            return msgspec.json.encode(told).decode()
        except UnicodeEncodeError:  # half a surrogate pair, in the name of a file or so
            return json.dumps(told)


def said(record: logging.LogRecord) -> str:
    """The message of a line; asyncio's own go on with the error that a task ended in, and its text."""
    message = record.getMessage()
    return message.partition("\n")[0] if record.name == "asyncio" else message


def way(error: BaseException | None) -> str:
    """Kinds of an error and of what caused it, and where: all of a traceback but the messages."""
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
        parts.append("\n".join(filter(None, [frames, f"{type(error).__module__}.{type(error).__qualname__}"])))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nafter\n".join(parts)


@contextmanager
def logging_to_stderr(form: Format = "text") -> Iterator[None]:
    """The whole process's log on standard error, in one form, while it serves: the server's own lines and those of
    packages too, from warnings on."""
    root, log, handler = logging.getLogger(), logging.getLogger("routewright"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines() if form == "json" else Lines())
    before, level = root.handlers[:], log.level
    root.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = before
        log.setLevel(level)
