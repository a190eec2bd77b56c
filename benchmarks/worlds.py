"""Tables to measure on: the real bfcl_v1 where it is at hand, a synthetic one of any size otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from routewright.outcomes import Outcomes, load
from routewright.types import Query

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = SHARED / "bfcl_v1.parquet"
CRUX_EIGHT = [
    "gpt-4o-2024-08-06",
    "claude-3-5-sonnet-20240620",
    "gpt-4o-mini-2024-07-18",
    "Meta-Llama-3.1-70B-Instruct",
    "Meta-Llama-3.1-8B-Instruct",
    "gemini-1.5-flash",
    "claude-3-haiku-20240307",
    "deepseek-v2.5-0908",
]
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


def drawn(n: int, seed: int) -> Outcomes:
    """Recorded answers of four models to queries of two known classes: easy ones, and hard ones that mislead the cheap models."""
    rng = np.random.default_rng(seed)
    share = np.array([0.6, 0.4])
    chance = np.array(  # [class, model, part]: the truth, the common mistake, an answer of its own, none
        [
            [[0.85, 0.05, 0.08, 0.02], [0.9, 0.05, 0.04, 0.01], [0.97, 0.01, 0.01, 0.01], [0.8, 0.1, 0.05, 0.05]],
            [[0.2, 0.4, 0.35, 0.05], [0.35, 0.3, 0.3, 0.05], [0.7, 0.15, 0.1, 0.05], [0.15, 0.5, 0.3, 0.05]],
        ]
    )
    cost_usd = np.array([[1e-4, 2e-4, 2e-3, 1e-4], [1.5e-4, 3e-4, 4e-3, 2e-4]])
    z = rng.choice(2, n, p=share)
    parts = (chance[z].cumsum(axis=2) < rng.random((n, 4))[:, :, None]).sum(axis=2).clip(max=3)
    keys = np.select([parts == 0, parts == 1, parts == 3], [0, 1, -1], 2 + np.arange(4)[None])
    return Outcomes(
        "drawn",
        tuple(Query(f"question {i}", f"q{i}") for i in range(n)),
        ("m0", "m1", "m2", "m3"),
        (parts == 0).astype(float),
        cost_usd[z],
        *(np.ones((n, 4)) for _ in range(3)),
        "correct",
        keys=keys,
    )
