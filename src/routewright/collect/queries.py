"""What is asked: queries with references from a Parquet, CSV or JSON Lines file, or from an outcome table.

Only `query` is required. A query without an id is named after its data set and text, so the same file gives the same
ids anywhere. Of an outcome table each query is taken once, in the order of its first row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from routewright.errors import TableError
from routewright.outcomes.importers.reading import files_in, first_line, read_csv, read_jsonl, text
from routewright.outcomes.table import collect, read
from routewright.types import Query

COLUMNS = ("query", "query_id", "reference", "task", "dataset", "metric")
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, what a right answer is, and the label of the metric that says so (empty: not given)."""

    query: Query
    reference: str | None
    metric: str = ""


def read_queries(path: str | Path, limit: int = 0) -> list[Asked]:
    """The queries of a file, in its order; the first `limit` of them if that is not 0.

    Raises:
        TableError: No such file, not of a known form, no column `query`, an empty query, an id that comes twice.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in _PARQUET:
        asked = _of_parquet(path)
    else:
        (file,) = files_in(path, (".csv", ".jsonl", ".ndjson", *_PARQUET))
        asked = _of_rows(_rows_of_csv(file) if file.suffix.lower() == ".csv" else read_jsonl(file), file)
    asked = asked[:limit] if limit else asked
    if not asked:
        raise TableError(f"{path} has no rows. Expected one query a row.")
    return asked


def name_of(dataset: str, query: str) -> str:
    """A stable id: 16 hexadecimal digits from the data set and the text.

    >>> name_of("", "What is 1 + 1?")
    '26b54ff6a0d4ed1a'
    """
    return hashlib.sha256(f"{dataset}\x1f{query}".encode("utf-8", "replace")).hexdigest()[:16]


def _of_parquet(path: Path) -> list[Asked]:
    if path.is_dir():
        return _of_table(path)
    (file,) = files_in(path, _PARQUET)
    try:
        schema = pl.read_parquet_schema(file)
        if "model" in schema:
            return _of_table(file)
        frame = pl.read_parquet(file, columns=[name for name in COLUMNS if name in schema])
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise TableError(
            f"{file} can not be read as Parquet ({first_line(error)}). Expected queries, one a row; is the file whole?"
        ) from None
    if "query" not in schema:
        raise _no_query(file, list(schema))
    return _of_rows(((f"{file} row {i}", row) for i, row in enumerate(frame.iter_rows(named=True), 1)), file)


def _rows_of_csv(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for i, row in enumerate(read_csv(file).iter_rows(named=True), 1):
        yield f"{file} row {i}", row


def _of_rows(rows: Iterator[tuple[str, Mapping[str, Any]]], file: Path) -> list[Asked]:
    asked: list[Asked] = []
    places: dict[tuple[str, str], str] = {}
    for where, row in rows:
        if "query" not in row:
            raise _no_query(where, list(row))
        cells = {name: text(row.get(name)) for name in COLUMNS}
        words, dataset = cells["query"], cells["dataset"] or ""
        if not words or not words.strip():
            raise TableError(f"{where} has an empty query. Expected a text; fill it in, or leave the row out.")
        query_id = cells["query_id"] or name_of(dataset, words)
        first = places.setdefault((dataset, query_id), where)
        if first != where:
            why = f"the query_id {query_id!r}" if cells["query_id"] else "the same text, and no query_id,"
            raise TableError(
                f"{where} and {first} have {why} in data set {dataset!r}. Expected each query once; leave one out, or "
                "give each a query_id of its own. For several answers to a query use --samples."
            )
        asked.append(_asked(words, query_id, cells["task"], dataset, cells["reference"], cells["metric"]))
    return asked


def _asked(
    words: str, query_id: str, task: str | None, dataset: str, reference: str | None, metric: str | None
) -> Asked:
    label = (metric or "").split("; ")[0]  # what follows is about one reply
    return Asked(Query(words, query_id, task or "", dataset), reference, label)


def _no_query(where: object, found: Sequence[str]) -> TableError:
    return TableError(
        f"{where} has no column query. Found: {', '.join(found)[:200] or 'none'}. Expected {', '.join(COLUMNS)}, of which "
        "only query is required; rename the column that holds the texts."
    )


def _of_table(path: Path) -> list[Asked]:
    """The distinct queries of an outcome table, held once each however many rows there are."""
    scan = read(path)
    text_hash, reference_hash = pl.col("query").hash(), pl.col("reference").hash()
    rows = collect(
        scan.frame.with_row_index("row")
        .group_by("dataset", "query_id")
        .agg(
            pl.col("row").min(),
            pl.col("query", "reference", "task", "metric").min(),
            texts_differ=text_hash.min() != text_hash.max(),
            references_differ=reference_hash.min() != reference_hash.max(),
        )
        .sort("row"),
        path,
    )
    for what, column in (("texts", "texts_differ"), ("references", "references_differ")):
        bad = rows.filter(pl.col(column))
        if bad.height:
            one = bad.row(0, named=True)
            raise TableError(
                f"{path}: {bad.height} query id(s) have different {what} in different rows, first "
                f"{one['dataset']}/{one['query_id']}. Expected one query to an id; correct the table."
            )
    columns = ("query", "query_id", "task", "dataset", "reference", "metric")
    return [_asked(*cells) for cells in rows.select(columns).iter_rows()]
