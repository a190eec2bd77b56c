"""How tables are paired, merged and noted."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from routewright.errors import TableError
from routewright.evaluate.tables import plan
from routewright.outcomes import write
from routewright.outcomes.simulated import simulate


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    frame = simulate(60, seed=1)
    other = simulate(60, seed=2).filter(pl.col("model") != "sim-coder")
    paths = {"a": tmp_path / "a.parquet", "b": tmp_path / "b.parquet"}
    write(frame, paths["a"])
    write(other, paths["b"])
    return paths


def test_tables_that_share_models_are_judged_apart_and_as_a_stream(tables: dict[str, Path]) -> None:
    what = plan(list(tables.values()))
    assert [u.name for u in what.units] == ["a", "b", "stream"]
    assert what.stream == "stream"
    assert len(what.units[0].train.models) == 6
    assert "sim-coder" not in what.units[2].train.models
    assert len(what.units[2].train) == 120


def test_test_queries_seen_in_training_are_dropped_and_counted(tables: dict[str, Path], tmp_path: Path) -> None:
    train = pl.read_parquet(tables["a"])
    seen = train.filter(pl.col("query_id") <= "sim-00019").with_columns(pl.col("query").str.to_uppercase())
    fresh = simulate(30, seed=5).with_columns(pl.col("query_id") + "-new")
    write(pl.concat([seen, fresh]), tmp_path / "t.parquet")
    unit = plan([tables["a"]], [tmp_path / "t.parquet"]).units[0]
    assert unit.test is not None
    texts = {q.text.casefold() for q in unit.train.queries}
    assert unit.test.dropped["queries seen in training"] >= 20
    assert not any(q.text.casefold() in texts for q in unit.test.queries)


def test_a_test_table_is_paired_by_name(tables: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    write(simulate(40, seed=8), tmp_path / "held" / "b.parquet")
    unit = plan(list(tables.values()), [tmp_path / "held" / "b.parquet"]).units[0]
    assert len(unit.train) == 60
    assert unit.test is not None
    assert "sim-coder" not in unit.test.models
    assert unit.test.dropped["models not trained on"] == 1


def test_a_test_table_of_another_name_is_judged_by_all_training_tables(tables: dict[str, Path], tmp_path: Path) -> None:
    write(simulate(40, seed=8), tmp_path / "c.parquet")
    unit = plan(list(tables.values()), [tmp_path / "c.parquet"]).units[0]
    assert len(unit.train) == 120


def test_a_simulated_pool_is_noted(tables: dict[str, Path]) -> None:
    assert any("simulated pool" in note for note in plan([tables["a"]]).notes)


def test_named_streams(tables: dict[str, Path]) -> None:
    what = plan(list(tables.values()), streams={"mine": ["a", "b"]})
    assert [u.name for u in what.units] == ["a", "b", "mine", "stream"]
    with pytest.raises(TableError, match="not among the tables"):
        plan(list(tables.values()), streams={"mine": ["a", "zebra"]})


def test_the_option_test_takes_several_tables() -> None:
    from routewright.cli import _spread

    given = ["evaluate", "a", "b", "--test", "x", "y", "--out", "o", "--seeds", "1"]
    wanted = ["evaluate", "a", "b", "--test", "x", "--test", "y", "--out", "o", "--seeds", "1"]
    assert _spread(given) == wanted
    assert _spread(wanted) == wanted
