"""What an importer is: one published format in, rows of the outcome schema out.

The loop that calls it, `import_outcomes`:

    importer = IMPORTERS.load("routerbench")(config)
    rows = importer.read(path)         # any columns of the schema; `score` may hold nulls
    rows = complete(rows, importer)    # tokens, costs, score kind; what is ambiguous is refused
    write(rows, out)                   # validated, then renamed into place: whole or not at all

An importer rescales nothing and guesses nothing. Scores stay as published; a cost that is not recorded has to
come from a price file or be declared.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import polars as pl
from pydantic import Field

from routewright.config import Config, parse
from routewright.errors import ConfigError, TableError
from routewright.outcomes.importers.reading import first_line
from routewright.outcomes.importers.table import IMPORTERS
from routewright.outcomes.importers.tokens import estimate
from routewright.outcomes.prices import read_prices, reprice
from routewright.outcomes.schema import COLUMNS, score_kind
from routewright.outcomes.table import files_of, write
from routewright.types import ScoreKind

KEY = ("dataset", "query_id", "model", "sample")


class ImportConfig(Config):
    """What every format understands."""

    dataset: str | None = None
    """Name of the data set, in place of the format's own."""
    prices: Path | None = None
    """Price file; costs become tokens x prices, also where the format recorded some."""
    usd_per_call: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """USD per call of each model, where neither costs nor tokens are known."""
    estimate_tokens: bool = False
    """Count missing tokens from the texts, by a regular expression."""
    assume_completion_tokens: int | None = Field(default=None, ge=0)
    """With `estimate_tokens`: tokens out of a row whose answer was not kept."""
    score_kind: ScoreKind | None = None
    """What the scores measure; found from metric and values by default."""
    responses: bool = True
    """Keep the answer texts. Without them the table is much smaller, and no router reads them."""
    drop_missing: bool = False
    """Drop rows without a score, and count them; an error by default."""
    keep_first: bool = False
    """Of rows with equal data set, query, model and sample keep the first; an error by default."""


class Importer(ABC):
    """Base of the importers. Subclasses keep their `Config` beside them under the attribute `Config`."""

    Config: ClassVar[type[Any]] = ImportConfig
    prices_itself: ClassVar[bool] = False  # the format needs more than tokens x prices, and `read` did it

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def read(self, path: Path) -> pl.LazyFrame:
        """Rows of the schema; optional columns, `cost_usd` and `sample` may be absent. `TableError` on bad input."""


@dataclass(frozen=True)
class Summary:
    """What an import wrote."""

    out: Path
    rows: int
    queries: int
    models: int
    score_kinds: tuple[str, ...]
    cost_sources: tuple[str, ...]
    dropped: int

    def __str__(self) -> str:
        dropped = f", {self.dropped} rows dropped" if self.dropped else ""
        return (
            f"{self.out}: {self.rows} rows, {self.queries} queries x {self.models} models, scores "
            f"{' and '.join(self.score_kinds)}, cost from "
            f"{'; '.join(self.cost_sources)[:120] or 'unnamed source'}{dropped}"
        )


def import_outcomes(kind: str, path: str | Path, out: str | Path, options: Mapping[str, Any] | None = None) -> Summary:
    """Turn a published file or folder into an outcome table.

    Args:
        kind: A name of `IMPORTERS`.
        path: What to read.
        out: The Parquet file to write.
        options: Values of the importer's `Config`.

    Raises:
        UnknownName, ConfigError, TableError: One line each; nothing is left at `out`.
    """
    path, out = Path(path), Path(out)
    cls = IMPORTERS.load(kind)
    importer = cls(parse(cls.Config, options or {}, f"import format {kind!r}"))
    if importer.config.prices and importer.config.usd_per_call:
        raise ConfigError("Both a price file and usd_per_call were given. Expected one of them; leave one out.")
    if out.suffix != ".parquet" or out.is_dir():
        raise ConfigError(f"{out} is no name for a table. Expected a file ending in .parquet.")
    if out.exists() and path.exists() and path.is_file() and out.samefile(path):
        raise ConfigError(f"{out} is the file being imported. Choose another name for the table.")
    try:
        rows = importer.read(path)
        n_read = rows.select(pl.len()).collect(engine="streaming").item()
        rows = complete(rows, importer)
        write(rows, out)
    except (ConfigError, TableError) as error:
        # `write` validates beside the target, but the user knows only the source; and what is quoted from the source
        # may hold line breaks.
        part = re.escape(str(out.parent / f".{out.name}.")) + r"\w+\.part/" + re.escape(out.name)
        message = re.sub(r"[\x00-\x1f\x7f]+", " ", re.sub(part, lambda _: str(path), str(error)))
        raise type(error)(message) from None
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"{path} does not fit the outcome table ({first_line(error)}). Check the column types."
        ) from error
    except OSError as error:
        raise TableError(
            f"{error.filename or path}: {error.strerror or error}. Check the path and its permissions."
        ) from error
    return _summary(out, n_read)


