"""`routewright collect` from the command line: a whole run, refusals, interruptions."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.collect.world import write_jsonl, write_pool

CODE = "from routewright.cli import main; main()"
JOURNAL = ".t.parquet.collect.sqlite"


@pytest.fixture
def collect(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`routewright collect q.jsonl --pool pool.toml --out t.parquet ...` in a folder with 20 queries and two models."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "q.jsonl", 20)
    write_pool(tmp_path / "pool.toml")
    base = ("collect", "q.jsonl", "--pool", "pool.toml", "--out", "t.parquet")
    return lambda *more: cli(*base, *more)


def test_a_whole_run(collect: Callable[..., Any], tmp_path: Path) -> None:
    ran = collect()
    assert ran.code == 0, ran.err
    assert "20 queries x 2 model(s) x 1 sample(s) = 40 rows" in ran.out
    assert "USD spent in all" in ran.out
    frame = pl.read_parquet("t.parquet")
    assert frame.height == 40
    assert set(frame["score"]) == {1.0}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pool.toml", "q.jsonl", "t.parquet"]
    before = Path("t.parquet").read_bytes()
    ran = collect()
    assert (ran.code, "--overwrite" in ran.err) == (2, True)
    assert collect("--overwrite").code == 0
    assert Path("t.parquet").read_bytes() == before


def test_a_table_can_be_asked_again(collect: Callable[..., Any], cli: Callable[..., Any]) -> None:
    assert collect().code == 0
    ran = cli("collect", "t.parquet", "--pool", "pool.toml", "--out", "u.parquet", "--models", "b", "--samples", "2")
    assert ran.code == 0, ran.err
    assert pl.read_parquet("u.parquet").select("model", "sample").unique().height == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--models", "c"], ["'c'", "a, b"]),
        (["--metric", "none"], ["requires a score"]),
        (["--metric", "nothing"], ["nothing", "numeric"]),
        (["--samples", "0"], ["samples"]),
        (["--budget-usd", "-1"], ["budget_usd"]),
        (["--budget-usd", "nan"], ["budget_usd"]),
        (["--metric-option", "x"], ["key=value"]),
        (["--pool", "nowhere.toml"], ["nowhere.toml"]),
        (["--out", "."], ["is a folder"]),
        (["--out", "q.jsonl/t.parquet"], ["is a file"]),
    ],
)
def test_refused(more: list[str], words: list[str], collect: Callable[..., Any], tmp_path: Path) -> None:
    ran = collect(*more)
    assert ran.code == 2
    assert all(word in ran.err for word in words), ran.err
    assert len(ran.err.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pool.toml", "q.jsonl"]


def test_the_cap_is_told_and_the_run_goes_on(collect: Callable[..., Any]) -> None:
    ran = collect("--budget-usd", "0.0024")
    assert ran.code == 2
    assert "cap of 0.0024 USD is reached" in ran.err
    assert "run the same command again" in ran.err
    assert Path(JOURNAL).exists()
    assert not Path("t.parquet").exists()
    ran = collect("--budget-usd", "1")
    assert ran.code == 0, ran.err
    assert "are done" in ran.out
    assert pl.read_parquet("t.parquet").height == 40


def test_another_pool_is_refused(collect: Callable[..., Any]) -> None:
    assert collect("--budget-usd", "0.0024").code == 2
    pool = Path("pool.toml")
    pool.write_text(pool.read_text().replace("usd_per_mtok_in = 1.0", "usd_per_mtok_in = 5.0"))
    ran = collect("--budget-usd", "1")
    assert ran.code == 2
    assert "usd_per_mtok_in of a: now 5.0, then 1.0" in ran.err


def test_failed_calls_keep_the_journal(collect: Callable[..., Any], tmp_path: Path) -> None:
    pool = Path("pool.toml")
    good = pool.read_text()
    pool.write_text(good.replace("concurrency = 8", "concurrency = 8\nfail_every = 7\nretries = 0"))
    ran = collect()
    assert ran.code == 0, ran.err
    assert "5 calls failed and score 0" in ran.out
    failed = pl.read_parquet("t.parquet").filter(pl.col("response").is_null())
    assert failed.height == 5
    assert all("; failed: " in metric for metric in failed["metric"])
    assert set(failed["score"]) == {0.0}
    pool.write_text(good)
    ran = collect("--retry-failed")
    assert ran.code == 0, ran.err
    assert pl.read_parquet("t.parquet")["response"].null_count() == 0
    assert not Path(JOURNAL).exists()


def test_killed_between_table_and_journal(collect: Callable[..., Any]) -> None:
    """The table is there and so is the whole journal: the same table again, and nothing is asked."""
    assert collect("--keep-journal").code == 0
    assert Path(JOURNAL).exists()
    before = Path("t.parquet").read_bytes()
    ran = collect()
    assert ran.code == 0, ran.err
    assert "40 are done" in ran.out
    assert Path("t.parquet").read_bytes() == before
    assert not Path(JOURNAL).exists()


def test_lines_where_there_is_no_terminal(collect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routewright.cli.collect.EVERY_S", 0.0)
    lines = collect().err.splitlines()
    assert lines[-1].startswith("40 of 40 rows, ")
    assert "USD, 0 failed" in lines[-1]


def start(folder: Path) -> subprocess.Popen[str]:
    """The command in a process of its own, under way: its journal has rows."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "collect", "q.jsonl", "--pool", "pool.toml", "--out", "t.parquet"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    wal = folder / f"{JOURNAL}-wal"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (wal.exists() and wal.stat().st_size > 60_000):
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted(number: signal.Signals, collect: Callable[..., Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "q.jsonl", 200)
    write_pool(tmp_path / "pool.toml", delay_s=0.15)
    process = start(tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "of 400 rows are kept in" in err
    assert "run the same command again" in err
    db = sqlite3.connect(JOURNAL)
    (rows,) = db.execute("select count(*) from rows").fetchone()
    (intents,) = db.execute("select count(*) from intents").fetchone()
    db.close()
    assert 0 < rows < 400
    assert f"{rows} of 400 rows" in err
    assert 0 < intents <= 8
    write_pool(tmp_path / "pool.toml")
    ran = collect()
    assert ran.code == 0, ran.err
    told = " ".join(ran.out.split())  # lines are wrapped
    assert f"up to {intents} calls" in told
    assert f"{rows} are done" in told
    assert json.loads(pl.read_parquet("t.parquet").select(pl.len()).write_json()) == [{"len": 400}]
