"""What an outcome table holds: one row per (query, model, sample).

Not here: reading (`table.py`) and the dense arrays (`dense.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type, whether a table must bring it, and what it means."""

    dtype: pl.DataType | type[pl.DataType]
    required: bool
    default: object
    meaning: str


COLUMNS: dict[str, Column] = {
    "dataset": Column(pl.String, False, "", "name of the data set the query is from"),
    "task": Column(pl.String, False, "", "sub-task or subject inside it"),
    "query_id": Column(pl.String, True, None, "stable id, unique within the data set"),
    "query": Column(pl.String, True, None, "the text a router sees"),
    "reference": Column(pl.String, False, None, "gold answer"),
    "model": Column(pl.String, True, None, "model name, matched exactly"),
    "sample": Column(pl.Int32, False, 0, "0 for the greedy answer, 1, 2, ... for further ones"),
    "response": Column(pl.String, False, None, "full answer text"),
    "score": Column(pl.Float32, True, None, "quality in [0, 1]"),
    "score_kind": Column(pl.String, False, None, "correct, graded or preference; never pooled together"),
    "metric": Column(pl.String, False, "", "how the score was made"),
    "prompt_tokens": Column(pl.Int32, False, None, "tokens in"),
    "completion_tokens": Column(pl.Int32, False, None, "tokens out"),
    "tokens_source": Column(pl.String, False, "", "who counted the tokens"),
    "cost_usd": Column(pl.Float64, True, None, "USD this call cost; a failed call is not free"),
    "cost_source": Column(pl.String, False, "", "a real bill, or tokens x which prices"),
    "latency_s": Column(pl.Float32, False, None, "wall-clock seconds of the call"),
}

REQUIRED = tuple(name for name, column in COLUMNS.items() if column.required)
NUMERIC = ("score", "cost_usd", "prompt_tokens", "completion_tokens", "latency_s")


def score_kind() -> pl.Expr:
    """The kind of a score where the table does not say it.

    A metric that names a judge, a preference or a win (the word, not `winogrande`) is a preference; scores that are all 0 or 1 within their metric are
    `correct`; anything else is `graded`.
    """
    metric = pl.col("metric").str.to_lowercase()
    binary = pl.col("score").is_in([0.0, 1.0]).all().over("dataset", "metric")
    return (
        pl.when(metric.str.contains(r"judge|preference|(^|[^a-z])wins?([^a-z]|$)"))
        .then(pl.lit("preference"))
        .when(binary)
        .then(pl.lit("correct"))
        .otherwise(pl.lit("graded"))
    )
