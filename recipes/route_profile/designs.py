"""The whole table of RouteProfile: every design of a profile, read by three routers, judged out of fold.

    python recipes/route_profile/designs.py ../shared/data/mmlu_redux.parquet --out out/route_profile

Per seed the queries are dealt into five folds. Encoder, profiles and routers are fitted on four of them; each query of the
fifth goes to the model of the highest forecast, as in the paper (quality alone, whatever it costs). What it scored there is
kept per query; intervals are over queries and seeds (`Draws` of the evaluation), all differences paired. Beside them: the
best constant (chosen on the four folds), the mean of the task label (`task_mean`, which live traffic lacks) and `knn`. Tables of
more than `--most` queries or `--pool` models are cut to as many, drawn once and blindly. One JSON a table. Interrupted, the same
command goes on after the last seed it finished. `--designs` and `--routers` choose some of them; the findings need all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routewright.encoders import build_encoder
from routewright.evaluate.intervals import Draws, interval
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.split import folds
from routewright.outcomes.table import beside
from routewright.profiles.vectors import Graph, RouteProfile, designs
from routewright.scorers import build_scorer
from routewright.scorers.pairs import Kind, fit, forecast
from routewright.scorers.profiled import sides
from routewright.types import Floats, Ints

sys.path.insert(0, str(Path(__file__).parent))

from cut import Kept, arguments, cut, seeds

ROUTERS: tuple[Kind, ...] = ("sim", "mlp", "graph")
WIDTH, FOLDS, DRAWS = 16, 5, 1000


def one_seed(table: Outcomes, seed: int, chosen: Sequence[RouteProfile], routers: Sequence[Kind]) -> dict[str, Floats]:
    """Label -> [Q] score of the model chosen for each query when nothing fitted had seen it."""
    fold = folds(table.groups, table.strata, FOLDS, seed)
    out: dict[str, Floats] = {}
    for k in range(FOLDS):
        rows, wanted = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        train, test = table.take(rows), table.take(wanted)
        encoder = build_encoder("hashing")
        texts = [q.text for q in train.queries]
        encoder.fit(texts)
        x, y = encoder.encode(texts), encoder.encode([q.text for q in test.queries])

        def keep(label: str, pick: Floats, test: Outcomes = test, wanted: Ints = wanted) -> None:
            column = out.setdefault(label, np.zeros(len(table)))
            column[wanted] = test.quality[np.arange(len(test)), pick]

        keep("best constant", np.full(len(test), train.quality.mean(axis=0).argmax()))
        for kind in ("task_mean", "knn"):
            scorer = build_scorer(kind, seed=seed)
            scorer.fit(train, x)
            keep(kind, scorer.forecast(test.queries, y).quality.argmax(axis=1))
        graph = Graph(train)
        for design in chosen:
            space, z, profiles = sides(design, train, graph, x.astype(np.float64), WIDTH, seed)
            there = space.queries(test.queries, y.astype(np.float64))
            for router in routers:
                fitted = fit(router, z, profiles, train.quality, seed)
                keep(f"{design.name}: {router}", forecast(router, fitted, there, profiles).argmax(axis=1))
    return out


def measured(table: Outcomes, runs: list[Kept]) -> dict[str, object]:
    """Mean and interval of every label, and its paired difference to the best constant and to knn; a run a seed."""
    draws = Draws.make(table.groups, len(runs), DRAWS, (37, 0))
    mean, drawn = {}, {}
    for label in runs[0]:
        stacked = np.stack([r[label] for r in runs])
        mean[label] = float(stacked.mean())
        drawn[label] = draws.over_seeds(draws.means(stacked).T)

    def difference(a: str, b: str) -> dict[str, float]:
        return interval(mean[a] - mean[b], drawn[a] - drawn[b])

    labels = list(mean)
    return {
        "table": table.name,
        "queries": len(table),
        "models": len(table.models),
        "score_kind": table.score_kind,
        "seeds": len(runs),
        "scores": {label: interval(mean[label], drawn[label]) for label in labels},
        "against_constant": {label: difference(label, "best constant") for label in labels},
        "against_knn": {label: difference(label, "knn") for label in labels},
        "findings": findings(mean, drawn) if len(labels) > len(designs()) * len(ROUTERS) else {},
    }


def findings(mean: dict[str, float], drawn: dict[str, Floats]) -> dict[str, dict[str, float]]:
    """Differences between groups of designs, over all routers."""
    routers = {r: [label for label in mean if label.endswith(f": {r}")] for r in ROUTERS}

    def group(has: str, lacks: str = "\0") -> tuple[float, Floats]:
        mine = [x for r in ROUTERS for x in routers[r] if has in x and lacks not in x]
        return float(np.mean([mean[x] for x in mine])), np.mean([drawn[x] for x in mine], axis=0)

    def between(a: tuple[float, Floats], b: tuple[float, Floats]) -> dict[str, float]:
        return interval(a[0] - b[0], a[1] - b[1])

    flat, structured = group("flat "), group("structured ")
    free, trained = group("structured embedding", "masked"), group("masked")
    # Domain nodes are reached from a model by two hops or more; query nodes by one.
    near = [group(f"structured {kind} 1:") for kind in ("text", "embedding")]
    far = [group(f"structured {kind} {d}:") for kind in ("text", "embedding") for d in (3, 4)]

    def average(parts: list[tuple[float, Floats]]) -> tuple[float, Floats]:
        return float(np.mean([p[0] for p in parts])), np.mean([p[1] for p in parts], axis=0)

    return {
        "structured - flat": between(structured, flat),
        "queries (1 hop) - domains (3, 4 hops)": between(average(near), average(far)),
        "trained - free embedding": between(trained, free),
    }


def main() -> None:
    """Measure the tables given, one JSON each."""
    given = arguments("Every profile design, read by three routers.", designs="by name", routers="sim, mlp, graph")
    chosen = [d for d in designs() if not given.designs or d.name in given.designs]
    routers = [r for r in ROUTERS if not given.routers or r in given.routers]
    for path in given.tables:
        table, whole = cut(path, given)

        def run(seed: int, table: Outcomes = table) -> Kept:
            return one_seed(table, seed, chosen, routers)

        runs = seeds(table, given, run)
        spent = sum(float(r.pop("cpu_s")) for r in runs)
        found = measured(table, runs) | {"cut_from": whole, "cpu_s": spent}
        with beside(given.out / f"{path.stem}.json") as part:
            part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(path.stem, len(table), f"{spent:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
