"""Reading what is to be asked."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from routewright.collect.queries import Asked, name_of, read_queries
from routewright.errors import TableError
from routewright.outcomes.table import write
from routewright.types import Query

ROWS = [
    {"query": "one?", "reference": "1", "task": "t", "dataset": "d", "metric": "numeric"},
    {"query": 'two, "zwei"\nor 2?', "reference": None, "task": "t", "dataset": "d", "metric": "contains"},
]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_three_forms_say_the_same(form: str, tmp_path: Path) -> None:
    file = tmp_path / f"q.{form}"
    if form == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in ROWS))
    else:
        frame = pl.DataFrame(ROWS)
        frame.write_csv(file) if form == "csv" else frame.write_parquet(file)
    found = read_queries(file)
    assert [(a.query.text, a.reference, a.query.task, a.query.dataset, a.metric) for a in found] == [
        tuple(row.values()) for row in ROWS
    ]
    assert [a.query.query_id for a in found] == [name_of("d", row["query"] or "") for row in ROWS]
    assert len({*(a.query.query_id for a in found)}) == 2
    assert len(read_queries(file, limit=1)) == 1


def test_an_id_names_data_set_and_text() -> None:
    assert name_of("a", "bc") != name_of("ab", "c")
    assert len(name_of("", "\ud800")) == 16


def test_structured_references_become_json(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"query": "x", "reference": ["a", "b"], "query_id": 7}\n')
    (one,) = read_queries(tmp_path / "q.jsonl")
    assert (one.reference, one.query.query_id) == ('["a", "b"]', "7")


def test_each_query_of_an_outcome_table_once(rows: pl.DataFrame, tmp_path: Path) -> None:
    write(rows, tmp_path / "t.parquet")
    found = read_queries(tmp_path / "t.parquet")
    first = rows.unique(["dataset", "query_id"], keep="first", maintain_order=True)
    assert [a.query.query_id for a in found] == first["query_id"].to_list()
    assert [a.query.text for a in found] == first["query"].to_list()


def test_notes_about_one_reply_are_no_part_of_the_label(tmp_path: Path) -> None:
    pl.DataFrame({"query": ["x"], "reference": ["1"], "metric": ["numeric; failed: no route"]}).write_csv(
        tmp_path / "q.csv"
    )
    assert read_queries(tmp_path / "q.csv") == [Asked(Query("x", name_of("", "x")), "1", "numeric")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('{"query": "x"}\n{"query": "y"}\n{"query": "x"}', ["line 3", "line 1", "same text", "--samples"]),
        ('{"query": "x", "query_id": "1"}\n{"query": "y", "query_id": "1"}', ["line 2", "query_id '1'"]),
        ('{"query": " "}', ["line 1", "empty query"]),
        ('{"question": "x"}', ["no column query", "question", "rename"]),
        ("[1]", ["line 1", "object"]),
        ('{"query": "x"', ["not valid JSON"]),
        ("\n", ["no rows"]),
    ],
)
def test_bad_files_are_refused(lines: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(lines)
    with pytest.raises(TableError) as refusal:
        read_queries(tmp_path / "q.jsonl")
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_the_same_text_in_two_data_sets_is_two_queries(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"query": "x", "dataset": "a"}\n{"query": "x", "dataset": "b"}')
    assert len(read_queries(tmp_path / "q.jsonl")) == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("q.parquet", b"PAR1 and then nothing", "can not be read as Parquet"),
        ("q.txt", b"hello", "suffix"),
        ("q.csv", b"question\nwhat?\n", "no column query"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=words):
        read_queries(tmp_path / name)
    with pytest.raises(TableError, match="does not exist"):
        read_queries(tmp_path / "nowhere.jsonl")


def test_a_table_whose_query_changes_is_refused(rows: pl.DataFrame, tmp_path: Path) -> None:
    changed = rows.with_columns(query=pl.when(pl.int_range(pl.len()) == 1).then(pl.lit("other")).otherwise("query"))
    changed.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(TableError, match="1 query id"):
        read_queries(tmp_path / "t.parquet")
