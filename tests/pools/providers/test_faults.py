"""What failed HTTP calls mean."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from routewright.pools.providers.faults import QUOTED, fault_of_status, redactor, retry_after_s

ERROR = b'{"error": {"message": "no", "type": "x"}}'


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "reached"),
    [
        (400, "refused", False, False),
        (401, "refused", False, False),
        (403, "refused", False, False),
        (404, "refused", False, False),
        (408, "server", True, False),
        (409, "server", True, False),
        (422, "refused", False, False),
        (429, "rate_limit", True, False),
        (500, "server", True, True),
        (502, "server", True, True),
        (503, "server", True, True),
        (504, "server", True, True),
        (529, "server", True, False),
        (307, "refused", False, False),
    ],
)
def test_statuses(status: int, kind: str, retryable: bool, reached: bool) -> None:
    fault = fault_of_status(status, ERROR, {}, "here")
    assert (fault.kind, fault.retryable, fault.reached, fault.status) == (kind, retryable, reached, status)
    assert str(fault).startswith(f"here: status {status}, 'no'.")


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Your input is 9 tokens", "code": "context_length_exceeded"},
        {"message": "This model's maximum context length is 8192 tokens."},
        {"message": "prompt is too long: 210000 tokens > 200000 maximum", "type": "invalid_request_error"},
        {"message": "request (6017 tokens) exceeds the available context size", "type": "exceed_context_size_error"},
    ],
)
def test_a_prompt_that_is_too_long(error: dict[str, Any]) -> None:
    fault = fault_of_status(400, json.dumps({"error": error}).encode(), {}, "here")
    assert (fault.kind, fault.retryable, fault.reached) == ("too_long", False, False)
    assert "Shorten" in str(fault)
    assert fault_of_status(500, json.dumps({"error": error}).encode(), {}, "here").kind == "server"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "told so"}}', "'told so'"),
        (b'{"error": "told so"}', "'told so'"),
        (b'{"message": "told so"}', "'told so'"),
        (b'{"detail": "told so"}', "'told so'"),
        (b"<html>told\n   so</html>", "'<html>told so</html>'"),
        (b"", "without a message"),
        (b'["told so"]', "told so"),
        (b"\xff\xfe", "\ufffd"),
        (b'{"error": {"message": 7}}', "7"),
    ],
)
def test_the_upstreams_words_are_quoted(body: bytes, said: str) -> None:
    assert said in str(fault_of_status(400, body, {}, "here"))


def test_a_long_message_is_cut() -> None:
    fault = fault_of_status(400, json.dumps({"error": {"message": "x" * 5000}}).encode(), {}, "here")
    assert len(str(fault)) < QUOTED + 60


def test_retry_after() -> None:
    assert retry_after_s({}) is None
    assert retry_after_s({"Retry-After": "2"}) == 2.0
    assert retry_after_s({"Retry-After": "0.5"}) == 0.5
    assert retry_after_s({"Retry-After": "-3"}) == 0.0
    assert retry_after_s({"Retry-After": "20", "retry-after-ms": "150"}) == 0.15
    later = retry_after_s({"Retry-After": formatdate(time.time() + 60, usegmt=True)})
    assert later is not None
    assert 57 < later < 61
    assert retry_after_s({"Retry-After": formatdate(time.time() - 60, usegmt=True)}) == 0.0
    for nonsense in ("soon", "", "nan", "inf", "Mon, 99 Foo 2020"):
        assert retry_after_s({"Retry-After": nonsense}) is None


def test_redactor_strikes_out_what_it_knows_and_what_looks_like_a_key() -> None:
    redact = redactor(["hunter2hunter2", "", None, "ab"])
    assert redact("key hunter2hunter2 is bad; ab stays") == "key *** is bad; ab stays"
    assert redact("Incorrect API key provided: sk-proj-abc***wxyz.") == "Incorrect API key provided: ***"
    assert "secret" not in redact("Authorization: Bearer secret.token")
