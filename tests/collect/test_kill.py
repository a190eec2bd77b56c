"""Killed at any moment: SIGKILL of the real command, again and again; the table is the one of an undisturbed run."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.collect.world import write_jsonl, write_pool

CODE = "from routewright.cli import main; main()"
KILLS = 6


def command(out: str) -> list[str]:
    return [
        sys.executable,
        "-u",
        "-c",
        CODE,
        "collect",
        "q.jsonl",
        "--pool",
        "pool.toml",
        "--out",
        out,
        "--samples",
        "2",
    ]


def killed(folder: Path, rng: random.Random, early: bool) -> bool:
    """Start the command and kill it at a random moment, `early` or once it asks; whether it was still running."""
    process = subprocess.Popen(command("t.parquet"), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    if not early:
        process.stdout.readline()  # says what will be asked, just before it is
    time.sleep(rng.uniform(0.0, 1.0))
    running = process.poll() is None
    process.kill()
    process.wait()
    process.stdout.close()
    return running


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    rng = random.Random(5)
    write_jsonl(tmp_path / "q.jsonl", 500)
    write_pool(tmp_path / "pool.toml", delay_s=0.02)
    assert subprocess.run(command("whole.parquet"), cwd=tmp_path, check=False).returncode == 0
    kills = sum(killed(tmp_path, rng, early=i % 3 == 2) for i in range(KILLS))
    assert kills == KILLS
    assert not (tmp_path / "t.parquet").exists()
    ended = subprocess.run(command("t.parquet"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "may have been billed twice" in " ".join(ended.stdout.split())  # lines are wrapped
    found, wanted = pl.read_parquet(tmp_path / "t.parquet"), pl.read_parquet(tmp_path / "whole.parquet")
    assert found.height == 2000
    assert found.equals(wanted)
    assert (tmp_path / "t.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pool.toml", "q.jsonl", "t.parquet", "whole.parquet"]
