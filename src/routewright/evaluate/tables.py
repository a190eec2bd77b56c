"""From paths to the units of an evaluation: which table is judged how.

Tables given side by side are judged each on its own pool. Where all of them share at least two models and one kind of
score, a further unit `stream` merges them over those models: one router for the mixture, which is where routing pays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from routewright.errors import TableError
from routewright.evaluate.crossfit import Unit
from routewright.outcomes import Outcomes, Scan, load, normalise, read
from routewright.outcomes.arrays import concat
from routewright.outcomes.table import collect

STREAM = "stream"
_SIMULATED = "simulated"


@dataclass(frozen=True)
class Plan:
    """The units, the name of the one that pools all others as one stream (if any), and what to tell the reader."""

    units: tuple[Unit, ...]
    stream: str | None
    notes: tuple[str, ...]


def plan(
    train: Sequence[Path],
    test: Sequence[Path] = (),
    *,
    models: Sequence[str] | None = None,
    streams: Mapping[str, Sequence[str]] | None = None,
    reprice: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None,
    keys: bool = False,
) -> Plan:
    """Load the tables and decide how each is judged.

    Args:
        train: Tables to cross-fit on, or to train on where `test` is given.
        test: Tables to judge on. Each is paired with the training table of the same name; without one, with all
            training tables merged. Queries whose normalised text was seen in training are dropped and counted.
        models: Only these models.
        streams: Name -> names of tables to be judged, in addition, as one stream.
        reprice: Applied to each table's rows before loading.
        keys: Read the replies too, where a table kept them, and reduce them to answer keys; for policies of several calls.
    """

    def open_all(paths: Sequence[Path]) -> list[Outcomes]:
        scans = [_open(p, reprice) for p in paths]
        tables = [load(scan, models, keys=keys and _kept_replies(scan)) for scan in scans]
        names = [t.name for t in tables]
        for name in names:
            if names.count(name) > 1:
                raise TableError(f"Two tables are called {name!r}. Expected different file names; rename one of them.")
        return tables

    trained = open_all(train)
    judged = _pairs(trained, open_all(test)) if test else [Unit(t.name, t) for t in trained]
    notes = [f"{u.name}: {n} left out ({why})" for u in judged for why, n in u.judged.dropped.items()]
    notes += [
        f"{u.name} is a simulated pool: its figures show that the software works, not what routing saves."
        for u in judged
        if _SIMULATED in u.judged.cost_source or any(q.dataset == _SIMULATED for q in u.judged.queries[:1])
    ]
    notes += [f"{u.name} has only {len(u.judged)} queries: wide intervals." for u in judged if len(u.judged) < 400]
    extra, whole = [], None
    for name, members in (streams or {}).items():
        unknown = [m for m in members if m not in {u.name for u in judged}]
        if unknown or name in {u.name for u in judged}:
            what = f"names {unknown[0]!r}, which is not among the tables" if unknown else "is also the name of a table"
            raise TableError(f"--stream {name} {what}. Tables: {', '.join(u.name for u in judged)}.")
        extra.append(_merge(name, [u for u in judged if u.name in members]))
    if len(judged) > 1 and STREAM not in {u.name for u in [*judged, *extra]} and _mergeable(judged):
        extra.append(_merge(STREAM, judged))
        whole = STREAM
    return Plan((*judged, *extra), whole, tuple(notes))


def _open(path: Path, reprice: Callable[[pl.LazyFrame], pl.LazyFrame] | None) -> Scan:
    scan = read(path)
    return scan if reprice is None else replace(scan, frame=reprice(scan.frame))


def _kept_replies(scan: Scan) -> bool:
    """Whether a table has the text of any reply; a column of nulls is as good as none."""
    if "response" in scan.absent:
        return False
    return bool(collect(scan.frame.select(pl.col("response").is_not_null().any()), scan.path).item())


def _pairs(trained: Sequence[Outcomes], tests: Sequence[Outcomes]) -> list[Unit]:
    by_name = {t.name: t for t in trained}
    seen = {normalise(q.text) for t in trained for q in t.queries}
    units = []
    for test in tests:
        if test.name in by_name:
            train = by_name[test.name]
        elif len(trained) == 1:
            train = trained[0]
        else:
            train = concat(f"all training tables for {test.name}", trained)
        shared = [m for m in train.models if m in test.models]
        if len(shared) < 2:
            raise TableError(
                f"{test.name} shares {len(shared)} model(s) with {train.name}; a router can only be judged on models "
                "it was trained on, and needs at least 2."
            )
        fresh = np.array([normalise(q.text) not in seen for q in test.queries])
        dropped = dict(test.dropped)
        if not fresh.all():
            dropped["queries seen in training"] = int((~fresh).sum())
        lost = len(test.models) - len(shared)
        if lost:
            dropped["models not trained on"] = lost
        kept = replace(test.take(np.flatnonzero(fresh)).with_models(shared), dropped=dropped)
        units.append(Unit(test.name, train.with_models(shared), kept))
    return units


def _mergeable(units: Sequence[Unit]) -> bool:
    shared = set.intersection(*(set(u.train.models) for u in units))
    return len(shared) >= 2 and len({u.judged.score_kind for u in units}) == 1


def _merge(name: str, units: Sequence[Unit]) -> Unit:
    train = concat(name, [u.train for u in units])
    tests = [u.test for u in units if u.test is not None]
    return Unit(name, train, concat(name, tests) if tests else None, stream=True)
