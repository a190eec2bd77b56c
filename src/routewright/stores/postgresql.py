"""`postgresql`: records in a PostgreSQL database that several gateways may share.

One writer thread with one connection, as for `sqlite`: the event loop never waits for the server. Records go in batches and
are idempotent by their trace id, so that a batch whose commit was cut off is simply written again and arrives once. While
the server is away, records wait in the queue (`queue` of them, above they are lost and counted), the writer tries again at
most every two seconds, and whoever waits for an answer gets a `StoreError` at once.

A server that can not be reached at the start is waited for in the same way, for a gateway has to start while its database
does not; what only a change of the configuration can mend (a password, a missing database, tables of another version)
refuses the start. SQLAlchemy Core over psycopg; where things are in the database: `schema.py`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from routewright import config
from routewright.errors import ConfigError, MissingExtra, StoreError
from routewright.stores.base import Feedback, Record
from routewright.stores.rows import (
    FEEDBACK,
    FIELDS,
    feedback_of,
    judged_of,
    listed_of,
    record_of,
    row_of,
    summary_of_rows,
)
from routewright.stores.summary import Summary
from routewright.stores.writer import Asked, Written, tell

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

    from routewright.stores.schema import Schema

_TOGETHER = 1000  # records in a commit at most
_SWEEP_S = 600.0  # between deletions of what is too old
_BACKOFF_S = (0.05, 2.0)  # between attempts to reach the server: the first, the longest
_CONNECT_S = 5  # for one connection, seconds
_STATEMENT_S = 30  # for one statement
_ANSWER_S = 10.0  # that somebody waits for an answer
_ELSEWHERE_S = 0.2  # in which a record of another gateway arrives
_GOODBYE_S = 5.0  # for what is left when the store is closed while the server is away
_PASSING = ("starting up", "shutting down", "recovery", "too many", "connection slots", "terminating")
_log = logging.getLogger("routewright.gateway")


class PostgreSQL(Written):
    """One writer thread, one database, any number of gateways."""

    kind = "postgresql"
    goodbye_s: ClassVar[float | None] = 2 * _GOODBYE_S
    summary = "a database that gateways share; records wait in a queue while it is away"

    class Config(config.Config):
        url: str = Field("", description="postgresql://user@host/database; one without a password")
        url_env: str = Field("", description="or the name of the environment variable that holds the URL")
        prefix: str = Field("routewright_", pattern="^[a-z_][a-z0-9_]{0,30}$", description="of the names of the tables")
        queue: int = Field(50_000, ge=1, description="records that may wait; above, they are lost and counted")

        @model_validator(mode="after")
        def _one_of_two(self) -> Any:
            if bool(self.url) == bool(self.url_env):
                raise ValueError("expected either url or url_env")
            return self

    def __init__(self, config: Config, retain_s: float = 0.0) -> None:
        super().__init__(config, retain_s)
        self._url = url_of(self.config.url, self.config.url_env)
        self._schema: Schema | None = None
        self._engine: Engine | None = None
        self._db: Connection | None = None
        self._kept: list[Record] = []  # taken from the queue, not yet committed
        self._swept = -_SWEEP_S

    @property
    def _named(self) -> str:
        return self._url.render_as_string(hide_password=True)

    async def open(self) -> None:
        if self._thread is None:
            await asyncio.to_thread(self._prepare)
            self._start()

    def _prepare(self) -> None:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        from routewright.stores.schema import Schema

        self._schema = Schema(self.config.prefix)
        # A server that vanishes without a word has to be noticed, or the writer would wait for it for many minutes.
        alive = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
        session = f"-c statement_timeout={_STATEMENT_S * 1000} -c lock_timeout={_STATEMENT_S * 1000}"
        arguments = {"connect_timeout": _CONNECT_S, "application_name": "routewright", "options": session, **alive}
        self._engine = create_engine(self._url, poolclass=NullPool, connect_args=arguments)
        try:
            self._connect()
        except SQLAlchemyError as error:
            said = _said(error)
            if "FATAL" in said and not any(word in said for word in _PASSING):
                raise StoreError(
                    f"The store {self._named} refuses us ({said}). Expected an existing database and a user who may "
                    "create tables in it."
                ) from None
            if not _away(error):
                raise StoreError(f"The store {self._named} can not be used ({said}).") from None
            self.error = said
            _log.error("store: %s is away, records wait (%s)", self._named, said)

    def _connect(self) -> Connection:
        """The connection; made anew, with its tables checked, where it was lost."""
        if self._db is None:
            assert self._engine is not None
            assert self._schema is not None
            db = self._engine.connect()
            try:
                self._schema.make(db, self._named)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    async def feedback(self, feedback: Feedback) -> bool:
        values = dict(zip(FEEDBACK, feedback_of(feedback), strict=True))
        return bool(await self._answer(lambda db: self._tables.judge(db, values)))

    async def find(self, trace_id: str) -> Record | None:
        row = await self._answer(lambda db: self._tables.find(db, trace_id))
        if row is None:  # it may wait at another gateway, for others to share its commit
            await asyncio.sleep(_ELSEWHERE_S)
            row = await self._answer(lambda db: self._tables.find(db, trace_id))
        return record_of(row) if row is not None else None

    async def spent_usd(self, key: str, since: float) -> float:
        return float(await self._answer(lambda db: self._tables.spent_usd(db, key, since)))

    async def aclose(self) -> None:
        thread = self._thread
        await super().aclose()
        if thread is not None and thread.is_alive():  # the server hangs, and our writer with it
            left = [*self._kept, *(item for item in list(self._queue) if isinstance(item, Record))]
            self.lose(left)
            _log.error("store: %d records were lost, %s does not answer", len(left), self._named)

    async def judged(self) -> list[tuple[Record, Feedback]]:
        await self._answer(lambda db: None)  # what waits is written first
        found: list[tuple[Record, Feedback]] = await self._beside(
            lambda db: [judged_of(row) for row in self._tables.judged(db)]
        )
        return found

    async def _beside(self, do: Callable[[Connection], Any]) -> Any:
        """Read with a connection of its own, beside the writer: a long reading holds nothing up."""
        if self._thread is None or self.error:  # while the server is away nobody waits for another attempt
            raise StoreError(f"The store {self._named} can not be read ({self.error or 'it is not open'}).")
        return await asyncio.to_thread(self._read, do)

    def _read(self, do: Callable[[Connection], Any]) -> Any:
        from sqlalchemy.exc import SQLAlchemyError

        assert self._engine is not None
        try:
            with self._engine.connect() as db:
                return do(db)
        except SQLAlchemyError as error:
            raise StoreError(f"The store {self._named} can not be read ({_said(error)}).") from None

    async def recent(self, limit: int, before: float = math.inf) -> list[Record]:
        rows = await self._beside(lambda db: self._tables.recent(db, limit, before))
        return [listed_of(row) for row in rows]

    async def over_time(self, since: float, until: float, bucket_s: float) -> Summary:
        found, times = await self._beside(lambda db: self._tables.over_time(db, since, until, bucket_s))
        return summary_of_rows(found, times, since, until, bucket_s)

    @property
    def _tables(self) -> Schema:
        assert self._schema is not None
        return self._schema

    async def _answer(self, do: Callable[[Any], Any]) -> Any:
        try:
            return await asyncio.wait_for(self._ask(do), _ANSWER_S)
        except TimeoutError:
            raise StoreError(f"The store {self._named} did not answer within {_ANSWER_S:g} s.") from None

    def _write(self) -> None:
        """The writer thread: take what has come, commit it together, tell who waits; keep what could not be written."""
        open_, until, again_at, wait_s = True, 0.0, 0.0, 0.0
        while open_ or (self._kept and time.monotonic() < until):
            asked: list[Asked] = []
            if open_:
                batch = self._take(max(0.01, again_at - time.monotonic()) if wait_s else None)
                if None in batch:
                    open_, until = False, time.monotonic() + _GOODBYE_S
                self._kept += [item for item in batch if isinstance(item, Record)]
                self._held = len(self._kept)
                asked = [item for item in batch if isinstance(item, Asked)]
            else:
                time.sleep(0.1)
            if open_ and time.monotonic() < again_at:  # it was away a moment ago
                self._refuse(asked)
                continue
            try:
                try:
                    self._commit(asked)
                except Exception:
                    if self._db is None:
                        raise
                    self._drop()  # a connection that has gone stale, as after a restart of the server: once more
                    self._commit(asked)
                wait_s = 0.0
            except Exception as error:  # the server is away, or in trouble: requests go on, records wait
                self._failed(error)
                self._refuse(asked)
                wait_s = min(_BACKOFF_S[1], 2 * wait_s) if wait_s else _BACKOFF_S[0]
                again_at = time.monotonic() + wait_s
        if self._kept:
            self.lose(self._kept)
            _log.error("store: %d records were lost, %s is away", len(self._kept), self._named)
        self._drop()

    def _commit(self, asked: Sequence[Asked]) -> None:
        if not self._kept and not asked and not self.error:
            return
        db = self._connect()
        while len(self._kept) > _TOGETHER:
            self._keep(db, _TOGETHER)
        answers = self._keep(db, len(self._kept), asked)
        if self.error:
            _log.warning("store: %s is back", self._named)
            self.error = ""
        for item, value in answers:
            tell(item.done, value)
        if self.retain_s and time.monotonic() - self._swept > _SWEEP_S:
            self._swept = time.monotonic()
            with db.begin():
                if self._tables.sweep(db, time.time() - self.retain_s):
                    self._swept = -_SWEEP_S

    def _keep(self, db: Connection, most: int, asked: Sequence[Asked] = ()) -> list[tuple[Asked, Any]]:
        """Commit the first records, and what is asked."""
        with db.begin():
            self._store(db, self._kept[:most])
            answers = [(item, self._done(db, item)) for item in asked]
        del self._kept[:most]
        self._held = len(self._kept)
        return answers

    def _store(self, db: Connection, records: Sequence[Record]) -> None:
        """Write the records; one that no table takes is lost and counted, and costs no other."""
        from sqlalchemy.exc import DataError, IntegrityError

        if not records:
            return
        rows = [dict(zip(FIELDS, row_of(record), strict=True)) for record in records]
        try:
            with db.begin_nested():
                self._tables.keep(db, rows)
        except (DataError, IntegrityError):
            for record, row in zip(records, rows, strict=True):
                try:
                    with db.begin_nested():
                        self._tables.keep(db, [row])
                except (DataError, IntegrityError) as error:
                    self.lose([record])
                    _log.error("store: a record was lost (%s)", type(error.orig).__name__)

    def _done(self, db: Connection, asked: Asked) -> Any:
        """What somebody waits for; its failure is theirs alone, unless the connection has gone with it."""
        from sqlalchemy.exc import DBAPIError

        try:
            with db.begin_nested():
                return asked.do(db)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            return StoreError(f"The store {self._named} can not be used ({_said(error)}).")

    def _failed(self, error: Exception) -> None:
        said = _said(error)
        if not self.error:
            _log.error("store: %s is in trouble, records wait (%s)", self._named, said)
        self.error = said
        self._drop()

    def _refuse(self, asked: Sequence[Asked]) -> None:
        for item in asked:
            tell(item.done, StoreError(f"The store {self._named} can not be used ({self.error})."))

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except Exception as error:  # it was broken before; a new one is made
                _log.debug("store: closing a broken connection: %s", type(error).__name__)


def url_of(url: str, url_env: str) -> URL:
    """The address to use; `ConfigError` without showing what may be secret."""
    try:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        raise MissingExtra("The PostgreSQL store", "sqlalchemy and psycopg", "postgres") from error
    given, where = (
        (os.environ.get(url_env, "").strip(), f"the environment variable {url_env}") if url_env else (url, "url")
    )
    if not given:
        raise ConfigError(f"store: {where} is not set. Expected postgresql://user:password@host/database in it.")
    try:
        made = make_url(given)
    except (ArgumentError, ValueError):
        raise ConfigError(f"store: {where} is no URL. Expected postgresql://user@host/database.") from None
    if made.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise ConfigError(f"store: {where} begins with {made.drivername!r}. Expected postgresql://user@host/database.")
    if not url_env and made.password:
        raise ConfigError(
            "store.url has a password in it. Put the URL into an environment variable and its name into url_env."
        )
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingExtra("The PostgreSQL store", "psycopg", "postgres") from error
    return made.set(drivername="postgresql+psycopg")


def _away(error: Exception) -> bool:
    """Whether it is the server that is not there, rather than something it said no to."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    return isinstance(error, (OperationalError, InterfaceError))


def _said(error: Exception) -> str:
    """An error in one line, without statement or values: they may hold texts of a request."""
    if isinstance(error, StoreError):
        return str(error)
    cause = getattr(error, "orig", None) or error
    first = next(iter(str(cause).strip().splitlines()), "")[:200]
    return f"{type(cause).__name__}: {first}"
