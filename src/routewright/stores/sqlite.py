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
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
from pydantic import Field

from routewright import config
from routewright.errors import StoreError
from routewright.stores.base import Feedback, Record, Store
from routewright.stores.summary import MOST, TIMED, Row, Summary, summed

_TOGETHER_S = 0.05  # how long a record waits for others
_BATCH = 1000  # records in a commit at most
_ROWS = 8  # at most 2^8 records a statement, well within SQLite's 32,766 values
_SWEEP_S = 600.0  # between deletions of what is too old
_FIELDS = tuple(f.name for f in fields(Record))
_TYPES = {"trace_id": "text primary key", "trace": "blob", "query": "text", "response": "text", "first_token_s": "real"}
_LISTED = tuple(n for n in _FIELDS if n not in ("query", "response", "trace"))  # of a record in a list
_SCHEMA = f"""
create table if not exists decisions ({", ".join(f"{n} {_TYPES.get(n, '')}" for n in _FIELDS)});
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """Work for the writer that somebody waits for: it is committed at once."""

    do: Callable[[sqlite3.Connection], Any]
    done: Future[Any]


class SQLite(Store):
    """One writer thread, one file."""

    kind = "sqlite"
    summary = "one file, one writer thread; what is committed survives a loss of power"

    class Config(config.Config):
        path: str = Field(min_length=1, description="the file")
        queue: int = Field(50_000, ge=1, description="records that may wait; above, they are lost and counted")

    def __init__(self, config: Config | None = None, retain_s: float = 0.0) -> None:
        super().__init__(config, retain_s)
        self._path = Path(self.config.path)
        self._queue: deque[Record | _Asked | None] = deque()
        self._wake, self._urgent = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        if self._thread is None:
            await asyncio.to_thread(self._prepare)
            self._thread = threading.Thread(target=self._write, name="routewright-store", daemon=True)
            self._thread.start()

    def record(self, record: Record) -> None:
        if len(self._queue) >= self.config.queue:
            self.lost += 1
            self.error = f"{self.config.queue} records wait to be written"
            return
        self._queue.append(record)
        if not self._wake.is_set():  # a wake-up a batch: one a record would make two threads fight for the interpreter
            self._wake.set()

    async def feedback(self, feedback: Feedback) -> bool:
        values = tuple(getattr(feedback, n) for n in ("trace_id", "name", "score", "comment", "key", "at"))

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
        return _record(rows[0]) if rows else None

    async def spent_usd(self, key: str, since: float) -> float:
        query = "select coalesce(sum(cost_usd), 0) from decisions where key = ? and at >= ?"
        return float((await self._ask(lambda db: db.execute(query, (key, since)).fetchone()))[0])

    async def judged(self) -> list[tuple[Record, Feedback]]:
        await self._ask(lambda db: None)  # what waits is written first
        return await asyncio.to_thread(self._judged)

    async def recent(self, limit: int, before: float = math.inf) -> list[Record]:
        def read(db: sqlite3.Connection) -> list[Any]:
            return db.execute(
                f"select {', '.join(_LISTED)} from decisions where at < ? order by at desc limit ?", (before, limit)
            ).fetchall()

        rows = await asyncio.to_thread(self._read, read)
        blank = {"query": None, "response": None, "trace": b""}
        return [_record([(dict(zip(_LISTED, row, strict=True)) | blank)[n] for n in _FIELDS]) for row in rows]

    async def over_time(self, since: float, until: float, bucket_s: float) -> Summary:
        span = {"since": since, "until": until, "bucket_s": bucket_s}

        def read(db: sqlite3.Connection) -> tuple[list[Any], list[Any]]:
            return db.execute(_SUMMARY, span).fetchall(), db.execute(_LATENCIES, span).fetchall()

        found, times = await asyncio.to_thread(self._read, read)
        rows = [Row(row[0], msgspec.json.decode(row[1]), *row[2:]) for row in found]
        whole = sum(row.requests for row in rows) < MOST
        return summed(rows, [t for (t,) in times], since, until, bucket_s, whole)

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

    async def aclose(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._put(None)
            await asyncio.to_thread(thread.join)

    async def _ask(self, do: Callable[[sqlite3.Connection], Any]) -> Any:
        """Have the writer do something after all that was recorded before, and wait until it is committed."""
        if self._thread is None:
            raise StoreError(f"The store {self._path} is not open. Expected `await store.open()` first.")
        asked = _Asked(do, Future())
        self._put(asked)
        return await asyncio.wrap_future(asked.done)

    def _put(self, item: _Asked | None) -> None:
        self._queue.append(item)
        self._urgent.set()
        self._wake.set()

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
        swept, open_ = 0.0, True
        while open_:
            batch = self._take()
            open_ = None not in batch
            records = [item for item in batch if isinstance(item, Record)]
            answers: list[tuple[_Asked, Any]] = []
            try:
                db = db or self._connect()
                db.execute("begin immediate")
                self._store(db, records)
                answers.extend((item, self._done(db, item)) for item in batch if isinstance(item, _Asked))
                if self.retain_s and time.monotonic() - swept > _SWEEP_S:
                    self._sweep(db)
                    swept = time.monotonic()
                db.execute("commit")
                self.error = next((str(value) for _, value in answers if isinstance(value, StoreError)), "")
            except Exception as error:  # a full disk, a file taken away: requests go on, the loss is counted
                self.lost += len(records)
                self.error = f"{type(error).__name__}: {error}"
                answers = []
                if db is not None:
                    with contextlib.suppress(sqlite3.Error):
                        db.close()
                    db = None
            told = {id(item) for item, _ in answers}
            for asked, value in answers:
                _tell(asked.done, value)
            for item in batch:
                if isinstance(item, _Asked) and id(item) not in told:
                    _tell(item.done, StoreError(f"The store {self._path} can not be used ({self.error})."))
        if db is not None:
            db.close()

    def _done(self, db: sqlite3.Connection, asked: _Asked) -> Any:
        """What somebody waits for; its failure is theirs alone, the records beside it are kept."""
        try:
            return asked.do(db)
        except sqlite3.Error as error:
            return StoreError(f"The store {self._path} can not be used ({type(error).__name__}: {error}).")

    def _take(self) -> list[Record | _Asked | None]:
        """The next batch: what has come a moment after the first, or at once where somebody waits. None is the end."""
        self._wake.wait()
        self._urgent.wait(_TOGETHER_S)
        self._wake.clear()
        self._urgent.clear()
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]
        if self._queue:
            self._urgent.set()
            self._wake.set()
        return batch

    @staticmethod
    def _store(db: sqlite3.Connection, records: Sequence[Record]) -> None:
        """Many rows a statement: SQLite is entered, and the interpreter let go and asked for again, once for them all.

        Row by row the two threads would hand the interpreter to and fro for each, which slows down whoever serves.
        """
        marks, at = f"({', '.join('?' * len(_FIELDS))})", 0
        while at < len(records):
            rows = 1 << min(_ROWS, (len(records) - at).bit_length() - 1)  # a power of two: few statements are prepared
            values = [value for record in records[at : at + rows] for value in _row(record)]
            db.execute(f"insert or replace into decisions ({_names()}) values {', '.join([marks] * rows)}", values)
            at += rows

    def _sweep(self, db: sqlite3.Connection) -> None:
        before = (time.time() - self.retain_s,)
        db.execute("delete from feedback where trace_id in (select trace_id from decisions where at < ?)", before)
        db.execute("delete from decisions where at < ?", before)

    def _judged(self) -> list[tuple[Record, Feedback]]:
        columns = ", ".join(f"d.{n}" for n in _FIELDS)
        with contextlib.closing(self._connect()) as db:
            rows = db.execute(
                f"select {columns}, f.trace_id, f.score, f.name, f.comment, f.key, f.at from feedback f "
                "join decisions d on d.trace_id = f.trace_id order by d.at, f.at"
            ).fetchall()
        n = len(_FIELDS)
        return [(_record(row[:n]), Feedback(*row[n:])) for row in rows]


def _grown(db: sqlite3.Connection) -> None:
    """Columns that a file of an earlier version lacks; theirs stay empty in what it holds."""
    has = {row[1] for row in db.execute("pragma table_info(decisions)")}
    if has:
        for name in _FIELDS:
            if name not in has:
                db.execute(f"alter table decisions add column {name} {_TYPES.get(name, '')}")
    db.execute("drop index if exists decisions_at")  # decisions_over_time begins like it


def _names() -> str:
    return ", ".join(_FIELDS)


def _row(record: Record) -> tuple[Any, ...]:
    row = [getattr(record, name) for name in _FIELDS]
    row[_FIELDS.index("models")] = msgspec.json.encode(record.models).decode()
    return tuple(row)


def _record(row: Sequence[Any]) -> Record:
    facts = dict(zip(_FIELDS, row, strict=True))
    facts["models"] = tuple(msgspec.json.decode(facts["models"]))
    facts["streamed"], facts["estimated"] = bool(facts["streamed"]), bool(facts["estimated"])
    return Record(**facts)


def _tell(done: Future[Any], value: Any) -> None:
    with contextlib.suppress(InvalidStateError):  # whoever waited may have gone
        if isinstance(value, BaseException):
            done.set_exception(value)
        else:
            done.set_result(value)
