"""`sqlite`: records in one file, written by one thread in batches.

A record waits at most some 50 ms for others to share its commit, so that a process that is killed loses no more than the
last moments; feedback is committed at once and acknowledged afterwards. WAL with full synchronisation: what is committed
survives a loss of power. Single records are read by the writer, after all that waits; whole tables by a connection of their
own, in a worker thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from routewright import config
from routewright.errors import StoreError
from routewright.stores.base import Feedback, Record
from routewright.stores.rows import (
    FEEDBACK,
    FIELDS,
    LISTED,
    feedback_of,
    judged_of,
    listed_of,
    record_of,
    row_of,
    summary_of_rows,
)
from routewright.stores.summary import MOST, TIMED, Summary
from routewright.stores.writer import Asked, Written, tell

_ROWS = 8  # at most 2^8 records a statement, well within SQLite's 32,766 values
_SWEEP_S = 600.0  # between deletions of what is too old
_TYPES = {"trace_id": "text primary key", "trace": "blob", "query": "text", "response": "text", "first_token_s": "real"}
_SCHEMA = f"""
create table if not exists decisions ({", ".join(f"{n} {_TYPES.get(n, '')}" for n in FIELDS)});
create index if not exists decisions_over_time on decisions (at, status, cost_usd, baseline_usd, latency_s, models);
create index if not exists decisions_key on decisions (key, at);
create table if not exists feedback (trace_id text, name text, score real, comment text, key text, at real,
  primary key (trace_id, name)) without rowid;
"""
FORMAT = 1  # user_version of the file
_READ_S = 10.0  # the longest a list or a summary may take to read
_SUMMARY = f"""
select cast((at - :since) / :bucket_s as integer) bucket, models, count(*), sum(status >= 500), sum(cost_usd),
  sum(case when baseline_usd is null then 0.0 else cost_usd end), coalesce(sum(baseline_usd), 0.0)
from (select at, status, cost_usd, baseline_usd, models from decisions where at >= :since and at < :until
  order by at desc limit {MOST})
