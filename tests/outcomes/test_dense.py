"""Rows to dense arrays (`outcomes/dense.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from routewright.errors import TableError, UnknownName
from routewright.outcomes import Outcomes, load, read
from routewright.outcomes.arrays import concat, sampled

Save = Callable[[pl.DataFrame], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def to_file(frame: pl.DataFrame) -> Path:
        frame.write_parquet(tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    return to_file


def table(n: int = 10, **columns: object) -> pl.DataFrame:
    """n queries x models b, a: scores 1 and 0, costs 2 and 1."""
    rows = [
        {"query_id": f"q{i}", "query": f"text {i}", "model": m, "score": s, "cost_usd": c}
        for i in range(n)
        for m, s, c in (("b", 1.0, 2.0), ("a", 0.0, 1.0))
    ]
    return pl.DataFrame(rows).with_columns(**{k: pl.lit(v) for k, v in columns.items()})


def test_cells_are_where_they_belong(rows: pl.DataFrame, outcomes: Outcomes) -> None:
    assert outcomes.name == "small"
    assert len(outcomes) == 120
    assert outcomes.models == ("sim-coder", "sim-encyclopedia", "sim-large", "sim-small")
    assert outcomes.score_kind == "correct"
    assert outcomes.cost_source == "simulated tokens x simulated prices"
    assert outcomes.tokens_source == "simulated"
    assert outcomes.dropped == {}
    assert [q.query_id for q in outcomes.queries] == rows["query_id"].unique(maintain_order=True).to_list()
    for row in rows.sample(50, seed=0).iter_rows(named=True):
        q = next(i for i, query in enumerate(outcomes.queries) if query.query_id == row["query_id"])
        m = outcomes.models.index(row["model"])
        assert outcomes.quality[q, m] == row["score"]
        assert outcomes.cost_usd[q, m] == row["cost_usd"]
        assert outcomes.tokens_in[q, m] == row["prompt_tokens"]
        assert outcomes.tokens_out[q, m] == row["completion_tokens"]
        query = outcomes.queries[q]
        assert (query.text, query.task, query.dataset) == (row["query"], row["task"], row["dataset"])
    assert np.isnan(outcomes.latency_s).all()


def test_the_order_of_rows_does_not_matter_to_the_cells(rows: pl.DataFrame, outcomes: Outcomes, save: Save) -> None:
    mixed = load(save(rows.sample(fraction=1, shuffle=True, seed=1)))
    place = {q.query_id: i for i, q in enumerate(mixed.queries)}
    again = mixed.take([place[q.query_id] for q in outcomes.queries])
    assert again.queries == outcomes.queries
    np.testing.assert_array_equal(again.quality, outcomes.quality)
    np.testing.assert_array_equal(again.cost_usd, outcomes.cost_usd)


def test_samples_are_averaged(save: Save) -> None:
    more = pl.DataFrame(
        {
            "query_id": ["q0", "q0"],
            "query": ["text 0", "text 0"],
            "model": ["b", "b"],
            "score": [0.0, 0.5],
            "cost_usd": [5.0, 8.0],
            "sample": [1, 2],
            "prompt_tokens": [10, None],
        }
    )
    data = load(save(pl.concat([table(), more], how="diagonal_relaxed")))
    assert data.models == ("a", "b")
    assert data.quality[0].tolist() == [0.0, 0.5]
    assert data.cost_usd[0].tolist() == [1.0, 5.0]
    assert data.quality[1].tolist() == [0.0, 1.0]
    assert len(data) == 10
    assert np.isnan(data.tokens_in[0]).all(), "an average over unknown counts is unknown"


def test_incomplete_queries_are_dropped_and_counted(save: Save) -> None:
    frame = table(10).filter(~((pl.col("query_id").is_in(["q3", "q7"])) & (pl.col("model") == "a")))
    data = load(save(frame))
    assert [q.query_id for q in data.queries] == ["q0", "q1", "q2", "q4", "q5", "q6", "q8", "q9"]
    assert list(data.dropped.values()) == [2]
    assert "outcome of every model" in next(iter(data.dropped))
    assert data.quality.tolist() == [[0.0, 1.0]] * 8
    assert load(save(frame), ["b"]).dropped == {}, "nothing is missing of b alone"


def test_a_fifth_may_be_incomplete_and_no_more(save: Save) -> None:
    def without(*ids: str) -> pl.DataFrame:
        return table(10).filter(~(pl.col("query_id").is_in(ids) & (pl.col("model") == "b")))

    assert len(load(save(without("q0", "q1")))) == 8
    with pytest.raises(TableError, match=r"3 of 10 queries lack .* \(least covered: 'b', 'a'\)"):
        load(save(without("q0", "q1", "q2")))


def test_models_are_chosen_in_the_order_given_and_matched_exactly(small_table: Path, outcomes: Outcomes) -> None:
    names = ["sim-small", "sim-coder"]
    data = load(small_table, names)
    assert data.models == tuple(names)
    np.testing.assert_array_equal(data.quality, outcomes.quality[:, [3, 0]])
    np.testing.assert_array_equal(outcomes.with_models(names).cost_usd, data.cost_usd)
    for call in (lambda: load(small_table, ["sim-Small"]), lambda: outcomes.with_models(["sim-Small"])):
        with pytest.raises(UnknownName, match=r"No model of small is called 'sim-Small'\. Did you mean 'sim-small'"):
            call()


def test_a_scan_is_loaded_as_it_is(small_table: Path, outcomes: Outcomes) -> None:
    scan = read(small_table)
    dearer = load(replace(scan, frame=scan.frame.with_columns(pl.col("cost_usd") * 2)))
    np.testing.assert_array_equal(dearer.cost_usd, outcomes.cost_usd * 2)


def test_names_that_differ_in_a_space_are_two_models(save: Save) -> None:
    frame = table().with_columns(pl.col("model").replace({"a": "b "}))
    assert load(save(frame)).models == ("b", "b ")


def test_one_id_in_two_data_sets_is_two_queries(save: Save) -> None:
    frame = pl.concat([table(5, dataset="one"), table(5, dataset="two").with_columns(pl.col("query") + "!")])
    data = load(save(frame))
    assert len(data) == 10
    assert [q.dataset for q in data.queries] == ["one"] * 5 + ["two"] * 5
    assert len(np.unique(data.groups)) == 5, "but the questions are the same"


def test_duplicates_and_two_texts_are_refused(save: Save) -> None:
    with pytest.raises(TableError, match=r"2 duplicate .* \('/q0', '[ab]', 0\)"):
        load(save(pl.concat([table(), table().head(2)])))
    odd = table().with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("other")).otherwise("query").alias("query")
    )
    with pytest.raises(TableError, match="1 query id\\(s\\) have more than one text, first 'q1'"):
        load(save(odd))


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({}, "correct"),  # all 0 or 1
        ({"score": 0.5}, "graded"),
        ({"score_kind": "graded"}, "graded"),  # what the table says wins
        ({"metric": "LLM-judge"}, "preference"),
        ({"metric": "exact match"}, "correct"),
        ({"metric": "win rate", "score_kind": "correct"}, "correct"),
    ],
)
def test_the_kind_of_score(columns: dict[str, object], kind: str, save: Save) -> None:
    assert load(save(table(**columns))).score_kind == kind


def test_right_or_wrong_among_graded_is_graded_but_preferences_are_not_mixed(save: Save) -> None:
    half = pl.int_range(pl.len()) < 10
    mixed = table().with_columns(pl.when(half).then(pl.lit("graded")).otherwise(pl.lit("correct")).alias("score_kind"))
    assert load(save(mixed)).score_kind == "graded"
    with pytest.raises(TableError, match=r"mixes scores of kind correct, preference.*split it"):
        load(save(mixed.with_columns(pl.col("score_kind").replace({"graded": "preference"}))))


def test_taking_rows_keeps_the_rest(outcomes: Outcomes) -> None:
    part = outcomes.take([5, 3, 3])
    assert [q.query_id for q in part.queries] == [outcomes.queries[i].query_id for i in (5, 3, 3)]
    np.testing.assert_array_equal(part.quality, outcomes.quality[[5, 3, 3]])
    assert part.groups.tolist() == [0, 1, 1], "groups are those of the rows taken"
    assert part.strata == tuple(outcomes.strata[i] for i in (5, 3, 3))
    assert len(outcomes.take([])) == 0


def test_tables_are_joined_over_the_models_they_share(outcomes: Outcomes) -> None:
    one = replace(outcomes.with_models(["sim-small", "sim-large", "sim-coder"]), dropped={"x": 1}, cost_source="bill")
    other = replace(outcomes.take(range(7)).with_models(["sim-large", "sim-small"]), dropped={"x": 2, "y": 3})
    both = concat("both", [one, other])
    assert both.models == ("sim-small", "sim-large")
    assert len(both) == 127
    np.testing.assert_array_equal(both.quality[120:], other.quality[:, ::-1])
    assert both.dropped == {"x": 3, "y": 3}
    assert both.cost_source == "bill; simulated tokens x simulated prices"
    with pytest.raises(TableError, match="share 1 model"):
        concat("both", [one, other.with_models(["sim-large"])])
    with pytest.raises(TableError, match="correct and preference can not be pooled"):
        concat("both", [one, replace(other, score_kind="preference")])


def test_numbers_are_good_ids(save: Save) -> None:
    numbered = table().with_columns(pl.col("query_id").str.slice(1).cast(pl.Int64))
    assert [q.query_id for q in load(save(numbered)).queries] == [q.query_id[1:] for q in load(save(table())).queries]


def test_a_sample_is_a_part_in_the_table_s_order() -> None:
    table = load("src/routewright/data/simulated.parquet")
    part = sampled(table, 20, 3)
    assert (len(part), len(part.models)) == (20, 3)
    places = [list(table.models).index(m) for m in part.models]
    assert places == sorted(places)
    ids = [q.query_id for q in table.queries]
    rows = [ids.index(q.query_id) for q in part.queries]
    assert rows == sorted(rows)
    assert (part.quality == table.quality[np.ix_(rows, places)]).all()
    assert sampled(table, 20, 3, seed=1).models != part.models or sampled(table, 20, 3, seed=1).queries != part.queries
    assert sampled(table, 10_000, 100) is table
