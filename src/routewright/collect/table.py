"""The journal as an outcome table, in batches, and what it amounts to for each model."""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from routewright.collect.journal import Journal, Row
from routewright.collect.plan import Plan
from routewright.outcomes.schema import COLUMNS
from routewright.outcomes.table import read
from routewright.tasks import METRICS

BATCH = 2_000  # rows held at once
GROUP = 4_000  # rows of a Parquet row group, which the writer holds
COST_SOURCE = "tokens x prices of the pool file"


def write_table(plan: Plan, journal: Journal, out: Path) -> None:
    """Write the rows in order of their cells beside `out`, validate them as `read` does, and rename.

    The same journal gives the same bytes. The folder beside has a fixed name, which the journal's lock makes ours, so
    that what a kill left there is swept up by the next try.
    """
    beside = out.with_name(f".{out.name}.collect.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        schema = {name: column.dtype for name, column in COLUMNS.items()}

        def source(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            for frame in frames(plan, journal):
                yield frame if with_columns is None else frame.select(with_columns)

        lazy = register_io_source(source, schema=schema)
        lazy.sink_parquet(beside / out.name, compression="zstd", row_group_size=GROUP)
        read(beside / out.name)
        os.replace(beside / out.name, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def frames(plan: Plan, journal: Journal) -> Iterator[pl.DataFrame]:
    """The rows, joined with their queries, some at a time."""
    kinds = [METRICS.load(measure.name).score_kind.value for measure in plan.measures]
    rows = journal.rows()
    while batch := list(islice(rows, BATCH)):
        yield _frame(plan, kinds, batch)


def _frame(plan: Plan, kinds: Sequence[str], rows: Sequence[Row]) -> pl.DataFrame:
    places = [plan.split(row.cell) for row in rows]
    asked = [plan.asked[query] for query, _, _ in places]
    measures = [plan.measure_of[query] for query, _, _ in places]
    labels = [plan.measures[m].label for m in measures]
    columns: dict[str, list[object]] = {
        "dataset": [one.query.dataset for one in asked],
        "task": [one.query.task for one in asked],
        "query_id": [one.query.query_id for one in asked],
        "query": [one.query.text for one in asked],
        "reference": [one.reference for one in asked],
        "model": [plan.models[model] for _, model, _ in places],
        "sample": [sample for _, _, sample in places],
        "response": [row.response for row in rows],
        "score": [row.score for row in rows],
        "score_kind": [kinds[m] for m in measures],
        "metric": [f"{label}; {row.note}" if row.note else label for label, row in zip(labels, rows, strict=True)],
        "prompt_tokens": [row.tokens_in for row in rows],
        "completion_tokens": [row.tokens_out for row in rows],
        "tokens_source": [row.tokens_source for row in rows],
        "cost_usd": [row.cost_usd for row in rows],
        "cost_source": [COST_SOURCE] * len(rows),
        "latency_s": [row.latency_s for row in rows],
    }
    return pl.DataFrame(
        [pl.Series(name, columns[name], dtype=column.dtype, strict=False) for name, column in COLUMNS.items()]
    )


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """What one model's rows amount to; means are NaN where there are none."""

    model: str
    rows: int
    failed: int
    score: float
    cost_usd: float
    latency_p50_s: float


def figures(plan: Plan, journal: Journal) -> list[ModelFigures]:
    """One entry a model, in the pool's order; reads the journal once and holds three numbers a row."""
    kept = [(array("d"), array("d"), array("d"), array("b")) for _ in plan.models]
    for cell, failed, score, cost, latency in journal.figures():
        scores, costs, latencies, failures = kept[plan.split(cell)[1]]
        scores.append(score)
        costs.append(cost)
        failures.append(bool(failed))
        if latency is not None:
            latencies.append(latency)
    return [
        ModelFigures(name, len(scores), sum(failures), _mean(scores), _mean(costs), _middle(latencies))
        for name, (scores, costs, latencies, failures) in zip(plan.models, kept, strict=True)
    ]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _middle(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
