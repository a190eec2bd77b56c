"""Probes of a new model: queries that it has answered, and that the models of a pool have answered too.

Not here: what is made of them (`routewright.policies.hops_newcomer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from routewright.errors import TableError
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.dense import load
from routewright.outcomes.table import collect, together


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
    whole = together(paths)
    known = load(whole, models, keys=True)
    ids = whole.frame.filter(pl.col("model") == new).select("dataset", "query_id").unique()
    answered = collect(ids, whole.path)
    if not answered.height:
        return known, None
    shared = {(q.dataset, q.query_id) for q in known.queries} & set(answered.iter_rows())
    if not shared:
        raise nothing_shared(whole.name, new, answered.height)
    mine = pl.LazyFrame(sorted(shared), schema=["dataset", "query_id"], orient="row")
    probes = replace(whole, frame=whole.frame.join(mine, on=["dataset", "query_id"], how="semi"))
    return known, load(probes, [*models, new], keys=True)


def nothing_shared(table: str, model: str, answered: int) -> TableError:
    """What to say where a new model has answered queries that the others have not."""
    return TableError(
        f"{table}: {model!r} has answered {answered} queries and the other models none of them. Expected queries under the "
        "ids they have there: a probe says something only beside the others' replies."
    )
