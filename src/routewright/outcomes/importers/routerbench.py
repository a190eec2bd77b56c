"""RouterBench: 11 models on about 36,000 prompts, with the bill of each call.

Files: `routerbench_0shot.pkl` and `routerbench_5shot.pkl` of withmartian/routerbench are wide: `sample_id`,
`prompt`, `eval_name`, `oracle_model_to_route_to`, and for each model the columns `<model>` (score),
`<model>|model_response` and `<model>|total_cost` (USD). `routerbench_raw.pkl` is long: `sample_id`,
`eval_name`, `prompt`, `model_name`, `model_response`, `performance`, `cost`. Either is also read from
.parquet or .csv.

Prompts and responses are the Python text of a list of turns; turns are joined by a blank line. Scores are
not rescaled.

Reference: Hu et al. 2024, arXiv:2403.12031; layout after `convertors/common.py` of withmartian/routerbench.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import polars as pl

from routewright.errors import TableError
from routewright.outcomes.importers.base import ImportConfig, Importer
from routewright.outcomes.importers.pickles import read_frame
from routewright.outcomes.importers.reading import files_in, first_line, numbers, read_csv, texts

RESPONSE, COST = "|model_response", "|total_cost"


class RouterBenchConfig(ImportConfig):
    """Nothing beyond what every format understands."""


class RouterBench(Importer):
    """The wide table and the long one; which it is, the columns say."""

    Config = RouterBenchConfig

    def read(self, path: Path) -> pl.LazyFrame:
        tables = [_rows(file) for file in files_in(path, (".pkl", ".parquet", ".csv"))]
        return (
            pl.concat(tables)
            .lazy()
            .with_columns(pl.lit("routerbench").alias("dataset"), pl.lit("routerbench performance").alias("metric"))
        )


def _rows(file: Path) -> pl.DataFrame:
    columns = _columns(file)
    _need(columns, ("sample_id", "eval_name", "prompt"), file)
    if "model_name" in columns:
        return _long(columns, file)
    models = [name.removesuffix(COST) for name in columns if name.endswith(COST)]
    if not models:
        raise TableError(
            f"{file} has neither columns <model>{COST} nor a column model_name. Expected RouterBench's "
            "table; "
            "for others: routewright import generic."
        )
    shared = {
        "query_id": texts(columns["sample_id"], "query_id"),
        "task": texts(columns["eval_name"], "task"),
        "query": texts(map(turns, columns["prompt"]), "query"),
    }
    parts = []
    for model in models:
        _need(columns, (model,), file)
        responses = columns.get(model + RESPONSE, [None] * len(columns[model]))
        parts.append(_part(shared, [model] * len(responses), columns[model], columns[model + COST], responses, file))
    return pl.concat(parts)


def _long(columns: dict[str, list[Any]], file: Path) -> pl.DataFrame:
    cost = "total_cost" if "total_cost" in columns else "cost"
    _need(columns, ("performance", cost), file)
    shared = {
        "query_id": texts(columns["sample_id"], "query_id"),
        "task": texts(columns["eval_name"], "task"),
        "query": texts(map(turns, columns["prompt"]), "query"),
    }
    responses = columns.get("model_response", [None] * len(columns["performance"]))
    return _part(shared, columns["model_name"], columns["performance"], columns[cost], responses, file)


def _part(
    shared: dict[str, pl.Series],
    models: list[Any],
    scores: list[Any],
    costs: list[Any],
    responses: list[Any],
    file: Path,
) -> pl.DataFrame:
    where = f"{file}, model {str(models[0])[:80]!r},"
    return pl.DataFrame(
        {
            **shared,
            "model": texts(models, "model"),
            "score": numbers(scores, "score", where),
            "cost_usd": numbers(costs, "cost", where),
            "cost_source": pl.repeat("RouterBench: recorded cost", len(models), eager=True),
            "response": texts(map(turns, responses), "response"),
        }
    )


def turns(prompt: object) -> object:
    """The text of a prompt that is a list of turns, or the Python text of one.

    >>> turns("['What is 2 + 2?']")
    'What is 2 + 2?'
    >>> turns("[not a list")
    '[not a list'
    """
    if isinstance(prompt, str) and prompt[:1] == "[" and prompt[-1:] == "]":
        try:
            prompt = ast.literal_eval(prompt)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return prompt
    if isinstance(prompt, list) and prompt:
        said = [t.get("content") if isinstance(t, dict) else t for t in prompt]
        return "\n\n".join(str(t) for t in said if t)
    return prompt


def _columns(file: Path) -> dict[str, list[Any]]:
    if file.suffix.lower() == ".pkl":
        return read_frame(file)
    if file.suffix.lower() == ".csv":
        return read_csv(file).to_dict(as_series=False)
    try:
        return pl.read_parquet(file, glob=False, hive_partitioning=False).to_dict(as_series=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(f"{file} can not be read as Parquet ({first_line(error)}). Is the file whole?") from error


def _need(columns: dict[str, list[Any]], names: tuple[str, ...], file: Path) -> None:
    missing = [name for name in names if name not in columns]
    if missing:
        raise TableError(
            f"{file} lacks the column(s) {', '.join(missing)[:200]}. Expected sample_id, eval_name, prompt, and "
            f"<model>, <model>{COST} for each model. Is it RouterBench's table?"
        )
