"""Probes of a new model: queries that it has answered, and that the models of a pool have answered too.

Not here: what is made of them (`routewright.policies.hops_newcomer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from routewright.errors import TableError
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.dense import load
from routewright.outcomes.table import Scan, collect, read


def load_probes(paths: Sequence[str | Path], models: Sequence[str], new: str) -> tuple[Outcomes, Outcomes | None]:
    """The pool's outcomes with keys, and those of the pool and the new model, which comes last, on queries all have answered.

    Args:
        paths: Outcome tables; the new model's replies may stand in one of their own, under the ids of the same queries.
        models: The pool.
        new: A model that is not in it.

    Returns:
        None in the second place where no table has a reply of the new model.

    Raises:
        TableError: The new model was asked other queries than the pool, or what `load` raises.
    """
    scans = [read(path) for path in paths]
    name = "+".join(scan.name for scan in scans)
    absent = tuple(column for column in scans[0].absent if all(column in scan.absent for scan in scans))
    frame = pl.concat([scan.frame for scan in scans])
    whole = Scan(name, scans[0].path, frame, absent)
    known = load(whole, models, keys=True)
    ids = frame.filter(pl.col("model") == new).select("dataset", "query_id").unique()
    answered = collect(ids, scans[0].path)
    if not answered.height:
        return known, None
    shared = {(q.dataset, q.query_id) for q in known.queries} & set(answered.iter_rows())
    if not shared:
        raise TableError(
            f"{name}: {new!r} has answered {answered.height} queries and the other models none of them. Expected queries under the "
            "ids they have there: a probe says something only beside the others' replies."
        )
    mine = pl.LazyFrame(sorted(shared), schema=["dataset", "query_id"], orient="row")
    probes = Scan(name, scans[0].path, frame.join(mine, on=["dataset", "query_id"], how="semi"), absent)
    return known, load(probes, [*models, new], keys=True)
