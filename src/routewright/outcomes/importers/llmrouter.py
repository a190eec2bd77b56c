"""LLMRouter's routing data: JSON Lines, one row for each (query, model), and a candidate file with prices.

Row: `task_name`, `query`, `ground_truth`, `metric`, `choices`, `task_id`, `model_name`, `response`,
`input_tokens`, `output_tokens`, `token_num` (their sum), `response_time` (seconds), `performance` (0 to 1),
`embedding_id`. No row has a cost: it is tokens x the prices of the candidate JSON (`input_price`,
`output_price`, USD per million tokens).

Older files have `token_num` alone. The split is unknown, so every token is taken at the dearer of the two
prices:

    cost_usd = token_num * max(usd_per_mtok_in, usd_per_mtok_out) / 1e6

an upper bound, exact where both prices are equal, and `cost_source` says so.

Reference: layout after `llmrouter/data/README.md` of ulab-uiuc/LLMRouter.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from routewright.errors import TableError
from routewright.outcomes.importers.base import ImportConfig, Importer
from routewright.outcomes.importers.reading import files_in, need, number, read_jsonl, text
from routewright.outcomes.prices import Prices, read_prices, reprice

_SCHEMA = {
    "task": pl.String,
    "query_id": pl.String,
    "query": pl.String,
    "reference": pl.String,
    "metric": pl.String,
    "model": pl.String,
    "response": pl.String,
    "score": pl.Float64,
    "prompt_tokens": pl.Float64,
    "completion_tokens": pl.Float64,
    "token_num": pl.Float64,
    "latency_s": pl.Float64,
}


class LLMRouterConfig(ImportConfig):
    """Nothing beyond what every format understands; `prices` is needed."""


class LLMRouter(Importer):
    """One JSON Lines file, or a folder of them."""

    Config = LLMRouterConfig
    prices_itself = True  # token_num needs its own rule

    def read(self, path: Path) -> pl.LazyFrame:
        if self.config.prices is None:
            raise TableError(
                "LLMRouter's routing data has no costs. Expected its candidate JSON (or a TOML price file); "
                "pass it with --prices FILE."
            )
        prices = read_prices(self.config.prices)
        rows = [self._row(record, where) for file in files_in(path, (".jsonl",)) for where, record in read_jsonl(file)]
        if not rows:
            raise TableError(f"{path} has no rows. Expected one JSON object a line.")
        frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(pl.lit("llmrouter").alias("dataset"))
        return _priced(frame, prices).lazy()

    def _row(self, record: dict[str, Any], where: str) -> tuple[object, ...]:
        task, query = text(record.get("task_name")) or "", text(need(record, "query", where))
        reference, metric = text(record.get("ground_truth")), text(record.get("metric")) or ""
        return (
            task,
            query_id(task, query, reference, metric),
            query,
            reference,
            metric,
            text(need(record, "model_name", where)),
            text(record.get("response")) if self.config.responses else None,
            number(need(record, "performance", where), "performance", where),
            number(record.get("input_tokens"), "input_tokens", where),
            number(record.get("output_tokens"), "output_tokens", where),
            number(record.get("token_num"), "token_num", where),
            number(record.get("response_time"), "response_time", where),
        )


def query_id(*facts: str | None) -> str:
    """A stable id: LLMRouter tells queries apart by task, text, gold answer and metric, so those are hashed.

    `embedding_id` would do within one export, but a later export numbers anew.
    """
    return hashlib.sha256("\x1f".join(fact or "" for fact in facts).encode()).hexdigest()[:16]


def _priced(frame: pl.DataFrame, prices: Prices) -> pl.DataFrame:
    split = pl.col("prompt_tokens").is_not_null() & pl.col("completion_tokens").is_not_null()
    neither = frame.filter(~split & pl.col("token_num").is_null())
    if neither.height:
        raise TableError(
            f"{neither.height} row(s) have neither input_tokens and output_tokens nor token_num, first of model "
            f"{neither['model'][0]!r}. Expected counts to price; remove those rows."
        )
    exact = reprice(frame.filter(split), prices).with_columns(
        pl.lit("LLMRouter: input_tokens, output_tokens").alias("tokens_source")
    )
    total = frame.filter(~split)
    if not total.height:
        return exact
    # All of token_num at one price: as tokens out, with both prices set to the dearer.
    dearer = Prices(
        {
            name: type(card)(name, top := max(card.usd_per_mtok_in or 0.0, card.usd_per_mtok_out or 0.0), top)
            for name, card in prices.items()
        },
        prices.source,
    )
    bound = reprice(total.with_columns(pl.lit(0.0).alias("prompt_tokens"), completion_tokens="token_num"), dearer)
    return pl.concat(
        [
            exact,
            bound.with_columns(
                pl.lit(None, dtype=pl.Float64).alias("prompt_tokens"),
                pl.lit(None, dtype=pl.Float64).alias("completion_tokens"),
                pl.lit("LLMRouter: token_num only, not split").alias("tokens_source"),
                (pl.col("cost_source") + ": token_num at the dearer price (upper bound)").alias("cost_source"),
            ).select(exact.columns),
        ]
    )
