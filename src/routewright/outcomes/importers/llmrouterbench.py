"""LLMRouterBench: one JSON file for each (data set, split, model).

Layout: `bench/<dataset>/<split>/<model>/<dataset>-<split>-<model>-<YYYYMMDD>_<HHMMSS>.json`; the archive on
the hub has to be unpacked first. Top level: `performance`, `time_taken`, `prompt_tokens`,
`completion_tokens`, `cost`, `counts`, `model_name`, `dataset_name`, `split`, `demo`, `records`. A record:
`index`, `origin_query`, `prompt`, `prediction`, `ground_truth`, `score`, `prompt_tokens`,
`completion_tokens`, `cost` (USD), `raw_output`.

As its own loader does, demo runs are skipped and of several runs the latest by the name's time stamp is
taken. Its loader reads a null score as 0; here it is an error, or dropped on request.

Reference: arXiv:2601.07206; layout after `data_collector/storage.py` of ynulihao/LLMRouterBench.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from routewright.errors import TableError
from routewright.outcomes.importers.base import ImportConfig, Importer
from routewright.outcomes.importers.reading import as_object, files_in, need, number, read_json, text

_STAMP = re.compile(r"(\d{8})_(\d{6})\.json$")
_SCHEMA = {
    "query_id": pl.String,
    "query": pl.String,
    "reference": pl.String,
    "response": pl.String,
    "score": pl.Float64,
    "prompt_tokens": pl.Float64,
    "completion_tokens": pl.Float64,
    "cost_usd": pl.Float64,
}


class LLMRouterBenchConfig(ImportConfig):
    """Nothing beyond what every format understands."""


class LLMRouterBench(Importer):
    """One result file, or any folder above such files."""

    Config = LLMRouterBenchConfig

    def read(self, path: Path) -> pl.LazyFrame:
        runs: dict[tuple[str, str, str], tuple[str, Path, pl.DataFrame]] = {}
        for file in files_in(path, (".json",), recursive=True):
            top = as_object(read_json(file), str(file))
            if top.get("demo"):
                continue
            key = _key(top, file)
            stamp = "".join(found.groups()) if (found := _STAMP.search(file.name)) else ""
            if key in runs and runs[key][0] == stamp:
                raise TableError(
                    f"{file} and {runs[key][1]} are both runs of {key} and no time stamp tells which is later. "
                    "Expected <name>-YYYYMMDD_HHMMSS.json; remove one."
                )
            if key in runs and runs[key][0] > stamp:
                continue
            runs[key] = (stamp, file, self._rows(top, key, file))
        if not runs:
            raise TableError(f"{path} holds demo runs only. Expected results of a full run.")
        return pl.concat([rows for _, _, rows in runs.values()]).lazy()

    def _rows(self, top: dict[str, Any], key: tuple[str, str, str], file: Path) -> pl.DataFrame:
        records = need(top, "records", str(file))
        if not isinstance(records, list) or not records:
            raise TableError(
                f"{file}: records is {'empty' if records == [] else 'no list'}. Expected one object a query."
            )
        dataset, split, model = key
        rows = [self._row(record, split, f"{file} record {i}") for i, record in enumerate(records)]
        return pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(
            pl.lit(dataset).alias("dataset"),
            pl.lit(split).alias("task"),
            pl.lit(model).alias("model"),
            pl.lit("llmrouterbench score").alias("metric"),
            pl.lit("LLMRouterBench: recorded usage").alias("tokens_source"),
            pl.lit("LLMRouterBench: recorded cost").alias("cost_source"),
        )

    def _row(self, record: Any, split: str, where: str) -> tuple[object, ...]:
        record = as_object(record, where)
        query = record.get("origin_query") or need(record, "prompt", where)
        answer = record.get("raw_output")
        if answer is None:
            answer = record.get("prediction")
        return (
            f"{split}/{text(need(record, 'index', where))}",
            text(query),
            text(record.get("ground_truth")),
            text(answer) if self.config.responses else None,
            number(need(record, "score", where), "score", where),
            number(record.get("prompt_tokens"), "prompt_tokens", where),
            number(record.get("completion_tokens"), "completion_tokens", where),
            number(record.get("cost"), "cost", where),
        )


def _key(top: dict[str, Any], file: Path) -> tuple[str, str, str]:
    """Data set, split and model, as the file says or, in older files, its folders."""
    folders = file.absolute().parts[-4:-1]
    names = [top.get(key) for key in ("dataset_name", "split", "model_name")]
    found = [name if isinstance(name, str) and name else folder for name, folder in zip(names, folders, strict=False)]
    if len(found) != 3:
        raise TableError(f"{file} does not say its dataset_name, split and model_name. Expected them, or such folders.")
    return found[0], found[1], found[2]
