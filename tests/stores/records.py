"""Records to keep."""

from __future__ import annotations

import itertools
import time
from typing import Any

from routewright.stores.base import Record

_numbers = itertools.count(1)


def record(**facts: Any) -> Record:
    """A record like any other, but for what is given."""
    made: dict[str, Any] = {
        "trace_id": f"{next(_numbers):032x}",
        "at": time.time(),
        "key": "team",
        "asked": "auto",
        "policy": "single",
        "answered_by": "small",
        "models": ("small",),
        "stopped": "answer",
        "status": 200,
        "streamed": False,
        "fallback": "",
        "value_usd": 0.01,
        "cost_usd": 2e-5,
        "latency_s": 0.5,
        "first_token_s": None,
        "probability": 1.0,
        "tokens_in": 10,
        "tokens_out": 5,
        "estimated": False,
        "calls": 1,
        "baseline_usd": None,
        "query": None,
        "response": None,
        "trace": b'{"event":"begin"}\n{"event":"end"}',
    }
    return Record(**{**made, **facts})