group by 1, 2
"""
_LATENCIES = f"select latency_s from decisions where at >= :since and at < :until order by at desc limit {TIMED}"


class SQLite(Written):
    """One writer thread, one file."""

    kind = "sqlite"
    summary = "one file, one writer thread; what is committed survives a loss of power"

    class Config(config.Config):
        path: str = Field(min_length=1, description="the file")
        queue: int = Field(50_000, ge=1, description="records that may wait; above, they are lost and counted")

    def __init__(self, config: Config | None = None, retain_s: float = 0.0) -> None:
        super().__init__(config, retain_s)
        self._path = Path(self.config.path)

    @property
    def _named(self) -> str:
        return str(self._path)

    async def open(self) -> None:
        if self._thread is None:
            await asyncio.to_thread(self._prepare)
            self._start()

    async def feedback(self, feedback: Feedback) -> bool:
        values = feedback_of(feedback)

        def put(db: sqlite3.Connection) -> bool:
            known = db.execute("select 1 from decisions where trace_id = ?", (feedback.trace_id,)).fetchone()
            if known is not None:
                db.execute("insert or replace into feedback values (?, ?, ?, ?, ?, ?)", values)
            return known is not None

        return bool(await self._ask(put))

    async def find(self, trace_id: str) -> Record | None:
        rows = await self._ask(
            lambda db: db.execute(f"select {_names()} from decisions where trace_id = ?", (trace_id,)).fetchall()
        )
        return record_of(rows[0]) if rows else None

    async def spent_usd(self, key: str, since: float) -> float:
        query = "select coalesce(sum(cost_usd), 0) from decisions where key = ? and at >= ?"
        return float((await self._ask(lambda db: db.execute(query, (key, since)).fetchone()))[0])

    async def judged(self) -> list[tuple[Record, Feedback]]:
        await self._ask(lambda db: None)  # what waits is written first
        return await asyncio.to_thread(self._judged)

    async def recent(self, limit: int, before: float = math.inf) -> list[Record]:
        query = f"select {', '.join(LISTED)} from decisions where at < ? order by at desc limit ?"
        rows = await asyncio.to_thread(self._read, lambda db: db.execute(query, (before, limit)).fetchall())
        return [listed_of(row) for row in rows]

    async def over_time(self, since: float, until: float, bucket_s: float) -> Summary:
        span = {"since": since, "until": until, "bucket_s": bucket_s}

        def read(db: sqlite3.Connection) -> tuple[list[Any], list[Any]]:
            return db.execute(_SUMMARY, span).fetchall(), db.execute(_LATENCIES, span).fetchall()

        found, times = await asyncio.to_thread(self._read, read)
        return summary_of_rows(found, times, since, until, bucket_s)

    def _read(self, do: Callable[[sqlite3.Connection], Any]) -> Any:
        """Read with a connection of its own, beside the writer and not for long; not in the event loop."""
        if self._thread is None:
            raise StoreError(f"The store {self._path} is not open. Expected `await store.open()` first.")
        until = time.monotonic() + _READ_S
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=_READ_S, isolation_level=None)) as db:
                db.execute("pragma query_only=on")
                db.set_progress_handler(lambda: time.monotonic() > until, 100_000)
                return do(db)
        except sqlite3.Error as error:
            raise StoreError(f"The store {self._path} can not be read ({type(error).__name__}: {error}).") from error

    def _prepare(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect()) as db:
                found = db.execute("pragma user_version").fetchone()[0]
                if found not in (0, FORMAT):
                    raise StoreError(
                        f"The store {self._path} has format {found}, this version reads {FORMAT}. Use another path."
                    )
                _grown(db)
                db.executescript(_SCHEMA)
                db.execute(f"pragma user_version = {FORMAT}")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The store {self._path} can not be opened ({error}). Expected an SQLite file of ours, or a free name."
            ) from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
        return db

    def _write(self) -> None:
        """The writer thread: take what has come, commit it together, tell who waits."""
        db: sqlite3.Connection | None = None
        swept, open_ = -_SWEEP_S, True
        while open_:
            batch = self._take()
            open_ = None not in batch
            records = [item for item in batch if isinstance(item, Record)]
            answers: list[tuple[Asked, Any]] = []
            try:
                db = db or self._connect()
                db.execute("begin immediate")
                self._store(db, records)
                answers.extend((item, self._done(db, item)) for item in batch if isinstance(item, Asked))
                if self.retain_s and time.monotonic() - swept > _SWEEP_S:
                    self._sweep(db)
                    swept = time.monotonic()
                db.execute("commit")
                self.error = next((str(value) for _, value in answers if isinstance(value, StoreError)), "")
            except Exception as error:  # a full disk, a file taken away: requests go on, the loss is counted
                self.lose(records)
                self.error = f"{type(error).__name__}: {error}"
                answers = []
                if db is not None:
                    with contextlib.suppress(sqlite3.Error):
                        db.close()
                    db = None
            told = {id(item) for item, _ in answers}
            for asked, value in answers:
                tell(asked.done, value)
            for item in batch:
                if isinstance(item, Asked) and id(item) not in told:
                    tell(item.done, StoreError(f"The store {self._path} can not be used ({self.error})."))
        if db is not None:
            db.close()

    def _done(self, db: sqlite3.Connection, asked: Asked) -> Any:
        """What somebody waits for; its failure is theirs alone, the records beside it are kept."""
        try:
            return asked.do(db)
        except sqlite3.Error as error:
            return StoreError(f"The store {self._path} can not be used ({type(error).__name__}: {error}).")

    @staticmethod
    def _store(db: sqlite3.Connection, records: Sequence[Record]) -> None:
        """Many rows a statement: SQLite is entered, and the interpreter let go and asked for again, once for them all.

        Row by row the two threads would hand the interpreter to and fro for each, which slows down whoever serves.
        """
        marks, at = f"({', '.join('?' * len(FIELDS))})", 0
        while at < len(records):
            rows = 1 << min(_ROWS, (len(records) - at).bit_length() - 1)  # a power of two: few statements are prepared
            values = [value for record in records[at : at + rows] for value in row_of(record)]
            db.execute(f"insert or replace into decisions ({_names()}) values {', '.join([marks] * rows)}", values)
            at += rows

    def _sweep(self, db: sqlite3.Connection) -> None:
        before = (time.time() - self.retain_s,)
        db.execute("delete from feedback where trace_id in (select trace_id from decisions where at < ?)", before)
        db.execute("delete from decisions where at < ?", before)

    def _judged(self) -> list[tuple[Record, Feedback]]:
        columns = ", ".join([*(f"d.{n}" for n in FIELDS), *(f"f.{n}" for n in FEEDBACK)])
        with contextlib.closing(self._connect()) as db:
            rows = db.execute(
                f"select {columns} from feedback f join decisions d on d.trace_id = f.trace_id order by d.at, f.at"
            ).fetchall()
        return [judged_of(row) for row in rows]


def _grown(db: sqlite3.Connection) -> None:
    """Columns that a file of an earlier version lacks; theirs stay empty in what it holds."""
    has = {row[1] for row in db.execute("pragma table_info(decisions)")}
    if has:
        for name in FIELDS:
            if name not in has:
                db.execute(f"alter table decisions add column {name} {_TYPES.get(name, '')}")
    db.execute("drop index if exists decisions_at")  # decisions_over_time begins like it


def _names() -> str:
    return ", ".join(FIELDS)
