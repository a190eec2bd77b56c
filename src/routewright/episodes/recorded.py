"""Recorded worlds: a pool whose answers were recorded, in two faces.

`recorded_pool` is for the engine: an ordinary pool whose provider looks answers up. `RecordedWorld` holds the same as
arrays, for the batched face. A table holds one independent answer per (query, model), so a model may be asked once and
nothing else is legal; a response tree (`recorded_tree`) also holds replies that saw earlier ones.

The most a call can cost there: with prices and a declared `max_tokens`, prompt tokens and the reply's limit times prices;
otherwise the most any recorded call of the model cost. A recorded call above its bound is an overrun, as it would be live.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from routewright.errors import TableError, UnrecordedBranch
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.dense import load
from routewright.outcomes.table import Scan, collect, files_of, read
from routewright.policies.observe import NO_CAP
from routewright.pools.budget import PICO, pico
from routewright.pools.pool import Judge, Pool, Rules, pool_of
from routewright.pools.providers.recorded import PLAIN, Cell, Key, Recorded
from routewright.types import Bools, Ints, ModelCard, Query, Reply

PATH = "path"  # column of a response tree: JSON list of the replies shown, each a model, or model/role
ROLE = "role"  # column of a response tree: what the call was asked for; "answer" without replies, else "refine"


@dataclass(frozen=True)
class RecordedWorld:
    """A table of independent answers as arrays over Q queries and M models; money in pico-dollars."""

    outcomes: Outcomes
    keys: Ints  # [Q, M] equal within a row where two replies say the same; -1: nothing comparable
    cost: Ints  # [Q, M]
    worst: Ints  # [M] the most a call can cost
    failed: Bools  # [Q, M] calls that gave no usable reply; they cost all the same

    def __post_init__(self) -> None:
        if (self.failed & (self.outcomes.quality > 0)).any():
            raise TableError("A call that failed can not have a score above 0. Expected failed cells to score 0.")

    @property
    def models(self) -> tuple[str, ...]:
        return self.outcomes.models

    def take(self, rows: Ints | Sequence[int]) -> RecordedWorld:
        """The same world for some of its queries."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            outcomes=self.outcomes.take(rows),
            keys=self.keys[rows],
            cost=self.cost[rows],
            failed=self.failed[rows],
        )


def world_of(
    outcomes: Outcomes,
    cards: Sequence[ModelCard] = (),
    max_tokens: int | None = None,
    failed: Bools | None = None,
) -> RecordedWorld:
    """The arrays of a table.

    Args:
        outcomes: Loaded with keys, or without: then no two answers are known to agree.
        cards: Prices, for bounds from tokens; needs `max_tokens`.
        max_tokens: The declared limit of a reply.
        failed: [Q, M] calls that count as failures.
    """
    keys = outcomes.keys if outcomes.keys is not None else np.full(outcomes.quality.shape, -1)
    failures = failed if failed is not None else np.zeros(outcomes.quality.shape, dtype=bool)
    cost = np.ceil(np.round(outcomes.cost_usd * PICO, 3)).astype(np.int64)
    worst = cost.max(axis=0)
    if max_tokens is not None:
        by_name = {c.name: c for c in cards}
        for m, name in enumerate(outcomes.models):
            card = by_name.get(name)
            if card is None or card.usd_per_mtok_in is None or card.usd_per_mtok_out is None:
                raise TableError(f"A bound from max_tokens needs prices of {name!r}. Expected a card with both prices.")
            most_in = np.nanmax(outcomes.tokens_in[:, m])
            worst[m] = pico((most_in * card.usd_per_mtok_in + max_tokens * card.usd_per_mtok_out) / 1e6)
    quiet = np.where(failures, -1, keys)
    return RecordedWorld(outcomes, quiet, cost, np.minimum(worst, NO_CAP), failures)


