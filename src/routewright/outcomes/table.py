"""Reading, validating and writing outcome tables.

A table is one Parquet file or a folder of them. Reading streams: the long text columns are never held unless asked
for, so five million rows fit in a few GiB. A table that breaks its schema raises `TableError` with the first broken
row, what was expected and what to do; writing happens beside the target and is renamed, so no half table remains.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from routewright.errors import TableError
from routewright.outcomes.schema import COLUMNS, NUMERIC, REQUIRED
from routewright.types import ScoreKind

# A file with a hole in it can make the reader panic, which is no Exception.
_BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
_SHOWN = ("query_id", "model", "score", "cost_usd", "score_kind")  # of the first broken row


@dataclass(frozen=True)
class Scan:
    """A table on disk whose columns have been checked but whose rows have not been loaded."""

    name: str
    path: Path
    frame: pl.LazyFrame
    absent: tuple[str, ...]  # optional columns the files do not have; filled with their defaults


def files_of(path: Path) -> list[Path]:
    """The Parquet files a path stands for, sorted; `TableError` if there are none."""
    if path.is_dir():
        found = sorted(p for p in path.glob("[!.]*.parquet") if p.is_file())
        if not found:
            raise TableError(
                f"{path} holds no .parquet file. Expected an outcome table; `routewright import` makes one."
            )
        return found
    if not path.exists():
        raise TableError(f"{path} does not exist. Expected an outcome table (a Parquet file, or a folder of them).")
    return [path]


def read(path: str | Path) -> Scan:
    """Open a table, check its columns, and validate every row.

    Args:
        path: A Parquet file, or a folder whose `.parquet` files together are the table.

    Returns:
        The lazy frame with every column of the schema, in its order and type.

    Raises:
        TableError: Missing or mistyped columns, nulls or non-finite numbers in required ones, a score outside [0, 1], a
            negative cost, an unknown `score_kind`.
    """
    path = Path(path)
    files = files_of(path)
    frames, absent = [], set(COLUMNS)
    for file in files:
        frame, missing = _open(file)
        frames.append(frame)
        absent &= missing
    scan = Scan(path.stem if path.is_file() else path.resolve().name, path, pl.concat(frames), tuple(sorted(absent)))
    _validate_rows(scan)
    return scan


def together(paths: Sequence[str | Path]) -> Scan:
    """Several tables as one, their rows one after the other."""
    scans = [read(path) for path in paths]
    absent = tuple(column for column in scans[0].absent if all(column in scan.absent for scan in scans))
    name = "+".join(dict.fromkeys(scan.name for scan in scans))
    return Scan(name, scans[0].path, pl.concat([scan.frame for scan in scans]), absent)


def _open(file: Path) -> tuple[pl.LazyFrame, set[str]]:
    try:
        with file.open("rb") as raw:
            if raw.read(4) != b"PAR1":
                raise _unreadable(file, "it does not begin as one")
        frame = pl.scan_parquet(file, hive_partitioning=False, glob=False)
        schema = frame.collect_schema()
    except _BROKEN as error:
        raise _unreadable(file, error) from error
    missing = [name for name in REQUIRED if name not in schema]
    if missing:
        raise TableError(
            f"{file} lacks the column(s) {', '.join(missing)}. An outcome table needs {', '.join(REQUIRED)}; "
            "`routewright import` makes one from other formats."
        )
    for name, column in COLUMNS.items():
        if name in schema and not _castable(schema[name], column.dtype):
            raise TableError(
                f"{file}: column {name} has type {schema[name]}, expected {column.dtype} ({column.meaning})."
            )
    columns = []
    for name, column in COLUMNS.items():
        if name in schema:
            value = pl.col(name).cast(column.dtype, strict=False)
            if column.default is not None:
                value = value.fill_null(pl.lit(column.default, dtype=column.dtype))
        else:
            value = pl.lit(column.default, dtype=column.dtype)
        columns.append(value.alias(name))
    return frame.select(columns), {name for name in COLUMNS if name not in schema}


def collect(frame: pl.LazyFrame, path: Path) -> pl.DataFrame:
    """Load rows by streaming; `TableError` where the data behind a readable header is damaged."""
    try:
        return frame.collect(engine="streaming")
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: object) -> TableError:
    first = (str(error).strip().splitlines() or ["no reason given"])[0][:160]
    return TableError(
        f"{path} can not be read as Parquet ({first}). Expected an outcome table; is the file whole? "
        "For other formats: routewright import."
    )


def _castable(found: pl.DataType, wanted: pl.DataType | type[pl.DataType]) -> bool:
    if wanted == pl.String:
        # An id is often a number; as text it is as good.
        return found in (pl.String, pl.Categorical, pl.Null) or isinstance(found, pl.Enum) or found.is_integer()
    return found.is_numeric() or found in (pl.Boolean, pl.Null)


def _validate_rows(scan: Scan) -> None:
    """One streaming pass that counts what is wrong; a second, only on failure, to show the first bad row."""
    rules = _rules()
    sums = [bad.sum().alias(str(i)) for i, (bad, _, _) in enumerate(rules)]
    counts = collect(scan.frame.select(pl.len().alias("rows"), *sums), scan.path)
    if counts["rows"][0] == 0:
        raise TableError(f"{scan.path} has no rows. Expected one row per (query, model).")
    for i, (bad, what, next_step) in enumerate(rules):
        n = counts[str(i)][0]
        if n:
            row = collect(scan.frame.filter(bad).select(_SHOWN).head(1), scan.path)
            raise TableError(f"{scan.path}: {n} row(s) {what}, first {_show(row.row(0, named=True))}. {next_step}")


def _rules() -> list[tuple[pl.Expr, str, str]]:
    score, cost = pl.col("score"), pl.col("cost_usd")
    kinds = [kind.value for kind in ScoreKind]
    rules: list[tuple[pl.Expr, str, str]] = [
        (pl.col(name).is_null() | (pl.col(name) == ""), f"have no {name}", "Every row needs one.")
        for name in ("query_id", "query", "model")
    ]
    rules += [
        (
            pl.col(name).is_null(),
            f"have no {name}",
            "Expected a number; drop rows that were never run or scored.",
        )
        for name in ("score", "cost_usd")
    ]
    rules += [
        (
            pl.col(name).cast(pl.Float64).is_finite().not_().fill_null(False),
            f"have a {name} that is not finite",
            "",
        )
        for name in NUMERIC
    ]
    rules += [
        (
            (score < 0) | (score > 1),
            "have a score outside [0, 1]",
            "Rescale scores to fractions before importing.",
        ),
        (cost < 0, "have a negative cost_usd", "Expected USD per call, 0 or more."),
        *[
            (pl.col(name) < 0, f"have a negative {name}", "Expected 0 or more, or nothing where it is not known.")
            for name in NUMERIC[2:]
        ],
        (
            pl.col("score_kind").is_in(kinds).not_().fill_null(False),
            "have an unknown score_kind",
            f"Expected {', '.join(kinds)}.",
        ),
    ]
    return [(bad.fill_null(False), what, step or "Expected a finite number.") for bad, what, step in rules]


def _show(row: dict[str, object]) -> str:
    return "(" + ", ".join(f"{key}={value!r}"[:80] for key, value in row.items()) + ")"


def write(frame: pl.DataFrame | pl.LazyFrame, out: str | Path) -> None:
    """Save a table as one zstd Parquet file, whole or not at all.

    The rows are written beside `out`, validated as `read` does, and renamed into place.
    """
    with beside(Path(out)) as temporary:
        frame.lazy().sink_parquet(temporary, compression="zstd")
        read(temporary)


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A temporary path beside the target that becomes the target if the block ends well, and vanishes if not.

    It lies in a folder of its own: a writer that fails may still create its file a moment later, from a thread.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        yield folder / out.name
        os.replace(folder / out.name, out)
    finally:
        for _ in range(3):  # such a file may come between emptying the folder and removing it
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
