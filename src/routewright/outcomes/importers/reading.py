"""Files from strangers: found, size-checked and parsed, or refused in one line.

Not here: what the columns mean; that is each importer's. Compressed input is refused outright, because a
small archive can unpack to more than the machine holds; unpacking is the user's own, visible step.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from routewright.errors import TableError

MOST_BYTES = 4 * 2**30  # of one text file; it is parsed in memory
MOST_LINE_BYTES = 256 * 2**20

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x78\x01": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
}


def files_in(path: Path, suffixes: tuple[str, ...], recursive: bool = False) -> list[Path]:
    """The files a path stands for, sorted: itself, or those of a folder with one of the suffixes.

    Raises:
        TableError: Nothing there, a wrong suffix, compressed, empty, or too large.
    """
    if path.is_dir():
        found = path.rglob("*") if recursive else path.iterdir()
        files = sorted(p for p in found if p.is_file() and p.suffix.lower() in suffixes and not p.name.startswith("."))
        if not files:
            raise TableError(f"{path} holds no {' or '.join(suffixes)} file. Expected some; is it the right folder?")
    elif not path.exists():
        raise TableError(f"{path} does not exist. Expected a {' or '.join(suffixes)} file or a folder of them.")
    else:
        files = [path]
    for file in files:
        _check(file)
        if file.suffix.lower() not in suffixes:
            raise TableError(f"{file} has the suffix {file.suffix!r}. Expected {' or '.join(suffixes)}.")
    return files


def _check(file: Path) -> None:
    if not file.is_file():
        raise TableError(f"{file} is no ordinary file. Expected one that can be read twice; save the stream first.")
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise TableError(f"{file} can not be read ({error.strerror}). Check its permissions.") from error
    if size == 0:
        raise TableError(f"{file} is empty. Expected data; was the download complete?")
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            raise TableError(f"{file} is compressed ({name}). Expected plain data; unpack it first.")
    if size > MOST_BYTES:
        raise TableError(f"{file} has {size} bytes, more than {MOST_BYTES}. Split it into a folder of smaller files.")


def read_csv(file: Path) -> pl.DataFrame:
    """A CSV file, every cell as text, empty cells as null; `TableError` if it is none."""
    try:
        frame = pl.read_csv(file, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(
            f"{file} can not be read as CSV ({first_line(error)}). Expected UTF-8 text, comma-separated, a header line."
        ) from None
    for name in frame.columns:
        base = re.fullmatch(r"(.*)_duplicated_\d+", name)
        if base and base[1] in frame.columns:
            raise TableError(f"{file} has two columns called {base[1][:80]!r}. Expected each name once; rename one.")
    if frame.height == 0:
        raise TableError(f"{file} has a header and no rows. Expected one row a query.")
    return frame


def read_jsonl(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON Lines file, each with its place for messages."""
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(MOST_LINE_BYTES + 1):
            number += 1
            where = f"{file} line {number}"
            if len(line) > MOST_LINE_BYTES:
                raise TableError(f"{where} is longer than {MOST_LINE_BYTES} bytes. Expected one JSON object a line.")
            if not line.strip():
                continue
            yield where, as_object(_parse(line, where), where)


def read_json(file: Path) -> Any:
    """One JSON document."""
    return _parse(file.read_bytes(), str(file))


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise TableError(f"{where} is not UTF-8 text (byte {error.start}). Expected JSON; is the file whole?") from None
    except RecursionError:
        raise TableError(f"{where} nests too deep to be a record. Expected plain JSON objects.") from None
    except ValueError as error:
        raise TableError(f"{where} is not valid JSON ({str(error)[:100]}). Is the file whole?") from None


def as_object(value: Any, where: str) -> dict[str, Any]:
    """The value if it is a JSON object, else `TableError`."""
    if not isinstance(value, dict):
        raise TableError(f"{where} is {_kind(value)}. Expected a JSON object with named fields.")
    return value


def need(record: dict[str, Any], key: str, where: str) -> Any:
    """A field that has to be there (its value may be null)."""
    if key not in record:
        names = ", ".join(list(record)[:12]) or "none"
        raise TableError(f"{where} has no field {key!r}. Found: {names[:200]}. Is it the right format?")
    return record[key]


def text(value: object) -> str | None:
    """A cell as text: null stays null, lists and objects become JSON, broken surrogates become U+FFFD."""
    if value is None:
        return None
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=str)
    try:
        value.encode()
    except UnicodeEncodeError:
        value = value.encode("utf-8", "replace").decode()
    return value


def number(value: object, name: str, where: str) -> float | None:
    """A cell as a number: null and empty text stay null, booleans are 0 and 1, other text has to be a number."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):  # and bool, which is one
        try:
            return float(value)
        except OverflowError:
            value = "a huge integer"
    if isinstance(value, str):
        plain = value.strip().lower()
        if plain in _WORDS:
            return _WORDS[plain]
        with contextlib.suppress(ValueError):  # no number: refused below
            return float(plain.replace("_", "x"))  # float() would read "1_0" as ten
    raise TableError(f"{where}: {name} is {_kind(value)}. Expected a number.")


_WORDS = {"": None, "true": 1.0, "false": 0.0}


def numbers(values: Iterable[object], name: str, where: str) -> pl.Series:
    """Cells as a column of floats; the message of a bad cell counts data rows from 1."""
    cells = [number(value, name, f"{where} row {i}") for i, value in enumerate(values, 1)]
    return pl.Series(name, cells, dtype=pl.Float64)


def texts(values: Iterable[object], name: str) -> pl.Series:
    """Cells as a column of text."""
    return pl.Series(name, [text(value) for value in values], dtype=pl.String)


def first_line(error: Exception) -> str:
    """The start of a library's message, for ours."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]


def _kind(value: object) -> str:
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    return f"{value!r}"[:60]
