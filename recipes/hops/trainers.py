"""The trainers of `hops` at equal trade-offs, in sample and out of fold: writes a JSON for `page.py`.

    python recipes/hops/trainers.py TABLE... --out out/hops/trainers.json [--methods tree,ppo,es,...] [--seeds 5] [--minutes 20]

For every table, deal (seed) and test fold, every method is fitted on the other folds, which hold whatever it chooses or
validates, and played on the test fold at every trade-off of a grid fixed beforehand. What is compared is the return it is
trained for, (value * quality - cost) / (value + reference), averaged over the grid. One fold a deal is also played on its
training queries. Stops taking up new work after `--minutes` and says which deals are whole.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from told_less import Deaf, OneTradeOff
from told_more import ByIndex, ByProfile

from routewright.episodes.batched import Batch, play
from routewright.episodes.recorded import world_of
from routewright.outcomes import Outcomes, load
from routewright.outcomes.split import folds
from routewright.policies.base import ArrayPolicy, build_policy

COLD = {"trainer": "ppo", "guide": "none"}
METHODS: dict[str, tuple[str | type[ArrayPolicy], dict[str, Any]]] = {
    "cascade": ("cascade", {}),
    "tree": ("hops", {}),
    "tree, one class": ("hops", {"classes": [1]}),
    "tree, three calls": ("hops", {"deepest": 3}),
    "tree, no replies": (Deaf, {}),
    "tree, no trade-off": (OneTradeOff, {}),
    "ppo": ("hops", {"trainer": "ppo"}),
    "ppo from the tree": ("hops", {"trainer": "ppo", "guide": "tree"}),
    "ppo, no warm start": ("hops", COLD),
    "ppo, no replies": ("hops", {**COLD, "without": "replies"}),
    "ppo, no forecasts": ("hops", {**COLD, "without": "forecasts"}),
    "ppo, no trade-off": ("hops", {**COLD, "without": "trade_off"}),
    "ppo, lengths": ("hops", {**COLD, "lengths": True}),
    "ppo, profiles": (ByProfile, COLD),
    "ppo, indices": (ByIndex, COLD),
    "es": ("hops", {"trainer": "es"}),
    "hierrouter": ("hops", {**COLD, "exactly": True, "deepest": 3}),
    "cascade by verifier": ("cascade", {"rule": "verifier"}),
}
FOLDS = 5
GRID = np.geomspace(0.3, 300.0, 19)  # trade-offs, in mean costs of the table's best single model


def returns(policy: ArrayPolicy, outcomes: Outcomes, worst: np.ndarray, reference: float) -> np.ndarray:
    """[V, Q, 3] return, quality and cost of every query at every trade-off."""
    n, values = len(outcomes), GRID * reference
    at = np.repeat(values, n)
    world = replace(world_of(outcomes), worst=worst)
    played = play(policy, world, np.tile(np.arange(n), len(values)), at)
    gain = (at * played.quality - played.cost_usd) / (at + reference)
    return np.stack([gain, played.quality, played.cost_usd], axis=1).reshape(len(values), n, 3)


def decision_ms(policy: ArrayPolicy, outcomes: Outcomes) -> float:
    """Milliseconds of one decision for one episode, after one reply; the median of 50."""
    batch = Batch(world_of(outcomes), np.array([0]), float(outcomes.cost_usd.max()))
    rng = np.random.default_rng(0)
    batch.step(policy.act(batch.observation(), None, rng)[0])
    obs = batch.observation()
    taken = []
    for _ in range(50):
        begun = time.perf_counter()
        policy.act(obs, None, rng)
        taken.append(1e3 * (time.perf_counter() - begun))
    return float(np.median(taken))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--models", default="")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--training", type=json.loads, default={}, help="settings of ppo in all methods, as JSON")
    parser.add_argument("--beside", default="", help="a method that differences are told from too")
    given = parser.parse_args()
    names = [m.strip() for m in given.methods.replace("tree, ", "tree; ").replace("ppo, ", "ppo; ").split(",")]
    names = ["cascade", *(n.replace(";", ",") for n in names if n != "cascade")]
    end = time.monotonic() + 60 * given.minutes
    tables = {p.stem: load(p, [m for m in given.models.split(",") if m] or None, keys=True) for p in given.tables}
    arrays: dict[tuple[str, str, int], np.ndarray] = {}
    seen: dict[tuple[str, str, int], float] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    decisions: dict[tuple[str, str], float] = {}
    for seed in range(given.seeds):
        for name in names:
            for table, outcomes in tables.items():
                fold = folds(outcomes.groups, outcomes.strata, FOLDS, seed)
                reference = float(outcomes.cost_usd[:, outcomes.quality.mean(axis=0).argmax()].mean())
                found = np.full((len(GRID), len(outcomes), 3), np.nan)
                for k in range(FOLDS):
                    if time.monotonic() > end:
                        break
                    kind, options = METHODS[name]
                    if given.training and options.get("trainer") == "ppo":
                        options = {**options, "training": given.training}
                    policy = (
                        build_policy(kind, options, seed)
                        if isinstance(kind, str)
                        else kind(kind.Config(**options), seed)
                    )
                    assert isinstance(policy, ArrayPolicy)
                    train = outcomes.take(np.flatnonzero(fold != k))
                    begun = time.process_time()
                    policy.fit(train)
                    seconds.setdefault((table, name), []).append(time.process_time() - begun)
                    worst = world_of(train).worst
                    rows = np.flatnonzero(fold == k)
                    found[:, rows] = returns(policy, outcomes.take(rows), worst, reference)
                    if k == 0:
                        decisions[table, name] = decision_ms(policy, train)
                        seen[table, name, seed] = float(returns(policy, train, worst, reference)[..., 0].mean())
                if not np.isnan(found).any():
                    arrays[table, name, seed] = found
                print(f"{time.strftime('%H:%M:%S')} seed {seed} {name} {table}", flush=True)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(
            json.dumps(report(tables, names, arrays, seen, seconds, decisions, given), indent=1), encoding="utf-8"
        )


def between(mine: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Difference of the return, mean over trade-offs and deals, 95% over queries."""
    own = (mine - base)[..., 0].mean(axis=0)
    drawn = np.random.default_rng(20_26).integers(len(own), size=(2000, len(own)))
    low, high = np.quantile(own[drawn].mean(axis=1), [0.025, 0.975])
    return {"mean": float(own.mean()), "low": float(low), "high": float(high)}


