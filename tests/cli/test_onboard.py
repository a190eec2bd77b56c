"""`routewright onboard` from the command line: live probes, the cap, going on, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.collect.world import Scripted, install

from routewright.errors import ProviderError
from routewright.outcomes import load
from routewright.outcomes.schema import COLUMNS
from routewright.outcomes.table import write
from routewright.pools.providers.base import Ask

N = 60
POOL = """
[providers.here]
kind = "echo"
latency_s = 0.1
breaker_failures = 0
[[models]]
name = "new"
provider = "here"
usd_per_mtok_in = 1.0
usd_per_mtok_out = 2.0
[[models]]
name = "k0"
provider = "here"
usd_per_mtok_in = 1.0
usd_per_mtok_out = 2.0
[[models]]
name = "k1"
provider = "here"
usd_per_mtok_in = 2.0
usd_per_mtok_out = 4.0
"""


def known_table(path: Path, models: int = 6) -> Path:
    rng = np.random.default_rng(0)
    easy, able = rng.standard_normal(N), np.linspace(-1, 1, models)
    rows = [
        {
            "dataset": "made",
            "task": f"t{q % 2}",
            "query_id": f"q{q}",
            "query": f"What is {q} and {q}?",
            "reference": str(q),
            "model": f"k{m}",
            "response": "",
            "score": float(rng.random() < 1 / (1 + np.exp(-easy[q] - able[m]))),
            "score_kind": "correct",
            "metric": "contains",
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "cost_usd": 1e-5 * (m + 1),
        }
        for q in range(N)
        for m in range(models)
    ]
    frame = pl.DataFrame(rows)
    write(frame.select([name for name in COLUMNS if name in frame.columns]), path)
    return path


@pytest.fixture
def onboard(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    known_table(tmp_path / "known.parquet")
    (tmp_path / "pool.toml").write_text(POOL)
    base = ("onboard", "new", "--pool", "pool.toml", "--table", "known.parquet", "--out", "new.parquet")
    return lambda *more: cli(*base, *more)


def test_a_model_that_is_always_right_pays(onboard: Callable[..., Any], tmp_path: Path) -> None:
    ran = onboard("--probes", "20")
    assert ran.code == 0, ran.err
    assert "asked new 20 queries" in ran.out
    assert "new pays where a right answer is worth" in ran.out
    frame = pl.read_parquet("new.parquet")
    assert set(frame["model"]) == {"new"}
    assert frame["query_id"].n_unique() == 20
    assert set(frame["score"]) == {1.0}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["known.parquet", "new.parquet", "pool.toml"]
    both = pl.concat([pl.read_parquet("known.parquet"), frame], how="diagonal_relaxed")
    shared = both.filter(pl.col("query_id").is_in(frame["query_id"].to_list()))
    write(shared, tmp_path / "shared.parquet")
    assert load("shared.parquet").quality.shape == (20, 7)


def test_a_model_that_is_always_wrong_adds_nothing_or_only_cheapness(
    onboard: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Scripted(lambda ask, nth: "no idea"))
    ran = onboard("--probes", "30", "--value-usd", "1")
    assert ran.code == 0, ran.err
    assert "new adds nothing to this pool" in ran.out
    assert "at no price" in ran.out


def test_the_cap_ends_it_and_a_higher_one_goes_on(
    onboard: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = Scripted()
    install(monkeypatch, asked)
    ran = onboard("--probes", "25", "--budget-usd", "0.0042", "--max-tokens", "2000")
    assert ran.code == 0, ran.err
    assert "The cap of" in ran.out
    first = pl.read_parquet("new.parquet").height
    assert 0 < first < 25
    assert asked.calls["new"] == first
    assert pl.read_parquet("new.parquet")["cost_usd"].sum() <= 0.0042
    ran = onboard("--probes", "25", "--budget-usd", "1", "--max-tokens", "2000")
    assert ran.code == 0, ran.err
    assert pl.read_parquet("new.parquet").height == 25
    assert set(asked.cells.values()) == {1}  # nothing was asked twice
    assert not (tmp_path / ".new.parquet.onboard").exists()


def test_a_cap_that_allows_nothing(onboard: Callable[..., Any]) -> None:
    ran = onboard("--budget-usd", "0")
    assert ran.code == 2
    assert "Nothing was answered" in ran.err


def test_an_interrupted_run_goes_on(onboard: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(ask: Ask, nth: int) -> Any:
        if nth == 14:
            raise KeyboardInterrupt
        return None

    install(monkeypatch, Scripted(stop))
    assert onboard("--probes", "20").code == 130
    asked = Scripted()
    install(monkeypatch, asked)
    ran = onboard("--probes", "20")
    assert ran.code == 0, ran.err
    assert pl.read_parquet("new.parquet").height == 20
    assert asked.calls["new"] <= 10  # the first batch stands in its journal


def test_an_endpoint_that_fails_is_no_bad_model(onboard: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted(lambda ask, nth: ProviderError("it broke", "server", retryable=False)))
    ran = onboard("--probes", "3")
    assert ran.code == 2
    assert "it broke" in ran.err
    assert not Path("new.parquet").exists()
    install(monkeypatch, Scripted())
    ran = onboard("--probes", "3")
    assert ran.code == 0, ran.err
    assert set(pl.read_parquet("new.parquet")["score"]) == {1.0}


def test_single_failures_score_nothing_and_are_told(
    onboard: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(ask: Ask, nth: int) -> Any:
        return ProviderError("it broke", "server", retryable=False) if nth % 7 == 3 else None

    install(monkeypatch, Scripted(some))
    ran = onboard("--probes", "20")
    assert ran.code == 0, ran.err
    assert "calls failed and score 0" in ran.out


def test_recorded_answers_count_and_are_not_asked_again(
    onboard: Callable[..., Any], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert onboard("--probes", "15").code == 0
    asked = Scripted()
    install(monkeypatch, asked)
    old = set(pl.read_parquet("new.parquet")["query_id"])
    base = ("onboard", "new", "--pool", "pool.toml", "--table", "known.parquet", "--table", "new.parquet")
    ran = cli(*base, "--out", "more.parquet", "--probes", "10")
    assert ran.code == 0, ran.err
    assert "15 queries have a recorded answer" in ran.out
    assert not old & set(pl.read_parquet("more.parquet")["query_id"])
    ran = cli(*base, "--out", "none.parquet", "--probes", "0")
    assert ran.code == 0, ran.err
    assert asked.calls["new"] == 10
    assert not Path("none.parquet").exists()


def test_by_its_price_alone(onboard: Callable[..., Any]) -> None:
    ran = onboard("--probes", "0")
    assert ran.code == 0, ran.err
    assert "new would score" in ran.out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--design", "clever"], ["clever", "adaptive"]),
        (["--value-usd", "0"], ["above 0"]),
        (["--budget-usd", "-1"], ["budget_usd"]),
        (["--out", "."], ["is a folder"]),
        (["--out", "known.parquet"], ["--overwrite"]),
        (["--pool", "nowhere.toml"], ["nowhere.toml"]),
        (["--table", "nowhere.parquet"], ["nowhere.parquet"]),
        (["--metric", "nothing"], ["nothing", "numeric"]),
    ],
)
def test_refused(more: list[str], words: list[str], onboard: Callable[..., Any], tmp_path: Path) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())
    ran = onboard(*more)
    assert ran.code == 2
    assert all(word in ran.err for word in words), ran.err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_an_unknown_model(cli: Callable[..., Any], onboard: Callable[..., Any]) -> None:
    ran = cli("onboard", "newer", "--pool", "pool.toml", "--table", "known.parquet", "--out", "x.parquet")
    assert (ran.code, "'newer'" in ran.err) == (2, True)
