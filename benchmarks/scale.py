"""How an evaluation grows with rows: 10,000 to 5,000,000 rows of 50 models, one seed; time and memory.

Reading and judging are timed apart; one seed of `ridge` and of the four controls, 200 draws.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROWS = (10_000, 50_000, 250_000, 1_000_000, 5_000_000)
MODELS = 50


def measure(path: str) -> dict[str, float]:
    """Read one table and evaluate it, in this process."""
    import resource
    import time

    from routewright.evaluate.crossfit import Unit
    from routewright.evaluate.report import build
    from routewright.evaluate.run import evaluate
    from routewright.evaluate.settings import Part, Settings
    from routewright.outcomes import load

    start = time.perf_counter()
    data = load(path)
    read = time.perf_counter()
    peak_read = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    settings = Settings(policies=(Part(kind="ridge"),), seeds=1, draws=200, jobs=1)
    build(settings, evaluate([Unit("scale", data)], settings), None, [], {})
    return {
        "read_s": read - start,
        "evaluate_s": time.perf_counter() - read,
        "peak_read_mib": peak_read,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run() -> dict[str, Any]:
    """One process a size; the exponent of the last decades says whether growth is linear (1.0)."""
    from benchmarks.worlds import write_synthetic

    out: dict[str, Any] = {"models": MODELS, "rows": {}}
    with tempfile.TemporaryDirectory() as folder:
        for rows in ROWS:
            path = Path(folder) / "table.parquet"
            write_synthetic(path, rows // MODELS, MODELS)
            code = f"import json, benchmarks.scale as b; print(json.dumps(b.measure({str(path)!r})))"
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
            out["rows"][str(rows)] = json.loads(done.stdout.splitlines()[-1])
            print(rows, out["rows"][str(rows)], file=sys.stderr, flush=True)
    sizes = np.log([float(r) for r in ROWS[2:]])
    for what in ("read_s", "evaluate_s"):
        times = np.log([out["rows"][str(r)][what] for r in ROWS[2:]])
        out[f"exponent_{what}"] = float(np.polyfit(sizes, times, 1)[0])
    return out
