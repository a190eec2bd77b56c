"""What both sides of `peers` share: the clock, and the loop in which a peer's process answers for one round at a time.

It runs under the peer's python too, so it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Round = Callable[[], dict[str, float]]


def one_by_one(call: Callable[[Any], Any], items: Sequence[Any]) -> dict[str, float]:
    """Calls per second, and the median call in ms."""
    each = []
    for item in items:
        start = time.perf_counter()
        call(item)
        each.append(time.perf_counter() - start)
    return {"per_s": len(each) / sum(each), "p50_ms": 1e3 * statistics.median(each)}


def at_once(call: Callable[[Any], Any], items: Sequence[Any]) -> dict[str, float]:
    """Items per second of one call with all of them."""
    start = time.perf_counter()
    call(items)
    return {"per_s": len(items) / (time.perf_counter() - start)}


def serve(build: Callable[[], Mapping[str, Round]]) -> None:
    """Build what is measured, then answer each line of standard input, a round's name, with its numbers.

    Whatever the peer prints meanwhile goes nowhere.
    """
    replies = sys.stdout
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        rounds = build()
        print(json.dumps({"rounds": list(rounds)}), file=replies, flush=True)
        for line in sys.stdin:
            print(json.dumps(rounds[line.strip()]()), file=replies, flush=True)
