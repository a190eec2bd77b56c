"""What a query's answer is and whether it is right: answer keys to compare answers by, and metrics to score them."""

from __future__ import annotations

from routewright.tasks.base import Metric, Score, build_metric
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
from routewright.tasks.labels import metric_for
from routewright.tasks.table import METRICS

__all__ = [
    "KINDS",
    "METRICS",
    "Metric",
    "Score",
    "agree",
    "answer_key",
    "build_metric",
    "codes",
    "keys_of",
    "kind_of",
    "kind_of_text",
    "matches",
    "metric_for",
    "strict_answer_key",
    "strict_matches",
]
