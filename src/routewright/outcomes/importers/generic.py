"""Any CSV or JSON Lines file with one row for each (query, model), by a mapping of columns.

    map = { score = "accuracy", query = "question" }    # column of the schema = column of the file
    set = { dataset = "mine" }                          # column of the schema = one value for all rows

The two tables may also stand in a TOML file (`mapping`); what is given beside it wins. A column of the file
that has a name of the schema needs no mapping. Without a `query_id` the query's text is hashed into one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from routewright.config import Config, parse, read_toml
from routewright.errors import ConfigError, TableError
from routewright.outcomes.importers.base import ImportConfig, Importer
from routewright.outcomes.importers.reading import files_in, numbers, read_csv, read_jsonl, texts
from routewright.outcomes.schema import COLUMNS

NEEDED = ("query", "model", "score")


class Mapping(Config):
    """A mapping file."""

    map: dict[str, str] = Field(default_factory=dict)
    """Column of the schema to column of the file."""
    set: dict[str, str | int | float] = Field(default_factory=dict)
    """Column of the schema to one value for all rows."""


class GenericConfig(ImportConfig):
    """What a generic import can be told."""

    map: dict[str, str] = Field(default_factory=dict)
    """Column of the schema to column of the file."""
    set: dict[str, str | int | float] = Field(default_factory=dict)
    """Column of the schema to one value for all rows."""
    mapping: Path | None = None
    """TOML file with `map` and `set`."""


class Generic(Importer):
    """One file, or a folder of files with the same columns."""

    Config = GenericConfig

    def read(self, path: Path) -> pl.LazyFrame:
        names, constants = self._mapping()
        tables = [self._rows(file, names, constants) for file in files_in(path, (".csv", ".jsonl"))]
        return pl.concat(tables, how="diagonal").lazy()

    def _mapping(self) -> tuple[dict[str, str], dict[str, Any]]:
        file = self.config.mapping
        stored = parse(Mapping, read_toml(file), str(file)) if file else Mapping()
        names, constants = {**stored.map, **self.config.map}, {**stored.set, **self.config.set}
        for name in (*names, *constants):
            if name not in COLUMNS:
                raise ConfigError(f"{name!r} is no column of an outcome table. Known: {', '.join(COLUMNS)}.")
            if name in names and name in constants:
                raise ConfigError(f"{name!r} is both mapped and set. Expected one of them; leave one out.")
        return names, constants

    def _rows(self, file: Path, names: dict[str, str], constants: dict[str, Any]) -> pl.DataFrame:
        cells = _cells(file)
        absent = [source for source in names.values() if source not in cells]
        if absent:
            raise TableError(
                f"{file} has no column {absent[0]!r}. Found: {', '.join(cells)[:200]}. Correct the mapping."
            )
        length = len(next(iter(cells.values())))
        chosen = {name: cells[name] for name in COLUMNS if name in cells and name not in constants}
        chosen |= {name: cells[source] for name, source in names.items()}
        chosen |= {name: [value] * length for name, value in constants.items()}
        missing = [name for name in NEEDED if name not in chosen]
        if missing:
            raise TableError(
                f"{file} has no {', '.join(missing)}. Found: {', '.join(cells)[:200]}. "
                f"Name the column: --map {missing[0]}=COLUMN, or one value for all: --set {missing[0]}=VALUE."
            )
        return pl.DataFrame([_column(name, values, file) for name, values in chosen.items()]).with_columns(
            *([] if "query_id" in chosen else [_hashed(chosen["query"])])
        )


def _cells(file: Path) -> dict[str, list[Any]]:
    if file.suffix.lower() == ".csv":
        return read_csv(file).to_dict(as_series=False)
    records = [record for _, record in read_jsonl(file)]
    if not records:
        raise TableError(f"{file} has no rows. Expected one JSON object a line.")
    keys = dict.fromkeys(key for record in records for key in record)
    return {key: [record.get(key) for record in records] for key in keys}


def _column(name: str, values: list[Any], file: Path) -> pl.Series:
    if COLUMNS[name].dtype == pl.String:
        return texts(values, name)
    return numbers(values, name, str(file))


def _hashed(queries: list[Any]) -> pl.Series:
    """Ids from texts: equal texts are one query."""
    return pl.Series("query_id", [hashlib.sha256(str(q).encode("utf-8", "replace")).hexdigest()[:16] for q in queries])
