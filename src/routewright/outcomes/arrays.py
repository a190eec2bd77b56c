"""An outcome table in memory: dense arrays, which scorers fit and the evaluation replays.

Not here: reading a table (`dense.py`), which needs polars; whatever serves has these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from routewright.errors import TableError, UnknownName
from routewright.outcomes.split import group_ids
from routewright.types import Floats, Ints, Query


@dataclass(frozen=True)
class Outcomes:
    """What every model of a pool did on every query.

    Arrays are [Q, M], queries by models. Several samples of one model on one query are averaged. Token counts and
    latency hold NaN where the table has none.
    """

    name: str
    queries: tuple[Query, ...]
    models: tuple[str, ...]
    quality: Floats
    cost_usd: Floats
    tokens_in: Floats
    tokens_out: Floats
    latency_s: Floats
    score_kind: str
    cost_source: str = ""
    tokens_source: str = ""
    dropped: dict[str, int] = field(default_factory=dict)  # why -> queries left out
    keys: Ints | None = None  # equal within a row where two replies say the same, -1: nothing comparable

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def groups(self) -> Ints:
        """[Q] equal where the normalised query texts are equal."""
        return group_ids([q.text for q in self.queries])

    @cached_property
    def strata(self) -> tuple[str, ...]:
        """[Q] data set and task of each query, the label that splits are stratified by."""
        return tuple(f"{q.dataset}/{q.task}" for q in self.queries)

    def take(self, rows: Ints | Sequence[int]) -> Outcomes:
        """The same table for some of its queries."""
        rows = np.asarray(rows, dtype=np.int64)
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        keys = None if self.keys is None else self.keys[rows]
        return replace(self, queries=tuple(self.queries[i] for i in rows), keys=keys, **arrays)

    def with_models(self, models: Sequence[str]) -> Outcomes:
        """The same table for some of its models, in the order given."""
        index = {name: i for i, name in enumerate(self.models)}
        unknown = [name for name in models if name not in index]
        if unknown:
            raise UnknownName(f"model of {self.name}", unknown[0], self.models)
        columns = [index[name] for name in models]
        arrays = {name: getattr(self, name)[:, columns] for name in _ARRAYS}
        keys = None if self.keys is None else self.keys[:, columns]
        return replace(self, models=tuple(models), keys=keys, **arrays)


_ARRAYS = ("quality", "cost_usd", "tokens_in", "tokens_out", "latency_s")


def concat(name: str, tables: Sequence[Outcomes]) -> Outcomes:
    """Several tables as one stream over the models they share; `TableError` if that is fewer than two."""
    kinds = sorted({t.score_kind for t in tables})
    if len(kinds) > 1:
        raise TableError(f"Scores of kind {' and '.join(kinds)} can not be pooled. Evaluate those tables apart.")
    shared = [m for m in tables[0].models if all(m in t.models for t in tables[1:])]
    if len(shared) < 2:
        raise TableError(
            f"{', '.join(t.name for t in tables)} share {len(shared)} model(s); a stream needs at least 2."
        )
    parts = [t.with_models(shared) for t in tables]
    arrays = {key: np.concatenate([getattr(t, key) for t in parts]) for key in _ARRAYS}
    dropped: dict[str, int] = {}
    for t in parts:
        for why, n in t.dropped.items():
            dropped[why] = dropped.get(why, 0) + n
    return Outcomes(
        name,
        tuple(q for t in parts for q in t.queries),
        tuple(shared),
        score_kind=kinds[0],
        cost_source=joined(t.cost_source for t in parts),
        tokens_source=joined(t.tokens_source for t in parts),
        dropped=dropped,
        keys=None
        if any(t.keys is None for t in parts)
        else np.concatenate([t.keys for t in parts if t.keys is not None]),
        **arrays,
    )


def joined(values: object) -> str:
    """What stands in a column, once each."""
    return "; ".join(sorted({v for v in values if v}))[:200]  # type: ignore[attr-defined]


def sampled(table: Outcomes, queries: int, models: int, seed: int = 0) -> Outcomes:
    """At most so many queries and models of a table, drawn blindly, in the table's order."""
    if len(table) > queries:
        table = table.take(np.sort(np.random.default_rng(seed).permutation(len(table))[:queries]))
    if len(table.models) > models:
        kept = np.sort(np.random.default_rng(seed).permutation(len(table.models))[:models])
        table = table.with_models([table.models[m] for m in kept])
    return table
