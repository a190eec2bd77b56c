"""Replies kept by the content of the call: SQLite, exact match.

A call that samples is not kept unless asked for: two samples are wanted because they may differ. A hit costs nothing
and says so (`Reply.cached`). The file may be shared by processes. A file that can not be opened is an error; one that
fails later is not, since replies are there without it: what can not be read is asked for, what can not be written is noted.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
import time
from pathlib import Path

import msgspec

from routewright.errors import PoolError
from routewright.pools.bounds import as_json
from routewright.pools.providers.base import Ask, Completion


class ResponseCache:
    """Completions by content; opened on first use, one connection, one thread at a time."""

    def __init__(self, path: str | Path, sampled: bool = False) -> None:
        self.path, self.sampled = Path(path), sampled
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def key(self, endpoint: str, ask: Ask) -> str | None:
        """64 hexadecimal digits that name the call; None if it is not to be kept."""
        warmth = ask.options.get("temperature", 0)  # None is the upstream's own default, which may sample
        if not self.sampled and (ask.sample or warmth != 0):
            return None
        what = [endpoint, ask.model, list(ask.messages), ask.max_tokens, dict(ask.options), ask.stop, ask.sample]
        return hashlib.sha256(as_json(what)).hexdigest()

    async def get(self, key: str) -> Completion | None:
        return await asyncio.to_thread(self._get, key)

    async def put(self, key: str, done: Completion) -> str:
        """Keep a reply; "", or why it could not be."""
        try:
            await asyncio.to_thread(self._put, key, done)
        except sqlite3.Error as error:
            return f"not kept in the cache ({error})"
        return ""

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                db = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
                db.execute("pragma journal_mode=wal")
                db.execute("pragma synchronous=normal")
                db.execute("create table if not exists replies (key text primary key, made_s real, reply blob) strict")
            except (sqlite3.Error, OSError) as error:
                raise PoolError(
                    f"The response cache {self.path} can not be opened ({error}). Expected an SQLite file of ours, or "
                    "a free name; change [cache] path, or delete the file."
                ) from error
            self._db = db
        return self._db

    def _get(self, key: str) -> Completion | None:
        try:
            with self._lock:
                row = self._open().execute("select reply from replies where key = ?", (key,)).fetchone()
            return None if row is None else msgspec.json.decode(row[0], type=Completion)
        except (sqlite3.Error, msgspec.MsgspecError):
            return None

    def _put(self, key: str, done: Completion) -> None:
        with self._lock:
            self._open().execute(
                "insert or replace into replies values (?, ?, ?)", (key, time.time(), msgspec.json.encode(done))
            )
