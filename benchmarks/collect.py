"""How fast `collect` is beside the calls themselves, how large it grows, and what 20 kills do to its table.

10,000 queries of some 370 characters x 5 models, each an `echo` endpoint of its own that answers at once: what is
measured is our own work. Each run is the real command in a process of its own. The killed one is stopped by SIGKILL at
random moments, 20 times, and run to its end.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

QUERIES, MODELS, KILLS = 10_000, 5, 20
CODE = """
import resource, sys, time
from routewright.cli import main
start = time.perf_counter()
main()
print("MEASURED", time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
PROVIDER = """
[providers.p{0}]
kind = "echo"
latency_s = 0.25
[[models]]
name = "m{0}"
provider = "p{0}"
usd_per_mtok_in = 0.1
usd_per_mtok_out = 0.4
"""


def run() -> dict[str, Any]:
    """Rows per second and peak memory at two sizes; kills survived and whether the tables are the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pool.toml").write_text("".join(PROVIDER.format(i) for i in range(MODELS)))
        with (folder / "q.jsonl").open("w") as file:
            for i in range(QUERIES):
                asked = {"query": f"What is {i} + {i}? " + "word " * 70, "reference": str(i), "metric": "contains"}
                file.write(json.dumps(asked) + "\n")
        runs = {
            f"{queries} queries x {samples} samples": _measured(folder, queries, samples)
            for queries, samples in ((QUERIES // 5, 1), (QUERIES // 5, 5), (QUERIES, 1))
        }
        return {"models": MODELS, "runs": runs, "killed": _killed(folder)}


def _command(out: str, queries: int, samples: int = 1) -> list[str]:
    command = [sys.executable, "-u", "-c", CODE, "collect", "q.jsonl", "--pool", "pool.toml", "--out", out]
    return [*command, "--limit", str(queries), "--samples", str(samples), "--overwrite"]


def _measured(folder: Path, queries: int, samples: int) -> dict[str, float]:
    """Best of three for the time, the largest of three for the memory; the start of the command is in both."""
    seconds, peaks = [], []
    for _ in range(3):
        done = subprocess.run(
            _command("whole.parquet", queries, samples), cwd=folder, stdout=subprocess.PIPE, text=True, check=True
        )
        took, peak = map(float, done.stdout.splitlines()[-1].split()[1:])
        seconds.append(took)
        peaks.append(peak)
    return {
        "seconds": min(seconds),
        "seconds_slowest": max(seconds),
        "rows_per_s": queries * MODELS * samples / min(seconds),
        "rows_per_s_slowest": queries * MODELS * samples / max(seconds),
        "peak_mib": max(peaks),
    }


def _killed(folder: Path) -> dict[str, Any]:
    rng = random.Random(0)
    for kill in range(KILLS):
        process = subprocess.Popen(
            _command("t.parquet", QUERIES), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        if kill % 4:
            process.stdout.readline()  # says what will be asked, just before it is; every fourth is killed anywhere
        time.sleep(rng.uniform(0.0, 0.6))
        if process.poll() is not None:
            raise RuntimeError(f"The run ended before it was killed {KILLS} times; measure with more queries.")
        process.kill()
        process.wait()
        process.stdout.close()
    ended = subprocess.run(
        _command("t.parquet", QUERIES), cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    said = " ".join(ended.split())  # lines are wrapped
    same = (folder / "t.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    frames = pl.read_parquet(folder / "t.parquet"), pl.read_parquet(folder / "whole.parquet")
    done = re.search(r"([\d,]+) are done", said)
    lost = re.search(r"up to ([\d,]+) calls, (\S+) USD", said)
    return {
        "kills": KILLS,
        "rows_before_the_last_run": int(done[1].replace(",", "")) if done else 0,
        "calls_maybe_billed_twice": int(lost[1].replace(",", "")) if lost else 0,
        "usd_maybe_billed_twice": float(lost[2]) if lost else 0.0,
        "rows": frames[0].height,
        "same_rows": frames[0].equals(frames[1]),
        "same_bytes": same,
    }
