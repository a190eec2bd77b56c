"""What a query's answer is and whether it is right: answer keys to compare answers by, and metrics to score them."""

from __future__ import annotations

from routewright.tasks.keys import (
    KINDS,
    agree,
    answer_key,
    codes,
    keys_of,
    kind_of,
    kind_of_text,
    matches,
    strict_answer_key,
    strict_matches,
)

__all__ = [
    "KINDS",
    "agree",
    "answer_key",
    "codes",
    "keys_of",
    "kind_of",
    "kind_of_text",
    "matches",
    "strict_answer_key",
    "strict_matches",
]
