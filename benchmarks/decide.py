"""How fast a fitted router decides: one query at a time, and in batches. One thread.

Measured from text to decision: encoding with the hashing encoder, forecasting 49 models, choosing.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np


def run() -> dict[str, Any]:
    """p50 and p99 of one decision in ms, and decisions per second in batches, per policy."""
    from threadpoolctl import threadpool_limits

    from benchmarks.worlds import bfcl
    from routewright.router import fit
    from routewright.scorers import SCORERS

    data, name = bfcl()
    queries = list(data.queries)
    out: dict[str, Any] = {"table": name, "mean_characters": float(np.mean([len(q.text) for q in queries]))}
    with threadpool_limits(1):
        for policy in SCORERS:
            router = fit(data, policy)
            router.decide(queries[:64], 0.01)
            single = []
            for query in queries[:400]:
                start = time.perf_counter()
                router.decide([query], 0.01)
                single.append(time.perf_counter() - start)
            batch = []
            for _ in range(5):
                start = time.perf_counter()
                router.decide(queries, 0.01)
                batch.append(time.perf_counter() - start)
            out[policy] = {
                "single_p50_ms": 1e3 * float(np.median(single)),
                "single_p99_ms": 1e3 * float(np.quantile(single, 0.99)),
                "batch_per_s": len(queries) / min(batch),
            }
    return out
