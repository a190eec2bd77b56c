"""GraphRouter's three scenarios on outcome tables, beside what needs no graph.

    python recipes/graphrouter/scenarios.py ../shared/data/mmlu_redux.parquet --out out/graphrouter

Reward of a choice: a P - b C, quality and cost scaled to [0, 1] over the training part, (a, b) of `SCENARIOS`; that is the
paper's measure. Everything is chosen and fitted on four folds and judged on the fifth, over `--seeds` seeds. Candidates:
GraphRouter with its own objective, ours (`regress`), the single model of the highest mean reward, the dearest and the
cheapest model, knn, kmeans, ridge and `routewright`, the default (those forecast quality, take each model's forecast cost, and choose by the same reward), and the
oracle. Intervals are paired, over queries and seeds. CPU seconds of one fit and the process's peak memory are measured on
one thread. Tables are cut, and seeds kept, as `recipes/route_profile` does (`cut.py`): interrupted, the same command goes on.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from routewright.encoders import build_encoder
from routewright.evaluate.intervals import Draws, interval
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.split import folds
from routewright.outcomes.table import beside
from routewright.scorers import build_scorer
from routewright.scorers.graphrouter import SCENARIOS
from routewright.types import Forecast, Vectors

sys.path.insert(0, str(Path(__file__).parents[1] / "route_profile"))

from cut import Kept, arguments, cut, seeds

FOLDS, DRAWS = 5, 1000
BASELINES = ("knn", "kmeans", "ridge", "routewright")
SPENT = "CPU seconds"


def one_seed(table: Outcomes, seed: int) -> Kept:
    """`scenario: label` -> [Q] reward of what was chosen for each query when nothing fitted had seen it; `CPU seconds: label`
    -> those of each fit; `peak_mib`."""
    fold = folds(table.groups, table.strata, FOLDS, seed)
    out: Kept = {}
    spent: dict[str, list[float]] = {}
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
            kind: str,
            name: str,
            train: Outcomes = train,
            test: Outcomes = test,
            x: Vectors = x,
            y: Vectors = y,
            **o: str,
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
                column = out.setdefault(f"{scenario}: {label}", np.zeros(len(table)))
                column[wanted] = reward[np.arange(len(test)), pick]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**out, **{f"{SPENT}: {label}": np.array(v) for label, v in spent.items()}, "peak_mib": np.array(peak)}


def told(table: Outcomes, runs: list[Kept], scenario: str) -> dict[str, object]:
    """Every label's reward with its interval, and paired differences to the best single model and to the paper's objective."""
    draws = Draws.make(table.groups, len(runs), DRAWS, (37, 1))
    mean, many = {}, {}
    for name in runs[0]:
        if name.startswith(f"{scenario}: "):
            label = name.removeprefix(f"{scenario}: ")
            stacked = np.stack([r[name] for r in runs])
            mean[label] = float(stacked.mean())
            many[label] = draws.over_seeds(draws.means(stacked).T)

    def against(label: str, other: str) -> dict[str, float]:
        return interval(mean[label] - mean[other], many[label] - many[other])

    return {
        label: {
            "reward": interval(mean[label], many[label]),
            "against_best_single": against(label, "best single"),
            "against_winner": against(label, "graphrouter, winner"),
            "against_routewright": against(label, "routewright"),
        }
        for label in mean
    }


def main() -> None:
    """Measure the tables given, one JSON each."""
    given = arguments("GraphRouter's three scenarios.")
    for path in given.tables:
        table, whole = cut(path, given)

        def run(seed: int, table: Outcomes = table) -> Kept:
            return one_seed(table, seed)

        runs = seeds(table, given, run)
        found = {
            "table": table.name,
            "queries": len(table),
            "cut_from": whole,
            "models": len(table.models),
            "seeds": len(runs),
            "scenarios": {scenario: told(table, runs, scenario) for scenario in SCENARIOS},
            "fit_cpu_s": {
                name.removeprefix(f"{SPENT}: "): float(np.median(np.concatenate([r[name] for r in runs])))
                for name in runs[0]
                if name.startswith(SPENT)
            },
            "peak_mib": max(float(r["peak_mib"]) for r in runs),
        }
        with beside(given.out / f"{path.stem}.json") as part:
            part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(path.stem, len(table), "done", flush=True)


if __name__ == "__main__":
    main()
