"""Price files, and costs from tokens."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from routewright.errors import ConfigError, TableError
from routewright.outcomes.prices import read_prices, reprice
from routewright.types import ModelCard

TOML = '[models."a/b-1"]\nusd_per_mtok_in = 2.5\nusd_per_mtok_out = 10\n'
ROWS = pl.DataFrame({"model": ["a/b-1", "a/b-1"], "prompt_tokens": [1000, 0], "completion_tokens": [100, 3]})


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    (tmp_path / "prices.toml").write_text(TOML)
    return tmp_path / "prices.toml"


def test_toml_and_candidate_json_say_the_same(prices: Path, tmp_path: Path) -> None:
    found = read_prices(prices)
    assert found == {"a/b-1": ModelCard("a/b-1", 2.5, 10.0)}
    assert found.source == "prices.toml"
    (tmp_path / "c.json").write_text('{"a/b-1": {"input_price": 2.5, "output_price": 10, "size": "7B"}}')
    assert read_prices(tmp_path / "c.json") == found


def test_costs_are_tokens_times_prices(prices: Path) -> None:
    priced = reprice(ROWS, read_prices(prices))
    assert priced["cost_usd"].to_list() == pytest.approx([1000 * 2.5e-6 + 100 * 10e-6, 3 * 10e-6])
    assert priced["cost_source"].unique().to_list() == ["tokens x prices.toml"]
    lazy = reprice(ROWS.lazy(), read_prices(prices))
    assert isinstance(lazy, pl.LazyFrame)
    assert_frame_equal(lazy.collect(), priced)


def test_an_earlier_cost_is_replaced(prices: Path) -> None:
    rows = ROWS.with_columns(cost_usd=pl.lit(9.0), cost_source=pl.lit("a bill"))
    assert reprice(rows, read_prices(prices)).equals(reprice(ROWS, read_prices(prices)), null_equal=True)


def test_nothing_is_guessed(prices: Path) -> None:
    cards = read_prices(prices)
    with pytest.raises(TableError, match=r"no price for 1 model.*'other'"):
        reprice(ROWS.with_columns(model=pl.Series(["a/b-1", "other"])), cards)
    with pytest.raises(TableError, match=r"1 row\(s\) have no token counts.*a/b-1.*--estimate-tokens"):
        reprice(ROWS.with_columns(prompt_tokens=pl.Series([None, 1])), cards)
    with pytest.raises(TableError, match="no completion_tokens"):
        reprice(ROWS.drop("completion_tokens"), cards)
    with pytest.raises(TableError, match="no price"):
        reprice(ROWS, {"a/b-1": ModelCard("a/b-1", 1.0, None)})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.toml", TOML.replace("2.5", "-1"), "models.*usd_per_mtok_in"),
        ("p.toml", TOML.replace("2.5", "nan"), "usd_per_mtok_in"),
        ("p.toml", TOML.replace("usd_per_mtok_in", "usd_in"), "usd_"),
        ("p.toml", 'currency = "EUR"\n' + TOML, "currency"),
        ("p.toml", "", "models"),
        ("p.toml", "[models]\n", "models"),
        ("p.toml", "models = [", "not valid TOML"),
        ("p.json", "{}", "holds no models"),
        ("p.json", "[1]", "holds no models"),
        ("p.json", '{"m": {"input_price": 1}}', "'m' has no input_price and output_price"),
        ("p.json", '{"m": {"input_price": 1, "output_price": true}}', "'m' has no input_price"),
        ("p.json", '{"m": {"input_price": NaN, "output_price": 1}}', "'m' has no input_price"),
        ("p.json", '{"m": {"input_price": -1, "output_price": 1}}', "usd_per_mtok_in"),
        ("p.json", '{"m": ', "not valid JSON"),
        ("p.yaml", "models: []", "no price file"),
    ],
)
def test_a_broken_price_file_is_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_prices(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_price_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("p.toml", "p.json"):
        with pytest.raises(ConfigError, match="can not be read"):
            read_prices(tmp_path / name)
