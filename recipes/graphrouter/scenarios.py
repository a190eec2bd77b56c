"""GraphRouter's three scenarios on outcome tables, beside what needs no graph.

    python recipes/graphrouter/scenarios.py ../shared/data/mmlu_redux.parquet --out out/graphrouter

Reward of a choice: a P - b C, quality and cost scaled to [0, 1] over the training part, (a, b) of `SCENARIOS`; that is the
paper's measure. Everything is chosen and fitted on four folds and judged on the fifth, over `--seeds` seeds. Candidates:
GraphRouter with its own objective, ours (`regress`), the single model of the highest mean reward, the dearest and the
cheapest model, knn, kmeans and ridge (those forecast quality, take each model's forecast cost, and choose by the same reward), and the
oracle. Intervals are paired, over queries and seeds. CPU seconds of one fit and the process's peak memory are measured on
one thread. Tables are cut as `recipes/route_profile` cuts them.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from routewright.encoders import build_encoder
from routewright.evaluate.intervals import Draws, interval
from routewright.outcomes import load
from routewright.outcomes.arrays import Outcomes, sampled
from routewright.outcomes.split import folds
from routewright.outcomes.table import beside
from routewright.scorers import build_scorer
from routewright.scorers.graphrouter import SCENARIOS
from routewright.types import Floats, Forecast

FOLDS, DRAWS = 5, 1000
BASELINES = ("knn", "kmeans", "ridge")


def one_seed(table: Outcomes, seed: int, spent: dict[str, list[float]]) -> dict[str, dict[str, Floats]]:
    """Scenario -> label -> [Q] reward of what was chosen for each query when nothing fitted had seen it."""
    fold = folds(table.groups, table.strata, FOLDS, seed)
    out: dict[str, dict[str, Floats]] = {s: {} for s in SCENARIOS}
    for k in range(FOLDS):
        rows, wanted = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        train, test = table.take(rows), table.take(wanted)
        encoder = build_encoder("hashing")
        texts = [q.text for q in train.queries]
        encoder.fit(texts)
        x, y = encoder.encode(texts), encoder.encode([q.text for q in test.queries])
        top = float(train.cost_usd.max())
        cost = test.cost_usd / top

        def fitted(
            kind: str, name: str, train: Outcomes = train, test: Outcomes = test, x: Floats = x, y: Floats = y, **o: str
        ) -> Forecast:
            scorer = build_scorer(kind, o, seed)
            began = time.process_time()
            scorer.fit(train, x)
            spent.setdefault(name, []).append(time.process_time() - began)
            return scorer.forecast(test.queries, y)

        shared = {kind: fitted(kind, kind) for kind in BASELINES}
        shared["graphrouter, regress"] = fitted("graphrouter", "graphrouter, regress")
        for scenario, (a, b) in SCENARIOS.items():
            reward = a * test.quality - b * cost
            mean = a * train.quality.mean(axis=0) - b * train.cost_usd.mean(axis=0) / top
            price = train.cost_usd.mean(axis=0)
            own = fitted("graphrouter", "graphrouter, winner", objective="winner", scenario=scenario).quality
            picks = {
                "graphrouter, winner": own.argmax(axis=1),
                **{label: (a * f.quality - b * f.cost_usd / top).argmax(axis=1) for label, f in shared.items()},
                "best single": np.full(len(test), mean.argmax()),
                "dearest": np.full(len(test), price.argmax()),
                "cheapest": np.full(len(test), price.argmin()),
                "oracle": reward.argmax(axis=1),
            }
            for label, pick in picks.items():
                column = out[scenario].setdefault(label, np.zeros(len(table)))
                column[wanted] = reward[np.arange(len(test)), pick]
    return out


def main() -> None:
    """Measure the tables given, one JSON each."""
    parser = argparse.ArgumentParser(description="GraphRouter's three scenarios.")
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=400, help="queries of a table")
    parser.add_argument("--pool", type=int, default=16, help="models of a table, drawn once")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        import torch
    except ImportError:
        parser.error('graphrouter is trained with torch: pip install "routewright[train]"')
    torch.set_num_threads(1)
    for path in given.tables:
        whole = load(path)
        table = sampled(whole, given.most, given.pool)
        spent: dict[str, list[float]] = {}
        runs = []
        for seed in range(given.seeds):
            runs.append(one_seed(table, seed, spent))
            print(table.name, "seed", seed, f"{time.process_time():.0f} CPU s", flush=True)
        draws = Draws.make(table.groups, given.seeds, DRAWS, (37, 1))
        scenarios = {}
        for scenario in SCENARIOS:
            mean, many = {}, {}
            for label in runs[0][scenario]:
                stacked = np.stack([r[scenario][label] for r in runs])
                mean[label] = float(stacked.mean())
                many[label] = draws.over_seeds(draws.means(stacked).T)
            scenarios[scenario] = {
                label: {
                    "reward": interval(mean[label], many[label]),
                    "against_best_single": interval(
                        mean[label] - mean["best single"], many[label] - many["best single"]
                    ),
                    "against_winner": interval(
                        mean[label] - mean["graphrouter, winner"], many[label] - many["graphrouter, winner"]
                    ),
                }
                for label in mean
            }
        found = {
            "table": table.name,
            "queries": len(table),
            "cut_from": len(whole),
            "models": len(table.models),
            "seeds": given.seeds,
            "scenarios": scenarios,
            "fit_cpu_s": {label: float(np.median(v)) for label, v in spent.items()},
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        with beside(given.out / f"{path.stem}.json") as part:
            part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(path.stem, len(table), "done", flush=True)


if __name__ == "__main__":
    main()
