"""What a model's edges say of it before anything is trained on it: `graph`'s forecast of models left out of training.

    python recipes/graph/newcomer.py ../shared/data/bfcl_v1.parquet --out out/graph.json

Per seed the models are dealt into five parts and the queries into two halves. `graph` is fitted on the first half and on four
fifths of the models; each model left out is then given N outcomes on queries of the first half, and its quality is forecast on
the second. Beside it: the mean of the same N outcomes for every query (what needs no router), and `graph` fitted on all models
(what training on the newcomer would give). Mean squared errors over models, and paired differences to that mean with a 95%
interval from drawing models, each with all its seeds. Below 0 is better. Tables of graded scores are treated alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from routewright.encoders import build_encoder
from routewright.outcomes import load
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.split import folds
from routewright.scorers.base import build_scorer
from routewright.scorers.graph import Graph
from routewright.types import Floats, Vectors

PROBES = (10, 50, 200)
PARTS, DRAWS = 5, 2000


def errors(table: Outcomes, seed: int) -> Floats:
    """[M, 1 + 2 * len(PROBES)] squared errors: trained on the model, then per N: its mean, and the newcomer's forecast."""
    half = folds(table.groups, table.strata, 2, seed)
    seen, later = (np.flatnonzero(half == k) for k in (0, 1))
    texts = [q.text for q in table.queries]
    encoder = build_encoder("hashing", {})
    encoder.fit([texts[i] for i in seen])
    x, wanted = encoder.encode([texts[i] for i in seen]), encoder.encode([texts[i] for i in later])
    train, test = table.take(seen), table.take(later)
    rng = np.random.default_rng(seed)
    part = rng.permutation(len(table.models)) % PARTS
    order = rng.permutation(len(seen))
    out = np.zeros((len(table.models), 1 + 2 * len(PROBES)))
    whole = fitted(train, x, seed)
    out[:, 0] = ((whole.forecast(test.queries, wanted).quality - test.quality) ** 2).mean(axis=0)
    for k in range(PARTS):
        known = [m for m, p in zip(table.models, part, strict=True) if p != k]
        scorer = fitted(train.with_models(known), x, seed)
        for m in np.flatnonzero(part == k):
            truth = test.quality[:, m]
            for i, n in enumerate(PROBES):
                rows = order[:n]
                scores = train.quality[rows, m]
                said = scorer.newcomer(x[rows].astype(np.float64), scores, wanted.astype(np.float64))
                out[m, 1 + 2 * i] = ((scores.mean() - truth) ** 2).mean()
                out[m, 2 + 2 * i] = ((said - truth) ** 2).mean()
    return out


def fitted(table: Outcomes, x: Vectors, seed: int) -> Graph:
    scorer = build_scorer("graph", seed=seed)
    assert isinstance(scorer, Graph)
    scorer.fit(table, x)
    return scorer


def interval(difference: Floats) -> tuple[float, float]:
    """95% of the mean over models [M], drawn again."""
    rng = np.random.default_rng(0)
    means = difference[rng.integers(0, len(difference), (DRAWS, len(difference)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Measure the tables given, print a row a table and N, and write them as JSON."""
    parser = argparse.ArgumentParser(description="Forecast models that training left out, from a few outcomes.")
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    rows = []
    for path in given.tables:
        table = load(path)
        e = np.mean([errors(table, seed) for seed in range(given.seeds)], axis=0)
        for i, n in enumerate(PROBES):
            mean, said = e[:, 1 + 2 * i], e[:, 2 + 2 * i]
            row = {
                "table": path.stem,
                "models": len(table.models),
                "queries": len(table),
                "seeds": given.seeds,
                "probes": n,
                "mean_of_probes": float(mean.mean()),
                "newcomer": float(said.mean()),
                "trained_on_it": float(e[:, 0].mean()),
                "difference": float((said - mean).mean()),
                "interval": interval(said - mean),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    beside = given.out.with_suffix(".part")
    beside.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    beside.replace(given.out)


if __name__ == "__main__":
    main()
