"""How long an evaluation takes: ten policies, three seeds, 1,000 draws on 1,098 queries x 49 models."""

from __future__ import annotations

import resource
import time
from typing import Any

POLICIES = ("routewright", "fixed", "task_mean", "kmeans", "knn", "ridge", "mlp", "mf", "irt", "gbdt")


def run() -> dict[str, Any]:
    """Wall-clock seconds, CPU seconds and peak memory of the whole process tree."""
    from benchmarks.worlds import bfcl
    from routewright.evaluate.crossfit import Unit
    from routewright.evaluate.report import build
    from routewright.evaluate.run import evaluate
    from routewright.evaluate.settings import Part, Settings

    data, name = bfcl()
    settings = Settings(policies=tuple(Part(kind=p) for p in POLICIES), seeds=3, draws=1000)
    start = time.perf_counter()
    build(settings, evaluate([Unit(name, data)], settings), None, [], {})
    wall = time.perf_counter() - start
    own, workers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "table": name,
        "policies": list(POLICIES),
        "fits": 15 * 3 * len(settings.all_parts),
        "wall_s": wall,
        "cpu_s": own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime,
        # Peaks of the parent and of its largest worker; two workers at most are alive.
        "peak_mib": (own.ru_maxrss + 2 * workers.ru_maxrss) / 1024,
    }
