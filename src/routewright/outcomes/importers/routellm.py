"""RouteLLM's evaluation answers: a CSV for each benchmark or subject, a True/False column for each model.

Files: `routellm/evals/gsm8k/gsm8k_responses.csv` (columns `prompt`, `<model>`, `<model>_response`) and
`routellm/evals/mmlu/responses/mmlu_<subject>.csv` (columns `prompt`, `<model>`). The models are
`mixtral-8x7b-instruct-v0.1` and `gpt-4-1106-preview`; any others in the same shape are read alike.

The files have neither tokens nor costs. Either count the texts (`estimate_tokens`, and for MMLU, whose
answers are one letter and not kept, `assume_completion_tokens`) and give prices, or declare a price per call.

Reference: Ong et al. 2024, arXiv:2406.18665; layout after the files named above.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from routewright.errors import TableError
from routewright.outcomes.importers.base import ImportConfig, Importer
from routewright.outcomes.importers.reading import files_in, numbers, read_csv

RESPONSE = "_response"


class RouteLLMConfig(ImportConfig):
    """What a RouteLLM import can be told."""

    models: tuple[str, ...] = ()
    """Only these model columns; by default all but `prompt`, the answers and unnamed ones."""


class RouteLLM(Importer):
    """One CSV, or a folder of them."""

    Config = RouteLLMConfig

    def read(self, path: Path) -> pl.LazyFrame:
        return pl.concat([self._rows(file) for file in files_in(path, (".csv",))]).lazy()

    def _rows(self, file: Path) -> pl.DataFrame:
        table = read_csv(file)
        models = self._models(table, file)
        stem = file.stem.removesuffix("_responses")
        dataset, _, task = stem.partition("_")
        queries = table.select(
            pl.lit(dataset).alias("dataset"),
            pl.lit(task).alias("task"),
            pl.format("{}/{}", pl.lit(stem), pl.int_range(pl.len())).alias("query_id"),
            pl.col("prompt").alias("query"),
            pl.lit("correct").alias("metric"),
        )
        parts = []
        for model in models:
            score = numbers(table[model], "score", f"{file}, column {model[:80]!r},")
            answers = table[model + RESPONSE] if model + RESPONSE in table.columns else [None] * table.height
            parts.append(
                queries.with_columns(
                    pl.lit(model).alias("model"),
                    score,
                    pl.Series("response", answers, dtype=pl.String),
                )
            )
        return pl.concat(parts)

    def _models(self, table: pl.DataFrame, file: Path) -> list[str]:
        if "prompt" not in table.columns:
            raise TableError(
                f"{file} has no column prompt, found {', '.join(table.columns)[:160]}. Is it RouteLLM's file?"
            )
        found = [
            name
            for name in table.columns
            if name.strip()
            and name != "prompt"
            and not name.startswith("Unnamed:")
            and not (name.endswith(RESPONSE) and name.removesuffix(RESPONSE) in table.columns)
        ]
        unknown = [name for name in self.config.models if name not in found]
        if unknown:
            raise TableError(f"{file} has no model column {unknown[0]!r}. Found: {', '.join(found)[:200]}.")
        models = list(self.config.models) or found
        if not models:
            raise TableError(f"{file} has no model column. Expected True or False for each model and question.")
        return models
