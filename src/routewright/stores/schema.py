"""The tables of the `postgresql` store, and what is asked of them.

Made on first use under an advisory lock, for several gateways may start at once. `FORMAT` stands in a table of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routewright.errors import StoreError
from routewright.stores.rows import FEEDBACK, FIELDS, LISTED
from routewright.stores.summary import MOST, TIMED

if TYPE_CHECKING:
    from sqlalchemy import Connection

FORMAT = 1
_SWEPT = 5000  # decisions deleted at a time
_TYPES: dict[str, Any] = {
    **dict.fromkeys(
        ("at", "value_usd", "cost_usd", "baseline_usd", "latency_s", "first_token_s", "probability", "score"),
        sa.Double(),
    ),
    **dict.fromkeys(("status", "tokens_in", "tokens_out", "calls"), sa.BigInteger()),
    **dict.fromkeys(("streamed", "estimated"), sa.Boolean()),
    "trace": sa.LargeBinary(),
}
_MAY_BE_NULL = ("first_token_s", "probability", "baseline_usd", "query", "response")


class Schema:
    """Tables whose names begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self._about = about = sa.MetaData()
        self._lock = zlib.crc32(f"routewright {prefix}".encode())
        self._format = sa.Table(f"{prefix}format", about, sa.Column("version", sa.Integer, primary_key=True))
        self.decisions = sa.Table(
            f"{prefix}decisions",
            about,
            *(_column(name, primary_key=name == "trace_id") for name in FIELDS),
            sa.Index(f"{prefix}decisions_at", "at"),
            sa.Index(f"{prefix}decisions_key", "key", "at"),
        )
        self.feedback = sa.Table(
            f"{prefix}feedback", about, *(_column(name, primary_key=name in ("trace_id", "name")) for name in FEEDBACK)
        )

    def make(self, db: Connection, named: str) -> None:
        """Create what is missing; `StoreError` if the tables are of another version."""
        with db.begin():
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(self._lock)))
            self._about.create_all(db)
            found = db.execute(sa.select(self._format.c.version)).scalars().all()
            if not found:
                db.execute(sa.insert(self._format).values(version=FORMAT))
            elif found != [FORMAT]:
                said = ", ".join(str(version) for version in found)
                raise StoreError(
                    f"The store {named} has format {said}, this version reads {FORMAT}. Use another prefix or database."
                )

    def keep(self, db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write decisions; those that are there already stay as they are."""
        db.execute(insert(self.decisions).on_conflict_do_nothing(), rows)

    def judge(self, db: Connection, values: Mapping[str, Any]) -> bool:
        """Write feedback; False if its decision is not known."""
        c = self.decisions.c
        if db.execute(sa.select(c.trace_id).where(c.trace_id == values["trace_id"])).first() is None:
            return False
        put = insert(self.feedback).values(**values)
        newer = {name: put.excluded[name] for name in FEEDBACK if name not in ("trace_id", "name")}
        db.execute(put.on_conflict_do_update(index_elements=["trace_id", "name"], set_=newer))
        return True

    def find(self, db: Connection, trace_id: str) -> Any:
        """A decision's row, or None."""
        return db.execute(sa.select(self.decisions).where(self.decisions.c.trace_id == trace_id)).first()

    def spent_usd(self, db: Connection, key: str, since: float) -> Any:
        """The sum of a key's costs; in decimals, so that many small amounts lose nothing."""
        c = self.decisions.c
        total = sa.func.coalesce(sa.func.sum(sa.cast(c.cost_usd, sa.Numeric)), 0)
        return db.execute(sa.select(total).where(c.key == key, c.at >= since)).scalar_one()

    def judged(self, db: Connection) -> Any:
        """Rows of decisions, each with one of its feedback behind it, in order of time."""
        d, f = self.decisions, self.feedback
        joined = sa.select(*d.c, *f.c).join(f, f.c.trace_id == d.c.trace_id)
        return db.execute(joined.order_by(d.c.at, f.c.at)).fetchall()

    def recent(self, db: Connection, limit: int, before: float) -> Any:
        """Rows of `LISTED`, the newest first."""
        c = self.decisions.c
        listed = [c[name] for name in LISTED]
        return db.execute(sa.select(*listed).where(c.at < before).order_by(c.at.desc()).limit(limit)).fetchall()

    def over_time(self, db: Connection, since: float, until: float, bucket_s: float) -> tuple[Any, Any]:
        """Sums by bucket and models, and the newest latencies."""
        c = self.decisions.c
        span = (c.at >= since, c.at < until)
        newest = sa.select(c.at, c.status, c.cost_usd, c.baseline_usd, c.models).where(*span)
        s = newest.order_by(c.at.desc()).limit(MOST).subquery().c
        bucket = sa.cast(sa.func.floor((s.at - since) / bucket_s), sa.Integer).label("bucket")
        sums = sa.select(
            bucket,
            s.models,
            sa.func.count(),
            sa.func.sum(sa.case((s.status >= 500, 1), else_=0)),
            sa.func.sum(s.cost_usd),
            sa.func.sum(sa.case((s.baseline_usd.is_(None), 0.0), else_=s.cost_usd)),
            sa.func.coalesce(sa.func.sum(s.baseline_usd), 0.0),
        ).group_by(sa.literal_column("1"), sa.literal_column("2"))
        times = sa.select(c.latency_s).where(*span).order_by(c.at.desc()).limit(TIMED)
        return db.execute(sums).fetchall(), db.execute(times).fetchall()

    def sweep(self, db: Connection, before: float) -> bool:
        """Delete some of what is older, unless another gateway is at it. True if there is more."""
        if not db.execute(sa.select(sa.func.pg_try_advisory_xact_lock(self._lock + 1))).scalar_one():
            return False
        c = self.decisions.c
        old = db.execute(sa.select(c.trace_id).where(c.at < before).limit(_SWEPT)).scalars().all()
        if old:
            db.execute(sa.delete(self.feedback).where(self.feedback.c.trace_id.in_(old)))
            db.execute(sa.delete(self.decisions).where(c.trace_id.in_(old)))
        return len(old) == _SWEPT


def _column(name: str, primary_key: bool) -> sa.Column[Any]:
    return sa.Column(name, _TYPES.get(name, sa.Text()), primary_key=primary_key, nullable=name in _MAY_BE_NULL)
