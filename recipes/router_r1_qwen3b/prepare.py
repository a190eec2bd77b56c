"""Questions from local files as `routewright train r1` reads them: `python prepare.py OUT.jsonl FILE.parquet ... [--each 7000]`.

A file has columns query, query_id and answers_json (a JSON list of accepted answers), or is an outcome table with references.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import polars as pl

from routewright.outcomes.table import beside


def rows_of(path: Path, n: int) -> list[dict[str, str]]:
    """The first n questions of a file, each once."""
    frame = pl.read_parquet(path).unique("query_id", keep="first", maintain_order=True)
    if "answers_json" in frame.columns:
        frame = frame.with_columns(reference=pl.col("answers_json"))
    frame = frame.filter(pl.col("reference").is_not_null()).head(n)
    named = frame["dataset"].to_list() if "dataset" in frame.columns else [path.name.split(".")[0]] * len(frame)
    return [
        {"query": q, "query_id": f"{d}/{i}", "reference": r, "dataset": d, "task": d, "metric": "squad_em"}
        for q, i, r, d in zip(frame["query"], frame["query_id"], frame["reference"], named, strict=True)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--each", type=int, default=7000, help="questions of each file")
    given = parser.parse_args()
    made = [row for path in given.files for row in rows_of(path, given.each)]
    with beside(given.out) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    print(f"{given.out}: {len(made)} questions of {len(given.files)} files")
