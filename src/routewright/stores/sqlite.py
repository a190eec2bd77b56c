"""`sqlite`: records in one file, written by one thread in batches.

A record waits at most some 50 ms for others to share its commit, so that a process that is killed loses no more than the
last moments; feedback is committed at once and acknowledged afterwards. WAL with full synchronisation: what is committed
survives a loss of power. Single records are read by the writer, after all that waits; whole tables by a connection of their
own, in a worker thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from routewright import config
from routewright.errors import StoreError
from routewright.stores.base import Feedback, Record
from routewright.stores.rows import FEEDBACK, FIELDS, feedback_of, judged_of, record_of, row_of
from routewright.stores.writer import Asked, Written, tell

_SWEEP_S = 600.0  # between deletions of what is too old
_TYPES = {"trace_id": "text primary key", "trace": "blob", "query": "text", "response": "text", "first_token_s": "real"}
_SCHEMA = f"""
create table if not exists decisions ({", ".join(f"{n} {_TYPES.get(n, '')}" for n in FIELDS)});
create index if not exists decisions_at on decisions (at);
create index if not exists decisions_key on decisions (key, at);
create table if not exists feedback (trace_id text, name text, score real, comment text, key text, at real,
  primary key (trace_id, name)) without rowid;
"""
FORMAT = 1  # user_version of the file


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

    def _prepare(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect()) as db:
                found = db.execute("pragma user_version").fetchone()[0]
                if found not in (0, FORMAT):
                    raise StoreError(
                        f"The store {self._path} has format {found}, this version reads {FORMAT}. Use another path."
                    )
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
        marks = ", ".join("?" * len(FIELDS))
        db.executemany(f"insert or replace into decisions values ({marks})", [row_of(r) for r in records])

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


def _names() -> str:
    return ", ".join(FIELDS)
