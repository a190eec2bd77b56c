"""Reading an outcome table into dense arrays.

Not here: the arrays themselves (`arrays.py`), rows and files (`table.py`). A cell that was never recorded is not zero: queries without an outcome of every
model are left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from routewright.errors import TableError, UnknownName
from routewright.outcomes.answers import answer_keys
from routewright.outcomes.arrays import Outcomes, joined
from routewright.outcomes.schema import score_kind
from routewright.outcomes.table import Scan, collect, read
from routewright.types import Bools, Floats, Ints, Query

MOST_INCOMPLETE = 0.2  # of the queries; beyond it the table is not one pool and the user has to say what to drop


def load(path: str | Path | Scan, models: Sequence[str] | None = None, keys: bool = False) -> Outcomes:
    """Read a table into dense arrays.

    Args:
        path: A Parquet file, a folder of them, or an opened `Scan`.
        models: Only these models, matched exactly; all by default.
        keys: Also read the replies and reduce them to answer keys, for policies that ask several models.

    Raises:
        TableError: What `read` raises; duplicate (query_id, model, sample); a query whose text differs between rows; mixed
            score kinds; or so many queries without an outcome of every model that the table is not one pool.
    """
    if models is not None and len(set(models)) < len(models):
        twice = next(name for i, name in enumerate(models) if name in models[:i])
        raise TableError(f"Model {twice!r} is listed twice. Expected each model once.")
    scan = path if isinstance(path, Scan) else read(path)
    uid = pl.concat_str("dataset", pl.lit("\x1f"), "query_id").alias("uid")
    frame = scan.frame
    if models is not None:
        frame = frame.filter(pl.col("model").is_in(list(models)))
    cells = collect(frame.select(uid, "model", "sample", *_SOURCE.values()), scan.path)
    if models is not None:
        present = set(cells["model"].unique())
        for name in models:
            if name not in present:
                known = collect(scan.frame.select(pl.col("model").unique()), scan.path)["model"]
                raise UnknownName(f"model of {scan.name}", name, known)
    facts = frame.group_by(uid).agg(
        pl.first("query_id", "dataset", "task", "query"),
        (pl.col("query").hash().n_unique() > 1).alias("differs"),
    )
    # Ids in order of appearance keep a table's own order, whatever the engine does with threads.
    order = cells.select(pl.col("uid").unique(maintain_order=True)).with_row_index("row")
    queries = order.join(collect(facts, scan.path), on="uid", how="left", maintain_order="left")
    bad = queries.filter("differs")
    if bad.height:
        raise TableError(
            f"{scan.path}: {bad.height} query id(s) have more than one text, first {bad['query_id'][0]!r}. "
            "Expected one text per query_id; give different questions different ids."
        )
    names = list(models) if models is not None else sorted(cells["model"].unique())
    row = cells.join(order, on="uid", how="left", maintain_order="left")["row"].to_numpy().astype(np.int64)
    column = cells.select(pl.col("model").replace_strict(names, list(range(len(names))))).to_series().to_numpy()
    _refuse_duplicates(scan, cells, row, column)
    arrays, complete = _scatter(cells, row, column.astype(np.int64), (order.height, len(names)))
    kind, sources = _kind_and_sources(scan, frame)
    made = _dense(scan, queries, names, arrays, complete, kind, sources)
    return replace(made, keys=answer_keys(scan, made.queries, made.models)) if keys else made


_SOURCE = {
    "quality": "score",
    "cost_usd": "cost_usd",
    "tokens_in": "prompt_tokens",
    "tokens_out": "completion_tokens",
    "latency_s": "latency_s",
}


def _refuse_duplicates(scan: Scan, cells: pl.DataFrame, row: Ints, column: Ints) -> None:
    sample = cells["sample"].to_numpy().astype(np.int64)
    key = np.lexsort((sample, column, row))
    same = (np.diff(row[key]) == 0) & (np.diff(column[key]) == 0) & (np.diff(sample[key]) == 0)
    if same.any():
        first = cells.row(int(key[int(np.argmax(same)) + 1]), named=True)
        raise TableError(
            f"{scan.path}: {int(same.sum())} duplicate (query_id, model, sample), first ({first['uid'].replace(chr(31), '/')!r}, "
            f"{first['model']!r}, {first['sample']}). Expected one row each; number repeated answers in the column sample."
        )


def _scatter(cells: pl.DataFrame, row: Ints, column: Ints, shape: tuple[int, int]) -> tuple[dict[str, Floats], Bools]:
    flat = row * shape[1] + column
    size = shape[0] * shape[1]
    count = np.bincount(flat, minlength=size)
    arrays = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, source in _SOURCE.items():
            value = cells[source].cast(pl.Float64).fill_null(np.nan).to_numpy()
            arrays[name] = (np.bincount(flat, weights=value, minlength=size) / count).reshape(shape)
    return arrays, (count > 0).reshape(shape)


def _kind_and_sources(scan: Scan, frame: pl.LazyFrame) -> tuple[str, dict[str, str]]:
    facts = collect(
        frame.select("dataset", "metric", "score", "score_kind", "cost_source", "tokens_source")
        .with_columns(pl.coalesce("score_kind", score_kind()).alias("score_kind"))
        .select(pl.col("score_kind", "cost_source", "tokens_source").unique().sort().implode()),
        scan.path,
    )
    kinds: list[str] = facts["score_kind"][0].to_list()
    if "preference" in kinds and len(kinds) > 1:
        raise TableError(
            f"{scan.path} mixes scores of kind {', '.join(kinds)}. Preferences can not be pooled with others; split it."
        )
    kind = kinds[0] if len(kinds) == 1 else "graded"  # a right-or-wrong score is a graded one that never lands between
    return kind, {name: joined(facts[name][0].to_list()) for name in ("cost_source", "tokens_source")}


def _dense(
    scan: Scan,
    queries: pl.DataFrame,
    names: list[str],
    arrays: dict[str, Floats],
    complete: Bools,
    kind: str,
    sources: dict[str, str],
) -> Outcomes:
    keep: Bools = np.asarray(complete.all(axis=1))
    n_dropped = int((~keep).sum())
    if n_dropped > MOST_INCOMPLETE * len(keep):
        share = complete.mean(axis=0)
        worst = [repr(names[i]) for i in np.argsort(share)[:3]]
        raise TableError(
            f"{scan.path}: {n_dropped} of {len(keep)} queries lack an outcome of some of the {len(names)} models (least "
            f"covered: {', '.join(worst)}). Expected a dense table: name the models to keep with --models, or split it."
        )
    rows = np.flatnonzero(keep)
    kept = queries[rows]
    return Outcomes(
        scan.name,
        tuple(
            Query(text, query_id, task, dataset)
            for text, query_id, task, dataset in kept.select("query", "query_id", "task", "dataset").iter_rows()
        ),
        tuple(names),
        score_kind=kind,
        cost_source=sources["cost_source"],
        tokens_source=sources["tokens_source"],
        dropped={"queries without an outcome of every model": n_dropped} if n_dropped else {},
        quality=arrays["quality"][rows],
        cost_usd=arrays["cost_usd"][rows],
        tokens_in=arrays["tokens_in"][rows],
        tokens_out=arrays["tokens_out"][rows],
        latency_s=arrays["latency_s"][rows],
    )
