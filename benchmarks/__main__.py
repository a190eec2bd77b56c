"""`python -m benchmarks [NAME...] --out DIR`: measure, print, and write one JSON a benchmark.

Each benchmark is a module with `run() -> dict`, in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

NAMES = ("decide", "engine", "evaluate", "scale", "peers", "collect", "gateway", "soak", "sessions", "hops")


def main() -> None:
    """Run the benchmarks asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], default=[])
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or NAMES:
        code = f"import json, benchmarks.{name} as b; print('RESULT', json.dumps(b.run()))"
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not lines:
            print(f"{name}: failed (exit {done.returncode})", file=sys.stderr)
            raise SystemExit(1)
        result = {
            "benchmark": name,
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}",
            "load": os.getloadavg()[0],
            **json.loads(lines[-1].removeprefix("RESULT ")),
        }
        (given.out / f"{name}.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
