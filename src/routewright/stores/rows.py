"""A record as a row of a database, and back. Used by the stores that have one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import msgspec

from routewright.stores.base import Feedback, Record
from routewright.stores.summary import MOST, Row, Summary, summed

FIELDS = tuple(f.name for f in fields(Record))
FEEDBACK = ("trace_id", "name", "score", "comment", "key", "at")
TEXTS = ("query", "response", "trace")  # what a list of records leaves out
LISTED = tuple(name for name in FIELDS if name not in TEXTS)
_MODELS = FIELDS.index("models")
_TRUTHS = tuple(FIELDS.index(name) for name in ("streamed", "estimated"))


def row_of(record: Record) -> list[Any]:
    """Its values in the order of `FIELDS`; the models as JSON."""
    row = [clean(v) if type(v) is str else v for v in (getattr(record, name) for name in FIELDS)]
    row[_MODELS] = msgspec.json.encode(record.models).decode()
    return row


def record_of(row: Sequence[Any]) -> Record:
    """The record of such a row."""
    values = list(row)
    values[_MODELS] = tuple(msgspec.json.decode(values[_MODELS]))
    for at in _TRUTHS:
        values[at] = bool(values[at])
    return Record(*values)


def listed_of(row: Sequence[Any]) -> Record:
    """The record of a row of `LISTED`: without its texts, and without its trace."""
    given = dict(zip(LISTED, row, strict=True)) | {"query": None, "response": None, "trace": b""}
    return record_of([given[name] for name in FIELDS])


def summary_of_rows(
    found: Sequence[Sequence[Any]], times: Sequence[Sequence[Any]], since: float, until: float, bucket_s: float
) -> Summary:
    """A summary of what a database has summed up: bucket, models, and the sums of `Row`; and of latencies."""
    rows = [Row(int(row[0]), msgspec.json.decode(row[1]), *row[2:]) for row in found]
    return summed(rows, [row[0] for row in times], since, until, bucket_s, sum(row.requests for row in rows) < MOST)


def feedback_of(feedback: Feedback) -> list[Any]:
    """Its values in the order of `FEEDBACK`."""
    return [clean(v) if type(v) is str else v for v in (getattr(feedback, name) for name in FEEDBACK)]


def judged_of(row: Sequence[Any]) -> tuple[Record, Feedback]:
    """A record's row with its feedback's behind it."""
    given = dict(zip(FEEDBACK, row[len(FIELDS) :], strict=True))
    return record_of(row[: len(FIELDS)]), Feedback(**given)


def clean(text: str) -> str:
    """A text that every database takes: without NUL and half surrogate pairs, which JSON can bring."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
