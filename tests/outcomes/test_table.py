"""Reading, checking and writing outcome tables (`outcomes/table.py`). Broken tables at the command line: tests/cli."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from routewright.errors import RoutewrightError, TableError
from routewright.outcomes import COLUMNS, REQUIRED, load, read, write
from routewright.outcomes.table import beside

LEAST = pl.DataFrame(
    {"query_id": ["1", "1"], "query": ["why?", "why?"], "model": ["a", "b"], "score": [1, 0], "cost_usd": [0.1, 0.0]}
)


def test_a_file_has_every_column_of_the_schema(rows: pl.DataFrame, small_table: Path) -> None:
    scan = read(small_table)
    assert scan.name == "small"
    frame = scan.frame.collect()
    assert frame.schema == pl.Schema({name: column.dtype for name, column in COLUMNS.items()})
    assert frame.height == rows.height
    assert set(scan.absent) == {"reference", "sample", "response", "latency_s"}
    assert frame.select(rows.columns).equals(rows)


def test_defaults_fill_what_is_absent_and_what_is_null(tmp_path: Path) -> None:
    LEAST.write_parquet(tmp_path / "t.parquet")
    frame = read(tmp_path / "t.parquet").frame.collect()
    for name, column in COLUMNS.items():
        if name not in REQUIRED:
            assert frame[name].to_list() == [column.default] * 2, name
    assert frame["score"].to_list() == [1.0, 0.0]
    LEAST.with_columns(
        sample=pl.Series([None, 1]), task=pl.Series([None, "t"]), dataset=pl.lit(None), metric=pl.Series(["m", None])
    ).write_parquet(tmp_path / "t.parquet")
    frame = read(tmp_path / "t.parquet").frame.collect()
    assert frame["sample"].to_list() == [0, 1]
    assert frame["task"].to_list() == ["", "t"]
    assert frame["dataset"].to_list() == ["", ""]
    assert frame["metric"].to_list() == ["m", ""]


def test_other_types_of_the_same_meaning_are_taken(tmp_path: Path) -> None:
    LEAST.with_columns(
        pl.col("score").cast(pl.Boolean),
        pl.col("cost_usd").cast(pl.Float32),
        pl.col("model").cast(pl.Categorical),
        pl.col("query").cast(pl.Enum(["why?"])),
        pl.lit(3, pl.UInt8).alias("prompt_tokens"),
        pl.lit([1, 2]).alias("a column of mine"),
    ).write_parquet(tmp_path / "t.parquet")
    frame = read(tmp_path / "t.parquet").frame.collect()
    assert frame["score"].to_list() == [1.0, 0.0]
    assert frame["model"].to_list() == ["a", "b"]
    assert frame["prompt_tokens"].to_list() == [3, 3]
    assert "a column of mine" not in frame.columns


def test_a_folder_is_one_table(rows: pl.DataFrame, small_table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my table"
    folder.mkdir()
    half = pl.col("query_id") < "sim-00060"
    rows.filter(~half).write_parquet(folder / "b.parquet")
    rows.filter(half).drop("metric").write_parquet(folder / "a.parquet")
    (folder / "notes.txt").write_text("not a table")
    (folder / ".half.parquet").write_bytes(b"hidden")
    (folder / "c.parquet").mkdir()
    scan = read(folder)
    assert scan.name == "my table"
    assert "metric" not in scan.absent, "one of the files has it"
    assert scan.frame.collect().drop("metric").equals(read(small_table).frame.collect().drop("metric"))
    assert read(str(folder)).frame.collect().equals(scan.frame.collect())
    np.testing.assert_array_equal(load(folder).quality, load(small_table).quality)


def test_a_path_is_a_name_and_never_a_pattern(tmp_path: Path) -> None:
    for name in ("a*.parquet", "a[1].parquet", "a1.parquet", "ab.parquet", "a?.parquet"):
        LEAST.with_columns(pl.lit(name).alias("task")).write_parquet(tmp_path / name)
    for name in ("a*.parquet", "a[1].parquet", "a?.parquet"):
        assert read(tmp_path / name).frame.collect()["task"].to_list() == [name] * 2


def test_hive_folders_add_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "task=wrong"
    folder.mkdir()
    LEAST.write_parquet(folder / "t.parquet")
    assert read(folder / "t.parquet").frame.collect()["task"].to_list() == ["", ""]


def test_damaged_bytes_are_a_table_error_or_a_table(small_table: Path, tmp_path: Path) -> None:
    """Sixty files, each with up to 40 random bytes overwritten anywhere: never another exception."""
    rng = np.random.default_rng(0)
    whole, refused = small_table.read_bytes(), 0
    for i in range(60):
        raw = bytearray(whole)
        at, size = int(rng.integers(4, len(raw))), int(rng.integers(1, 40))
        raw[at : at + size] = rng.bytes(min(size, len(raw) - at))
        (tmp_path / f"{i}.parquet").write_bytes(raw)
        try:
            load(tmp_path / f"{i}.parquet")
        except RoutewrightError:
            refused += 1
    assert refused > 20


def test_a_hole_in_a_file_is_a_table_error(small_table: Path, tmp_path: Path) -> None:
    """So large that the reader's own offsets point outside the file, which makes it panic."""
    raw = small_table.read_bytes()
    (tmp_path / "t.parquet").write_bytes(raw[:4] + raw[-len(raw) // 3 :])
    with pytest.raises(TableError, match=r"t\.parquet can not be read as Parquet"):
        load(tmp_path / "t.parquet")


# -- writing


def test_what_is_written_reads_the_same(rows: pl.DataFrame, tmp_path: Path) -> None:
    odd = rows.with_columns(pl.lit("né\u0301 你好 👩‍👩‍👧 \u202e \x00 \n end").alias("response"))
    write(odd, tmp_path / "new" / "folder" / "t.parquet")
    assert read(tmp_path / "new" / "folder" / "t.parquet").frame.collect().select(odd.columns).equals(odd)
    write(odd.lazy(), tmp_path / "lazy.parquet")
    assert read(tmp_path / "lazy.parquet").frame.collect().height == odd.height


def test_a_table_replaces_the_last_one(rows: pl.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    write(rows, out)
    write(LEAST, out)
    assert read(out).frame.collect().height == 2
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


BROKEN = {
    "breaks the schema": LEAST.with_columns(pl.lit(2.0).alias("score")).lazy(),
    "lacks a column": LEAST.drop("cost_usd").lazy(),
    "fails while it is made": LEAST.lazy().with_columns(pl.col("query").str.to_integer()),
}


@pytest.mark.parametrize("why", BROKEN)
@pytest.mark.parametrize("there", [False, True], ids=["new", "replacing"])
def test_a_failing_write_leaves_what_was_there(why: str, there: bool, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    if there:
        write(LEAST, out)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises((TableError, pl.exceptions.PolarsError)):
        write(BROKEN[why], out)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_write_that_is_stopped_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ctrl-C between writing and renaming, or by a full disk while writing."""
    out = tmp_path / "t.parquet"
    write(LEAST, out)
    before = out.read_bytes()

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("routewright.outcomes.table.os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            write(LEAST.head(1), out)

    def run_out_of_space() -> None:
        with beside(out) as temporary:
            temporary.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        run_out_of_space()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"t.parquet": before}