def complete(rows: pl.LazyFrame, importer: Importer) -> pl.LazyFrame:
    """Fill what the schema needs from what the format has, and refuse what is ambiguous."""
    config: ImportConfig = importer.config
    present = rows.collect_schema().names()
    rows = rows.with_columns(
        pl.lit(column.default, dtype=column.dtype).alias(name)
        for name, column in COLUMNS.items()
        if name not in present
    )
    if config.dataset is not None:
        rows = rows.with_columns(pl.lit(config.dataset).alias("dataset"))
    if config.drop_missing:
        rows = rows.filter(pl.col("score").is_not_null() & pl.col("score").is_not_nan())
    if config.keep_first:
        rows = rows.unique(subset=KEY, keep="first", maintain_order=True)
    if config.estimate_tokens:
        rows = estimate(rows, config.assume_completion_tokens)
    rows = _with_costs(rows, importer)
    kind = pl.coalesce("score_kind", score_kind()) if config.score_kind is None else pl.lit(config.score_kind.value)
    rows = rows.with_columns(kind.alias("score_kind"))
    if not config.responses:
        rows = rows.with_columns(pl.lit(None, dtype=pl.String).alias("response"))
    rows = rows.with_columns(pl.col("prompt_tokens", "completion_tokens").round())
    rows = rows.select(pl.col(name).cast(column.dtype) for name, column in COLUMNS.items())
    _refuse_ambiguous(rows)
    return rows


def _with_costs(rows: pl.LazyFrame, importer: Importer) -> pl.LazyFrame:
    config: ImportConfig = importer.config
    if importer.prices_itself:
        return rows
    if config.prices:
        return reprice(rows, read_prices(config.prices))
    if config.usd_per_call:
        models = rows.select(pl.col("model").unique().sort()).collect()["model"].to_list()
        unknown = [m for m in models if m not in config.usd_per_call]
        if unknown:
            raise TableError(
                f"usd_per_call has no entry for the model {unknown[0]!r}. Expected one for each: {models}."
            )
        declared = pl.col("model").replace_strict(
            list(config.usd_per_call), list(config.usd_per_call.values()), return_dtype=pl.Float64
        )
        return rows.with_columns(declared.alias("cost_usd"), pl.lit("declared per call").alias("cost_source"))
    cost = pl.col("cost_usd")
    missing, most = rows.select(cost.is_null().sum(), cost.max().alias("most")).collect().row(0)
    if missing:
        raise TableError(
            f"{missing} row(s) have no cost. Expected USD per call; pass --prices FILE (tokens x prices), or "
            "--usd-per-call MODEL=USD for each model."
        )
    if most == 0:
        raise TableError("Every cost is 0. Nothing is free to route; pass --prices FILE, or --usd-per-call MODEL=USD.")
    return rows


def _refuse_ambiguous(rows: pl.LazyFrame) -> None:
    """One row for each (data set, query, model, sample), one text for each query."""
    twice = rows.group_by(KEY).len().filter(pl.col("len") > 1).sort(KEY).collect(engine="streaming")
    if twice.height:
        raise TableError(
            f"{twice.height} outcome(s) are there more than once, first {twice.row(0)[:3]}. Expected one "
            "row for each query "
            "and model; pass --keep-first, or remove the others."
        )
    by_query = rows.group_by("dataset", "query_id").agg((pl.col("query").hash().n_unique() > 1).alias("differs"))
    differs = by_query.filter("differs").sort("dataset", "query_id").collect(engine="streaming")
    if differs.height:
        raise TableError(
            f"{differs.height} query id(s) have more than one text, first {differs.row(0)[:2]}. Expected "
            "one text for each; "
            "were the models asked different versions of the data set?"
        )


def _summary(out: Path, n_read: int) -> Summary:
    table = pl.concat([pl.scan_parquet(file, glob=False) for file in files_of(out)])
    rows = table.select(pl.len()).collect().item()
    facts = table.select(
        pl.struct("dataset", "query_id").n_unique().alias("queries"),
        pl.col("model").n_unique().alias("models"),
        *(pl.col(name).unique().sort().implode().alias(name) for name in ("score_kind", "cost_source")),
    ).collect()
    kinds, sources = facts["score_kind"][0].to_list(), facts["cost_source"][0].to_list()
    return Summary(
        out,
        rows,
        facts["queries"][0],
        facts["models"][0],
        tuple(kinds),
        tuple(filter(None, sources)),
        n_read - rows,
    )