def recorded_pool(world: RecordedWorld, texts: Mapping[tuple[str, str, str], str] | None = None) -> Pool:
    """The same world for the engine.

    Args:
        world: The arrays.
        texts: (data set, query id, model) -> reply. Without them a reply is a stand-in; who agrees with whom is known
            all the same, which is enough for every policy that reads no text.
    """
    o = world.outcomes
    cells: dict[Key, Cell] = {}
    for q, query in enumerate(o.queries):
        for m, model in enumerate(o.models):
            text = None if texts is None else texts.get((query.dataset, query.query_id, model))
            if text is None:
                text = f"(the reply of {model} was not kept)"
            cells[query.dataset, query.query_id, model, 0, (), "answer"] = Cell(
                text,
                float(o.quality[q, m]),
                float(world.cost[q, m]) / PICO,
                _tokens(o.tokens_in[q, m]),
                _tokens(o.tokens_out[q, m]),
                0.0 if np.isnan(o.latency_s[q, m]) else float(o.latency_s[q, m]),
                bool(world.failed[q, m]),
                None if world.keys[q, m] < 0 else str(world.keys[q, m]),
            )
    worst = {name: float(w) / PICO for name, w in zip(o.models, world.worst, strict=True)}
    provider = Recorded.of(cells, worst, o.name)
    cards = [ModelCard(name) for name in o.models]
    return pool_of(cards, provider, Rules(once=True, alone=True, clock=True), _judge(cells, o.name))


def recorded_tree(path: str | Path | Scan, models: Sequence[str] | None = None) -> Pool:
    """A response tree: a table with a column `path`, the replies each call was shown, and by choice `role`.

    Later replies depend on earlier ones, so calls with `context = "transcript"` are legal along recorded paths; any
    other raises `UnrecordedBranch`.
    """
    scan = path if isinstance(path, Scan) else read(path)
    columns = ("dataset", "query_id", "model", "sample", PATH, ROLE, "response", "score", "cost_usd")
    more = ("prompt_tokens", "completion_tokens", "latency_s")
    frame = with_paths(scan).select(*columns, *more)
    if models is not None:
        frame = frame.filter(pl.col("model").is_in(list(models)))
    cells: dict[Key, Cell] = {}
    worst: dict[str, float] = {}
    rows = collect(frame, scan.path).iter_rows()
    for dataset, query_id, model, sample, shown, role, text, score, cost, t_in, t_out, latency in rows:
        try:
            along = tuple(json.loads(shown or "[]"))
        except (json.JSONDecodeError, TypeError) as error:
            raise TableError(
                f"{scan.path}: {PATH} = {shown!r} of query {query_id!r} is no JSON list of models."
            ) from error
        asked = role or ("refine" if along else "answer")
        key = (dataset, query_id, model, sample, along, "answer" if asked in PLAIN else asked)
        if key in cells:
            raise TableError(f"{scan.path}: {query_id!r}, {model!r}, sample {sample}, {PATH} {shown} is there twice.")
        cells[key] = Cell(text or "", score, cost, t_in or 0, t_out or 0, latency or 0.0, failed=text is None)
        worst[model] = max(worst.get(model, 0.0), cost)
    names = list(models) if models is not None else sorted(worst)
    provider = Recorded.of(cells, worst, scan.name)
    return pool_of([ModelCard(n) for n in names], provider, Rules(clock=True), _judge(cells, scan.name))


def with_paths(scan: Scan) -> pl.LazyFrame:
    """The rows of a response tree with their path, and their role where there is one; `TableError` if it is none."""
    raw = pl.concat([pl.scan_parquet(f) for f in files_of(scan.path)])
    if PATH not in raw.collect_schema():
        raise TableError(
            f"{scan.path} has no column {PATH}. Expected a response tree: an outcome table with, for every row, the JSON "
            'list of the replies the call was shown, each a model, or model/role ("[]" for none).'
        )
    role = ROLE if ROLE in raw.collect_schema() else pl.lit(None, pl.String).alias(ROLE)
    return pl.concat([scan.frame, raw.select(PATH, role)], how="horizontal")


def read_world(path: str | Path, models: Sequence[str] | None = None) -> RecordedWorld:
    """A table of independent answers as a world, with answer keys."""
    return world_of(load(path, models, keys=True))


def _judge(cells: Mapping[Key, Cell], name: str) -> Judge:
    """The recorded score of the reply that became the answer. A text nobody recorded has none, and raises."""
    by_text: dict[tuple[str, str, str, str], float | None] = {}
    for (dataset, query_id, model, *_), cell in cells.items():
        by_text.setdefault((dataset, query_id, model, cell.text), cell.score)

    async def judge(query: Query, reply: Reply | None, answer: str) -> float | None:
        if reply is None:
            if answer:
                raise UnrecordedBranch(
                    f"{name} can not score an answer that no recorded model gave ({answer[:60]!r}). Expected one of its "
                    "replies; run policies that write answers of their own on a live pool, with a metric."
                )
            return 0.0
        return by_text[query.dataset, query.query_id, reply.model, answer]

    return judge


def _tokens(value: float) -> int:
    return 0 if np.isnan(value) else round(value)