def report(
    tables: dict[str, Outcomes],
    names: list[str],
    arrays: dict[tuple[str, str, int], np.ndarray],
    seen: dict[tuple[str, str, int], float],
    seconds: dict[tuple[str, str], list[float]],
    decisions: dict[tuple[str, str], float],
    given: argparse.Namespace,
) -> dict[str, Any]:
    out: dict[str, Any] = {
        "made": {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}",
        },
        "folds": FOLDS,
        "training": given.training,
        "grid": GRID.tolist(),
        "tables": {},
    }
    for table, outcomes in tables.items():
        rows = {}
        for name in names:
            deals = [s for s in range(given.seeds) if (table, name, s) in arrays and (table, "cascade", s) in arrays]
            if not deals:
                continue
            mine = np.mean([arrays[table, name, s] for s in deals], axis=0)
            base = np.mean([arrays[table, "cascade", s] for s in deals], axis=0)
            rows[name] = {
                "deals": deals,
                "return": float(mine[..., 0].mean()),
                "difference": between(mine, base),
                "by_deal": [
                    float((arrays[table, name, s] - arrays[table, "cascade", s])[..., 0].mean()) for s in deals
                ],
                "in_sample": float(np.mean([seen[table, name, s] for s in deals])),
                "quality": mine[..., 1].mean(axis=1).tolist(),
                "cost_usd": mine[..., 2].mean(axis=1).tolist(),
                "decision_ms": decisions[table, name],
                "fit_s": float(np.mean(seconds[table, name])),
            }
            if all((table, given.beside, s) in arrays for s in deals):
                rows[name]["beside"] = between(mine, np.mean([arrays[table, given.beside, s] for s in deals], axis=0))
        out["tables"][table] = {"queries": len(outcomes), "models": len(outcomes.models), "methods": rows}
    return out


if __name__ == "__main__":
    main()
