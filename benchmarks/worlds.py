"""Tables to measure on: the real bfcl_v1 where it is at hand, a synthetic one of any size otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from routewright.outcomes import Outcomes, load

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "bfcl_v1.parquet"
_WORDS = np.array([f"word{i}" for i in range(4000)])


def bfcl() -> tuple[Outcomes, str]:
    """1,098 queries x 49 models: bfcl_v1, or a synthetic table of that shape, and which it is."""
    if REAL.exists():
        return load(REAL), "bfcl_v1"
    path = Path("out/bench/synthetic_1098.parquet")
    write_synthetic(path, 1098, 49)
    return load(path), "synthetic, 1098 x 49"


def write_synthetic(path: Path, n_queries: int, n_models: int, seed: int = 0) -> None:
    """A table of random words, scores and costs; only its size matters."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    words = _WORDS[np.minimum(rng.zipf(1.3, (n_queries, 20)) - 1, len(_WORDS) - 1)]
    texts = pl.Series([" ".join(row) + f" {i}" for i, row in enumerate(words)])
    queries = pl.DataFrame({"query_id": pl.int_range(n_queries, eager=True).cast(pl.String), "query": texts})
    queries = queries.with_columns(task=pl.lit("t") + (pl.int_range(n_queries) % 7).cast(pl.String))
    models = pl.DataFrame({"model": [f"m{i:02d}" for i in range(n_models)]})
    frame = queries.join(models, how="cross")
    n = frame.height
    frame.with_columns(
        dataset=pl.lit("synthetic"),
        score=pl.Series((rng.random(n) < 0.6).astype(np.float32)),
        cost_usd=pl.Series(rng.lognormal(-7, 1, n)),
    ).write_parquet(path)
