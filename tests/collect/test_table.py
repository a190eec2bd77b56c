"""The journal as a table: the schema, the order, the same bytes, flat memory; and the figures of each model."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from routewright.collect import table as writing
from routewright.collect.journal import Journal
from routewright.collect.table import figures, write_table
from routewright.errors import ProviderError, TableError
from routewright.outcomes import COLUMNS, load
from routewright.outcomes.table import read

from .world import Scripted, go, install, plan_of


def test_the_table_is_an_outcome_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = ProviderError("refused", "refused", status=400)
    install(monkeypatch, Scripted(lambda ask, nth: bad if (ask.query.query_id, ask.model) == ("q2", "b") else None))
    plan = plan_of(5, "b", "a", samples=2)
    go(plan, tmp_path / "j")
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        write_table(plan, journal, tmp_path / "t.parquet")
        told = figures(plan, journal)
    frame = read(tmp_path / "t.parquet").frame.collect()
    assert frame.schema == {name: column.dtype for name, column in COLUMNS.items()}
    assert frame.select("query_id", "model", "sample").rows() == [
        (f"q{q}", model, sample) for q in range(5) for model in ("b", "a") for sample in (0, 1)
    ]
    failed = frame.filter(pl.col("response").is_null())
    assert failed["metric"].to_list() == ["contains; failed: refused"] * 2
    assert failed["score"].to_list() == [0.0, 0.0]
    assert set(frame["score_kind"]) == {"correct"}
    assert set(frame.filter(pl.col("model") == "a")["metric"]) == {"contains"}
    assert [(f.model, f.rows, f.failed, f.score) for f in told] == [("b", 10, 2, 0.8), ("a", 10, 0, 1.0)]
    assert told[1].latency_p50_s == 0.25
    outcomes = load(tmp_path / "t.parquet")
    assert outcomes.quality.shape == (5, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j", "t.parquet"]


def test_batches_and_row_groups_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted())
    plan = plan_of(40)
    go(plan, tmp_path / "j")
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        write_table(plan, journal, tmp_path / "whole.parquet")
        write_table(plan, journal, tmp_path / "again.parquet")
        monkeypatch.setattr(writing, "BATCH", 7)
        write_table(plan, journal, tmp_path / "parts.parquet")
    assert (tmp_path / "whole.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()
    assert pl.read_parquet(tmp_path / "parts.parquet").equals(pl.read_parquet(tmp_path / "whole.parquet"))


def test_a_table_that_can_not_be_valid_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted())
    plan = plan_of(3)
    go(plan, tmp_path / "j")
    out = tmp_path / "t.parquet"
    out.write_bytes(b"the old one")
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        journal._db.execute("update rows set score = 7")
        with pytest.raises(TableError, match="outside"):
            write_table(plan, journal, out)
    assert out.read_bytes() == b"the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j", "t.parquet"]


def test_what_a_kill_left_is_swept_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted())
    plan = plan_of(3)
    go(plan, tmp_path / "j")
    (tmp_path / ".t.parquet.collect.part").mkdir()
    (tmp_path / ".t.parquet.collect.part" / "t.parquet").write_bytes(b"half")
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        write_table(plan, journal, tmp_path / "t.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j", "t.parquet"]


def test_figures_of_nothing(tmp_path: Path) -> None:
    plan = plan_of(3)
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        assert all(f.rows == 0 and math.isnan(f.score) for f in figures(plan, journal))
