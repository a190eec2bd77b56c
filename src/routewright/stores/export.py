"""What was served and judged, as an outcome table: serving feeds training.

A row per judged request whose text was kept. The model is the one that answered where there was one call, else the
coordinator's policy: its row is the quality and cost of the whole episode. The score is the mean of the feedback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from routewright.errors import StoreError
from routewright.stores.base import Feedback, Record


@dataclass(frozen=True, slots=True)
class Exported:
    """How much became of a store: rows written, and judged requests left out since their text was not kept."""

    rows: int
    without_text: int


def rows_of(judged: Sequence[tuple[Record, Feedback]]) -> tuple[list[dict[str, Any]], int]:
    """Rows of an outcome table, and how many judged requests had no text."""
    scores: dict[str, list[float]] = {}
    records: dict[str, Record] = {}
    for record, feedback in judged:
        records[record.trace_id] = record
        scores.setdefault(record.trace_id, []).append(feedback.score)
    kept = {t: r for t, r in records.items() if r.query}
    rows = [
        {
            "dataset": "served",
            "task": "",
            "query_id": record.trace_id,
            "query": record.query,
            "model": record.answered_by if record.calls == 1 and record.answered_by else record.policy,
            "response": record.response,
            "score": fmean(scores[trace_id]),
            "score_kind": "graded",
            "metric": "feedback",
            "prompt_tokens": record.tokens_in,
            "completion_tokens": record.tokens_out,
            "tokens_source": "estimated" if record.estimated else "upstream",
            "cost_usd": record.cost_usd,
            "cost_source": "charged by the gateway: tokens x the pool's prices",
            "latency_s": record.latency_s,
        }
        for trace_id, record in kept.items()
    ]
    return rows, len(records) - len(kept)


def export(judged: Sequence[tuple[Record, Feedback]], path: str | Path) -> Exported:
    """Write the table; `StoreError` if there is nothing to write."""
    import polars as pl

    from routewright.outcomes.table import write

    rows, without = rows_of(judged)
    if not rows:
        raise StoreError(
            f"The store holds no judged request with its text ({without} without). Expected feedback by POST /v1/feedback, "
            "and [store] prompts = true while requests are served."
        )
    write(pl.DataFrame(rows, infer_schema_length=None), path)
    return Exported(len(rows), without)
