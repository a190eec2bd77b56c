"""`add-model`: from two tables to a coordinator that asks the new model; what users get wrong ends in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.policies.test_hops import drawn

import routewright
from routewright.outcomes.table import write

Cli = Callable[..., Any]


def rows(n: int = 300) -> pl.DataFrame:
    """The drawn world as a table with texts: the same number where two models say the same."""
    outcomes = drawn(n)
    assert outcomes.keys is not None
    return pl.DataFrame(
        [
            {
                "dataset": "drawn",
                "task": "task",
                "query_id": q.query_id,
                "query": q.text,
                "model": model,
                "response": "no idea" if outcomes.keys[i, m] < 0 else f"The answer is {outcomes.keys[i, m]}.",
                "score": float(outcomes.quality[i, m]),
                "metric": "math_exact",
                "cost_usd": float(outcomes.cost_usd[i, m]),
                "prompt_tokens": 100.0,
                "completion_tokens": 50.0,
            }
            for i, q in enumerate(outcomes.queries)
            for m, model in enumerate(outcomes.models)
        ]
    )


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """The pool's outcomes, and m2's replies to 40 of the queries."""
    frame = rows()
    pool, probes = tmp_path / "pool.parquet", tmp_path / "probes.parquet"
    write(frame.filter(pl.col("model") != "m2"), pool)
    write(frame.filter((pl.col("model") == "m2") & pl.col("query_id").is_in([f"q{i}" for i in range(40)])), probes)
    return pool, probes


def trained(cli: Cli, pool: Path, policy: str = "hops") -> Path:
    out = pool.parent / policy
    assert cli("train", pool, "--policy", policy, "--no-presets", "--out", out).code == 0
    return out


def test_a_model_joins_by_its_replies_or_by_its_price(cli: Cli, tables: tuple[Path, Path], tmp_path: Path) -> None:
    pool, probes = tables
    (tmp_path / "prices.toml").write_text("[models.m2]\nusd_per_mtok_in = 8.0\nusd_per_mtok_out = 40.0\n")
    before = trained(cli, pool)
    ran = cli("add-model", before, pool, probes, "--model", "m2", "--out", tmp_path / "wider")
    assert ran.code == 0, ran.err
    assert "40 probes" in ran.out
    wider = routewright.load_coordinator(tmp_path / "wider")
    assert wider.policy.models == ("m0", "m1", "m3", "m2")
    assert wider.about["added"] == [{"model": "m2", "probes": 40}]
    ran = cli(
        "add-model", before, pool, "--model", "m2", "--prices", tmp_path / "prices.toml", "--out", tmp_path / "card"
    )
    assert ran.code == 0, ran.err
    assert "no probes" in ran.out
    assert "2.8 USD / 1,000" in " ".join(ran.out.split())  # 100 tokens in and 50 out
    assert routewright.load_coordinator(before).policy.models == ("m0", "m1", "m3")


@pytest.mark.parametrize(
    ("policy", "more", "words"),
    [
        ("hops", ["--model", "m2"], "its price is all there is"),
        ("hops", ["--model", "m2", "--prices", "prices.toml"], "m2"),
        ("hops", ["--model", "m2", "--prices", "prices.toml", "--cost-usd", "1"], "Expected one of them"),
        ("hops", ["--model", "m0", "--cost-usd", "1"], "in it already"),
        ("hops", ["strangers.parquet", "--model", "m2"], "none of them"),
        ("cascade", ["--model", "m2", "--cost-usd", "1"], "can not take in a model"),
        ("ridge", ["--model", "m2", "--cost-usd", "1"], "whole pool"),
    ],
)
def test_what_can_not_be_added_is_one_line(
    cli: Cli, tables: tuple[Path, Path], tmp_path: Path, policy: str, more: list[str], words: str, monkeypatch: Any
) -> None:
    pool, probes = tables
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text("[models.other]\nusd_per_mtok_in = 8.0\nusd_per_mtok_out = 40.0\n")
    write(pl.read_parquet(probes).with_columns(pl.col("query_id") + "x"), "strangers.parquet")
    before = trained(cli, pool, policy)
    ran = cli("add-model", before, pool, *more, "--out", "wider")
    assert ran.code == 2, ran.out
    assert words in ran.err
    assert ran.err.count("\n") == 1
    assert not Path("wider").exists()
