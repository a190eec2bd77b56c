"""The journal of a collection: an SQLite file beside the table that is to come, from which any run can go on.

Three things are in it, each committed before the run relies on it:

    rows      one per answered cell; the cell's number is the primary key, so no row can come twice
    intents   calls that may be out, each with the most it can be billed; committed before the call is made
    meta      what the collection is (`facts`), and money that belongs to no row

An intent whose row never came is a call that a killed run may have paid for. The next run counts its upper bound as
spent. Commits are grouped: while one is being written the next batch gathers, so a batch is as large as the disk is
slow. One process at a time: the file is locked while open, and the lock dies with the process.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from routewright.errors import ConfigError, TableError
from routewright.pools.budget import PICO

FORM = 1
_TABLES = """
create table if not exists meta (key text primary key, value any) strict;
create table if not exists intents (cell integer primary key, pico integer not null) strict;
create table if not exists rows (
    cell integer primary key, score real not null, failed integer not null, note text not null,
    tokens_in integer, tokens_out integer, tokens_source text not null, cost_usd real not null,
    spent_pico integer not null, latency_s real, attempts text, response text) strict;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An answered cell. `spent_pico` is what the ledger was charged for it, a judge included; `cost_usd` is the model's.

    `note` tells what was odd (a failure, a fallback); `attempts` is JSON, kept only where it tells something.
    """

    cell: int
    score: float
    failed: bool
    note: str
    tokens_in: int | None
    tokens_out: int | None
    tokens_source: str
    cost_usd: float
    spent_pico: int
    latency_s: float | None
    attempts: str | None
    response: str | None


_NAMES = ", ".join(f.name for f in fields(Row))
_INSERT = f"insert into rows ({_NAMES}) values ({', '.join('?' * len(fields(Row)))})"


@dataclass(frozen=True, slots=True)
class Lost:
    """Calls that earlier runs may have paid for without an answer in the journal: how many, and the most they cost."""

    calls: int
    usd: float


def journal_path(out: Path) -> Path:
    """Where the journal of a table lies."""
    return out.with_name(f".{out.name}.collect.sqlite")


class Journal:
    """An open journal. `open` makes or resumes one; the methods with `await` may be called by many tasks at once."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self._thread = ThreadPoolExecutor(1, "journal")
        self._rows: list[Row] = []
        self._intents: list[tuple[int, int]] = []
        self._aside: list[tuple[int, int]] = []
        self._gathering: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._broken: Exception | None = None

    @classmethod
    def open(cls, path: Path, facts: Mapping[str, Any]) -> Journal:
        """Make the journal, or go on with it if it is of the same collection.

        Raises:
            ConfigError: Another process has it open, it is of another collection (what differs is said), or is no journal.
        """
        fresh = not path.exists()
        db: sqlite3.Connection | None = None
        try:
            db = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
            _compare(path, _begin(db, facts), json.loads(json.dumps(facts)))
        except BaseException as error:
            if db is not None:
                db.close()
            if not isinstance(error, sqlite3.Error):
                raise
            if "locked" in str(error):
                raise ConfigError(
                    f"{path} is in use: another process is collecting this table. Wait for it, or choose another --out."
                ) from None
            doing = "made" if fresh else "read as a journal"
            raise ConfigError(
                f"{path} can not be {doing} ({error}). Expected a folder of yours, and a journal that `collect` wrote; move "
                "the file away to begin anew."
            ) from None
        return cls(path, db)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go. What was committed stays."""
        self._thread.shutdown()
        self._db.close()

    # -- before a run

    def settle_lost(self) -> Lost:
        """Turn intents without a row into money that may be gone; returns all that was lost so far."""
        with self._db:
            self._db.execute("begin")
            calls, amount = self._db.execute("select count(*), coalesce(sum(pico), 0) from intents").fetchone()
            self._db.execute("delete from intents")
            self._add("lost_calls", calls)
            self._add("lost_pico", amount)
        return Lost(self._meta("lost_calls"), self._meta("lost_pico") / PICO)

    def forget_failed(self) -> int:
        """Take failed rows out, to be asked again; what they cost stays spent. Returns how many."""
        with self._db:
            self._db.execute("begin")
            n, amount = self._db.execute(
                "select count(*), coalesce(sum(spent_pico), 0) from rows where failed"
            ).fetchone()
            self._db.execute("delete from rows where failed")
            self._add("aside_pico", amount)
        return int(n)

    def spent_pico(self) -> int:
        """What this collection has cost so far, pico-dollars; lost calls at their upper bound."""
        (rows,) = self._db.execute("select coalesce(sum(spent_pico), 0) from rows").fetchone()
        return int(rows) + self._meta("aside_pico") + self._meta("lost_pico")

    def done(self, cells: int) -> tuple[bytearray, int]:
        """Which cells have a row, a byte each, and how many of those rows are failures."""
        marks = bytearray(cells)
        for (cell,) in self._db.execute("select cell from rows"):
            marks[cell] = 1
        (failed,) = self._db.execute("select count(*) from rows where failed").fetchone()
        return marks, failed

    # -- during a run

    def put(
        self, row: Row | None = None, intent: tuple[int, int] | None = None, aside: tuple[int, int] | None = None
    ) -> asyncio.Future[None]:
        """Hand over an answered cell, a call about to be made (cell, pico-dollars at most), or a call that gave no row
        (cell, pico-dollars charged). It will be committed whatever becomes of the caller; the future says when it is."""
        if self._broken is not None:
            raise self._broken.with_traceback(None)
        if row is not None:
            self._rows.append(row)
        if intent is not None:
            self._intents.append(intent)
        if aside is not None:
            self._aside.append(aside)
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().create_future()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return self._gathering

    async def write(
        self, row: Row | None = None, intent: tuple[int, int] | None = None, aside: tuple[int, int] | None = None
    ) -> None:
        """`put`, and wait until it is committed."""
        await asyncio.shield(self.put(row, intent, aside))

    async def flush(self) -> None:
        """Wait until nothing is left to be committed; what could not be is an error."""
        while self._writer is not None and not self._writer.done():
            await asyncio.shield(self._writer)
        if self._broken is not None:
            raise self._broken.with_traceback(None)

    async def _write_all(self) -> None:
        """Commit what has gathered, until nothing has; the first failure is the last commit."""
        loop = asyncio.get_running_loop()
        while self._gathering is not None:
            await asyncio.sleep(0)  # whoever is ready now joins this batch
            batch, self._gathering = self._gathering, None
            work = self._rows, self._intents, self._aside
            self._rows, self._intents, self._aside = [], [], []
            try:
                await loop.run_in_executor(self._thread, self._commit, *work)
            except Exception as error:
                self._broken = error
                batch.set_exception(error)
                batch.exception()  # seen, even if nobody waits any more
                return
            batch.set_result(None)

    def _commit(self, rows: list[Row], intents: list[tuple[int, int]], aside: list[tuple[int, int]]) -> None:
        try:
            self._commit_now(rows, intents, aside)
        except sqlite3.OperationalError as error:
            raise TableError(
                f"{self.path} can not be written ({error}). Expected room on the disk; make some, and run the same command "
                "again. What was committed is kept."
            ) from None

    def _commit_now(self, rows: list[Row], intents: list[tuple[int, int]], aside: list[tuple[int, int]]) -> None:
        db = self._db
        with db:
            db.execute("begin")
            if rows:
                db.executemany("delete from intents where cell = ?", [(row.cell,) for row in rows])
                db.executemany(_INSERT, map(astuple, rows))
            if aside:
                db.executemany("delete from intents where cell = ?", [(cell,) for cell, _ in aside])
                self._add("aside_pico", sum(amount for _, amount in aside))
            if intents:
                db.executemany("insert into intents values (?, ?)", intents)

    # -- after a run

    def counts(self) -> tuple[int, int]:
        """Rows, and those of them that failed."""
        rows, failed = self._db.execute("select count(*), coalesce(sum(failed), 0) from rows").fetchone()
        return rows, failed

    def rows(self) -> Iterator[Row]:
        """Every row in the order of the cells, one at a time."""
        for cells in self._db.execute(f"select {_NAMES} from rows order by cell"):
            yield Row(*cells)

    def figures(self) -> Iterator[tuple[int, bool, float, float, float | None]]:
        """(cell, failed, score, cost_usd, latency_s) of every row, in order; the long texts stay on disk."""
        yield from self._db.execute("select cell, failed, score, cost_usd, latency_s from rows order by cell")

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        for suffix in ("-wal", "-shm", ""):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _meta(self, key: str) -> int:
        (value,) = self._db.execute("select value from meta where key = ?", (key,)).fetchone()
        return int(value)

    def _add(self, key: str, amount: int) -> None:
        self._db.execute("update meta set value = value + ? where key = ?", (amount, key))


def _begin(db: sqlite3.Connection, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Lock the file for as long as it is open, make what is missing, and return its meta."""
    for pragma in ("locking_mode = exclusive", "journal_mode = wal", "synchronous = full"):
        db.execute(f"pragma {pragma}")
    db.execute("begin immediate")
    for statement in _TABLES.split(";\n"):
        db.execute(statement)
    if not db.execute("select count(*) from meta").fetchone()[0]:
        told = {"form": FORM, "facts": json.dumps(facts), "aside_pico": 0, "lost_pico": 0, "lost_calls": 0}
        db.executemany("insert into meta values (?, ?)", told.items())
    kept = dict(db.execute("select key, value from meta").fetchall())
    db.execute("commit")
    return kept


def _compare(path: Path, kept: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to go on with something else."""
    if kept.get("form") != FORM or "facts" not in kept:
        raise TableError(
            f"{path} is a journal of form {kept.get('form')!r}, expected {FORM}. Finish it with the version that began it, "
            "or move it away to begin anew."
        )
    then = json.loads(kept["facts"])
    missing = "(none)"
    changed = [key for key in {**then, **facts} if then.get(key, missing) != facts.get(key, missing)]
    if changed:
        said = "; ".join(
            f"{key}: now {facts.get(key, missing)!r}, then {then.get(key, missing)!r}"[:160] for key in changed[:4]
        )
        more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise ConfigError(
            f"The journal {path} is of another collection. {said}{more}. Go on with the same queries, models, prices and "
            "metric; or choose another --out; or delete the journal, and with it the answers that were paid for."
        )
