"""Vectors kept on disk, so that a text is encoded once and not once a run.

What it is: one SQLite file, `key -> vector`, for encoders that are `fixed`. What it is not: a cache for
encoders that learn from the table, whose vectors change with every `fit`. Called by training and judging, and by
whoever encodes texts that come back:

    vectors = encode_cached(encoder, texts)          # [N, dim], the same as encoder.encode(texts)

    key = sha256(identity of the encoder, 0, text)

Several processes may share a file: SQLite locks it for the moment of a commit. What was encoded
before an interruption is kept.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from routewright.encoders.base import Encoder
from routewright.errors import RoutewrightError
from routewright.types import Vectors

FILE = "vectors.sqlite"
CHUNK = 256  # texts a commit, and keys a look-up
TABLE = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
WAIT_S = 60.0  # for another process that is writing


def cache_folder() -> Path:
    """Where files go that can be made again.

    $ROUTEWRIGHT_CACHE, else `routewright` in $XDG_CACHE_HOME, else `routewright` in ~/.cache.
    """
    if own := os.environ.get("ROUTEWRIGHT_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "routewright"


def vectors_of(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    """[N, dim] vectors for training and judging: through the cache where the encoder allows it."""
    if encoder.fixed:
        return encode_cached(encoder, texts)
    if parts := encoder.parts():
        return encoder.join([vectors_of(part, texts) for part in parts])
    return encoder.encode(texts)


def encode_cached(encoder: Encoder, texts: Sequence[str], folder: str | Path | None = None) -> Vectors:
    """`encoder.encode(texts)`, encoding only what the cache lacks.

    Args:
        encoder: One that is `fixed`; `RoutewrightError` for others.
        texts: Any number, in any order; the same text twice is encoded once.
        folder: Folder of the cache file; `cache_folder()` by default.

    Returns:
        [N, dim] float32, in the order of `texts`.
    """
    if not encoder.fixed:
        raise RoutewrightError(
            f"The vectors of encoder {encoder.kind!r} depend on what it was fitted on, expected a fixed "
            "encoder: call `encode` instead of `encode_cached`."
        )
    identity = encoder.identity().encode() + b"\0"
    keys = [hashlib.sha256(identity + text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    rows: dict[bytes, int] = {}
    first = [row for row, key in enumerate(keys) if rows.setdefault(key, row) == row]
    vectors = np.empty((len(texts), encoder.encode([]).shape[1]), dtype="<f4")

    path = Path(folder if folder is not None else cache_folder()) / FILE
    with _opened(path) as store:
        for start in range(0, len(first), CHUNK):
            chunk = first[start : start + CHUNK]
            found = _read(store, [keys[row] for row in chunk])
            missing = [row for row in chunk if keys[row] not in found]
            for row in chunk:
                if keys[row] in found:
                    vectors[row] = _vector(found[keys[row]], vectors.shape[1], path)
            if missing:
                vectors[missing] = encoder.encode([texts[row] for row in missing])
                with store:  # one commit
                    store.executemany(
                        "INSERT OR IGNORE INTO vectors VALUES (?, ?)",
                        [(keys[row], vectors[row].tobytes()) for row in missing],
                    )
    same: Vectors = vectors[[rows[key] for key in keys]].astype(np.float32, copy=False)
    return same


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error.strerror) from error
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_S)) as store:
            store.execute(TABLE)
            yield store
    except sqlite3.OperationalError as error:
        raise _unusable(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error


def _read(store: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    marks = ",".join("?" * len(keys))
    return dict(store.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", keys))


def _vector(blob: bytes, dim: int, path: Path) -> Vectors:
    if len(blob) != 4 * dim:
        raise _damaged(path, f"a vector of {len(blob)} bytes, expected {4 * dim}")
    return np.frombuffer(blob, dtype="<f4")


def _unusable(path: Path, why: object) -> RoutewrightError:
    return RoutewrightError(
        f"{path} can not be used ({why}). Expected a cache in a writable folder with space left: choose "
        "another with ROUTEWRIGHT_CACHE."
    )


def _damaged(path: Path, why: object) -> RoutewrightError:
    return RoutewrightError(
        f"{path} is damaged ({why}). Expected a cache of vectors. Delete it; they are encoded anew."
    )
