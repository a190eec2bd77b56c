"""What a failed HTTP call means: connection errors and statuses as `ProviderError`, without secrets.

Not here: failures inside a reply of status 200 (`wire.py`, `anthropic.py`). Called by `http.py`.

| what happened | kind | retryable | reached |
|---|---|---|---|
| no address, refused, connection deadline | connect | yes | no |
| certificate or handshake not accepted | connect | no | no |
| silence longer than `first_s` or `idle_s` | timeout | yes | yes |
| connection lost after the request was sent | cut | yes | yes |
| 429 | rate_limit | yes | no |
| 408, 409, 529 | server | yes | no |
| other 5xx | server | yes | yes |
| 400, 413, 422 about the prompt's length | too_long | no | no |
| other 4xx, 3xx | refused | no | no |
"""

from __future__ import annotations

import math
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from routewright.errors import ProviderError
from routewright.pools.providers.connections import NotConnected, NotHttp, NotSent

QUOTED = 200  # characters of an upstream's message that are passed on
_KEYLIKE = re.compile(r"\b(?:sk|pk|rk|gsk|xai|key)[-_][A-Za-z0-9_\-*.]{6,}|(?<=Bearer )\S+", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|maximum context|prompt is too long|input is too long|too many (?:input )?tokens"
    r"|reduce the length|exceeds? the (?:model's )?(?:maximum|context)",
    re.IGNORECASE,
)
Redact = Callable[[str], str]


def redactor(secrets: Iterable[str | None]) -> Redact:
    """A function that strikes out these values, and what looks like a key of a known vendor."""
    known = sorted({secret for secret in secrets if secret and len(secret) > 3}, key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in known:
            text = text.replace(secret, "***")
        return _KEYLIKE.sub("***", text)

    return redact


def fault_of_exception(error: Exception, where: str, connect_s: float, first_s: float) -> ProviderError:
    """What a connection came to, or did not."""
    if isinstance(error, NotConnected):
        return _no_connection(error.reason, where, connect_s)
    if isinstance(error, TimeoutError):
        said = f"no reply began within first_s = {first_s:g} s. Raise it if the upstream needs longer."
        return ProviderError(f"{where}: {said}", "timeout", retryable=True)
    if isinstance(error, NotSent):
        said = "the connection was lost before the request was sent."
        return ProviderError(f"{where}: {said}", "connect", retryable=True, reached=False)
    if isinstance(error, NotHttp):
        return ProviderError(f"{where}: the reply is no valid HTTP ({error}).", "malformed", retryable=True)
    said = f"the connection was lost before the reply was whole ({error})."
    return ProviderError(f"{where}: {said}", "cut", retryable=True)


def _no_connection(reason: OSError | None, where: str, connect_s: float) -> ProviderError:
    if reason is None:
        said = f"no connection within connect_s = {connect_s:g} s. Is the address right, and the upstream up?"
    elif isinstance(reason, ssl.SSLCertVerificationError):
        why = reason.verify_message or "not valid for this host"
        said = f"its certificate was not accepted ({why}). Renew it, or name its issuer in ca_file."
        return ProviderError(f"{where}: {said}", "connect", reached=False)
    elif isinstance(reason, (ssl.SSLError, ConnectionAbortedError)):
        said = "the TLS handshake failed. Does the upstream speak https on this port?"
        return ProviderError(f"{where}: {said}", "connect", reached=False)
    elif isinstance(reason, socket.gaierror):
        said = "its host name has no address. Is base_url right?"
    else:
        why = os.strerror(reason.errno) if reason.errno else type(reason).__name__
        said = f"could not connect ({why}). Is the upstream up?"
    return ProviderError(f"{where}: {said}", "connect", retryable=True, reached=False)


def fault_of_status(
    status: int, body: bytes, headers: Mapping[str, str], where: str, redact: Redact = str
) -> ProviderError:
    """What an upstream refused with."""
    said, code = _said(body)
    quoted = redact(" ".join(said.split()))[:QUOTED]
    message = f"{where}: status {status}" + (f", {quoted!r}." if quoted else ", without a message.")
    wait = retry_after_s(headers)
    if status == 429:
        return ProviderError(message, "rate_limit", retryable=True, retry_after_s=wait, status=status, reached=False)
    if status in (408, 409, 529):
        return ProviderError(message, "server", retryable=True, retry_after_s=wait, status=status, reached=False)
    if status >= 500:
        return ProviderError(message, "server", retryable=True, retry_after_s=wait, status=status)
    if status in (400, 413, 422) and (_TOO_LONG.search(code.replace("_", " ")) or _TOO_LONG.search(said)):
        message += " Shorten the conversation, or choose a model with a longer context."
        return ProviderError(message, "too_long", status=status, reached=False)
    if 300 <= status < 400:
        message += (
            " Redirects are not followed, so that the key stays with its host: put the final address in base_url."
        )
    return ProviderError(message, "refused", status=status, reached=False)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long an upstream asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date."""
    headers = {name.lower(): value for name, value in headers.items()}
    try:
        if "retry-after-ms" in headers:
            wait = float(headers["retry-after-ms"]) / 1000
        elif "retry-after" in headers:
            wait = _seconds(headers["retry-after"])
        else:
            return None
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, wait) if math.isfinite(wait) else None


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return parsedate_to_datetime(value).timestamp() - time.time()


def _said(body: bytes) -> tuple[str, str]:
    """An error body's message and code, in the forms that upstreams use; else its text."""
    text = body.decode("utf-8", "replace")
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text, ""
    if not isinstance(found, Mapping):
        return text, ""
    error = found.get("error", found)
    if not isinstance(error, Mapping):
        return str(error), ""
    said = error.get("message") or error.get("detail") or found.get("message")
    code = f"{error.get('code') or ''} {error.get('type') or ''}"
    return (said if isinstance(said, str) else text), code
