"""The answers of a table as small integers: who said the same as whom.

Policies that ask several models stop, or vote, by agreement. What a reply says is reduced to a key by
`routewright.tasks`; here keys become integers that are equal within a query where two replies say the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from routewright.errors import TableError
from routewright.outcomes.table import Scan, collect
from routewright.tasks import keys_of, kind_of
from routewright.types import Ints, Query

_ROWS = 20_000  # replies held at once


def answer_keys(scan: Scan, queries: Sequence[Query], models: Sequence[str]) -> Ints:
    """[Q, M] the greedy reply of each model to each query as an integer, -1 where it has no comparable answer.

    Equal within a row where two replies say the same; numbers of different rows have nothing to do with each other.
    Replies are read in batches, so the texts are never all held.

    Raises:
        TableError: The table kept no responses.
    """
    if "response" in scan.absent:
        raise TableError(
            f"{scan.path} has no column response, so nobody can say which answers agree. Expected the replies' texts: "
            "policies that ask several models need them; judge one-call policies on this table instead."
        )
    row_of = {(q.dataset, q.query_id): i for i, q in enumerate(queries)}
    column_of = {name: i for i, name in enumerate(models)}
    keys = np.full((len(queries), len(models)), -1, dtype=np.int64)
    seen: list[dict[str, int]] = [{} for _ in queries]
    metrics: dict[int, str | None] = {}
    wanted = scan.frame.filter(pl.col("model").is_in(list(models)) & (pl.col("sample") == 0)).select(
        "dataset", "query_id", "model", "metric", "response"
    )
    total = collect(wanted.select(pl.len()), scan.path).item()
    for at in range(0, total, _ROWS):
        part = collect(wanted.slice(at, _ROWS), scan.path)
        places, kinds, texts = [], [], []
        for dataset, query_id, model, metric, response in part.iter_rows():
            row = row_of.get((dataset, query_id))
            if row is None or response is None:
                continue
            if row not in metrics:
                metrics[row] = kind_of(queries[row], metric)
            places.append((row, column_of[model]))
            kinds.append(metrics[row])
            texts.append(response)
        for (row, column), key in zip(places, keys_of(kinds, texts), strict=True):
            if key is not None:
                keys[row, column] = seen[row].setdefault(key, len(seen[row]))
    return keys
