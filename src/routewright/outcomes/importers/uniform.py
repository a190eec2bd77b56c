"""Tables that have the outcome columns already, in one Parquet file or a folder of them.

Columns: dataset, task, query_id, query, reference, model, response, score, metric, prompt_tokens,
completion_tokens, tokens_source, cost_usd, cost_source, latency_s. What is added: `score_kind`, found from
the metric and the values, and `sample` (0). Columns outside the schema are left out. Parquet compresses
inside; its footer tells the size, so no unpacked size has to be trusted before reading.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from routewright.outcomes.importers.base import ImportConfig, Importer
from routewright.outcomes.table import read


class UniformConfig(ImportConfig):
    """Nothing beyond what every format understands."""


class Uniform(Importer):
    """Read through the same door as every table: types and rows are checked there."""

    Config = UniformConfig

    def read(self, path: Path) -> pl.LazyFrame:
        return read(path).frame
