"""Reading the tables of an onboarding: outcomes of the known models, and what there is of the new one.

Not here: asking (`routewright.collect.probing`), forecasts (`newcomer.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from routewright.errors import TableError
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.dense import load
from routewright.outcomes.probes import nothing_shared
from routewright.outcomes.table import collect, together
from routewright.types import Floats, Ints


@dataclass(frozen=True)
class Recorded:
    """Answers of the new model: rows of the known table, scores, and what the calls cost, USD."""

    rows: Ints
    score: Floats
    cost_usd: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def joined(self, rows: Ints, frame: pl.DataFrame, known: Outcomes) -> Recorded:
        """With the answers of `frame` to some of the queries `rows`."""
        more = _of(frame, {(known.queries[i].dataset, known.queries[i].query_id): int(i) for i in rows.tolist()})
        return Recorded(
            np.concatenate([self.rows, more.rows]),
            np.concatenate([self.score, more.score]),
            np.concatenate([self.cost_usd, more.cost_usd]),
        )


def read_tables(paths: Sequence[Path], model: str) -> tuple[Outcomes, Recorded]:
    """Outcomes of all models but `model`, and the answers of `model` to queries they have all answered.

    Raises:
        TableError: No other model, or what `load` raises.
    """
    whole = together(paths)
    of = pl.col("model")
    names = collect(whole.frame.select(of.unique()), whole.path)["model"].to_list()
    others = sorted(n for n in names if n != model)
    if not others:
        raise TableError(f"{whole.name} has no model but {model!r}. Expected outcomes of the models that are known.")
    known = load(replace(whole, frame=whole.frame.filter(of != model)), others)
    mine = collect(whole.frame.filter(of == model), whole.path)
    place = {(q.dataset, q.query_id): i for i, q in enumerate(known.queries)}
    found = _of(mine, place)
    if mine.height and not len(found):
        raise nothing_shared(whole.name, model, mine.height)
    return known, found


def _of(frame: pl.DataFrame, place: dict[tuple[str, str], int]) -> Recorded:
    """Several samples of one query are averaged."""
    means = frame.group_by("dataset", "query_id", maintain_order=True).agg(pl.col("score", "cost_usd").mean())
    kept = [(place[d, q], s, c) for d, q, s, c in means.iter_rows() if (d, q) in place]
    return Recorded(
        np.asarray([k[0] for k in kept], dtype=np.int64),
        np.asarray([k[1] for k in kept], dtype=np.float64),
        np.asarray([k[2] for k in kept], dtype=np.float64),
    )
