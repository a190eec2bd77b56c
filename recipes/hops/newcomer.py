"""A model that training never saw, added by its card and a few probes: writes a JSON for `page.py`.

    python recipes/hops/newcomer.py TABLE... --out out/hops/newcomer.json [--models A,B,...] [--left-out 5] [--seeds 5] [--minutes 20]

For every table, deal (seed) and test fold, the plan of `hops` is fitted on the other folds over the whole pool; the models that
it asks most there are left out one at a time. Without the model everything is fitted anew; then it is added by its card and 0,
20 or 50 of the training queries, and played on the test fold at the trade-offs of `trainers.py`. What is compared is the return,
averaged over trade-offs: added, and fitted on all outcomes, less without the model.

The card's prices are those that explain the recorded costs by the recorded tokens (non-negative least squares on the training
queries: costs of these tables are tokens times prices, or a bill); what a call costs follows from them and the mean tokens of the
other models. Nothing else of the model is known beforehand.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).parent))

from trainers import FOLDS, GRID, returns

from routewright.episodes.batched import play
from routewright.episodes.recorded import world_of
from routewright.outcomes import Outcomes, load
from routewright.outcomes.prices import call_usd
from routewright.outcomes.split import folds
from routewright.policies.hops import Hops
from routewright.types import Floats, ModelCard

PROBES = (0, 20, 50)
ARMS = ("without", *(f"added, {n} probes" for n in PROBES), "fitted on all")


def card_of(outcomes: Outcomes, model: str) -> ModelCard:
    """The card, with prices read back from what is recorded."""
    one = outcomes.with_models([model])
    tokens = np.concatenate([one.tokens_in, one.tokens_out], axis=1)
    known = np.isfinite(tokens).all(axis=1)
    prices, _ = nnls(tokens[known], 1e6 * one.cost_usd[known, 0])
    return ModelCard(model, float(prices[0]), float(prices[1]))


def shares(policy: Hops, outcomes: Outcomes, reference: float) -> Floats:
    """[M] of the calls, over all queries and trade-offs."""
    n = len(outcomes)
    played = play(policy, world_of(outcomes), np.tile(np.arange(n), len(GRID)), np.repeat(GRID * reference, n))
    asked: Floats = played.asked.sum(axis=0) / played.asked.sum()
    return asked


def gains(policy: Hops, train: Outcomes, test: Outcomes, reference: float) -> Floats:
    """[Q] return on the test queries, mean over trade-offs."""
    worst = world_of(train.with_models(policy.models)).worst
    return np.asarray(returns(policy, test.with_models(policy.models), worst, reference)[..., 0].mean(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="")
    parser.add_argument("--left-out", type=int, default=5, help="models a fold, those asked most")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1e9)
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    tables = {p.stem: load(p, [m for m in given.models.split(",") if m] or None, keys=True) for p in given.tables}
    found: dict[tuple[str, int], Floats] = {}  # [arms, Q]
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in tables}
    for seed in range(given.seeds):
        for name, outcomes in tables.items():
            fold = folds(outcomes.groups, outcomes.strata, FOLDS, seed)
            reference = float(outcomes.cost_usd[:, outcomes.quality.mean(axis=0).argmax()].mean())
            mine = np.full((len(ARMS), len(outcomes)), np.nan)
            for k in range(FOLDS):
                if time.monotonic() > end:
                    break
                rows = np.flatnonzero(fold == k)
                train, test = outcomes.take(np.flatnonzero(fold != k)), outcomes.take(rows)
                mine[:, rows], lines = one_fold(train, test, reference, given.left_out, seed * FOLDS + k)
                told[name] += [{"seed": seed, "fold": k, **line} for line in lines]
            if not np.isnan(mine).any():
                found[name, seed] = mine
            print(f"{time.strftime('%H:%M:%S')} seed {seed} {name}", flush=True)
        report(given.out, tables, found, told)


def one_fold(
    train: Outcomes, test: Outcomes, reference: float, most: int, seed: int
) -> tuple[Floats, list[dict[str, Any]]]:
    """[arms, Q] return on the test queries, mean over the models left out, and a line for each of them."""
    full = Hops()
    full.fit(train)
    share = shares(full, train, reference)
    whole = gains(full, train, test, reference)
    rows, lines = [], []
    for m in np.argsort(-share)[: min(most, int((share > 0).sum()))]:
        model = train.models[m]
        others = [name for name in train.models if name != model]
        known = train.with_models(others)
        price = call_usd(card_of(train, model), known)
        probes = train.take(np.random.default_rng((seed, int(m))).permutation(len(train))[: max(PROBES)])
        without = Hops()
        without.fit(known)
        arms, spent = [gains(without, train, test, reference)], []
        for n in PROBES:
            policy = copy.deepcopy(without)
            begun = time.process_time()
            policy.add(model, price, probes.take(np.arange(n)))
            spent.append(time.process_time() - begun)
            arms.append(gains(policy, train, test, reference))
        rows.append([*arms, whole])
        lines.append(
            {
                "model": model,
                "share_of_calls": float(share[m]),
                "card_usd": price,
                "mean_usd": float(train.cost_usd[:, m].mean()),
                "returns": [float(a.mean()) for a in rows[-1]],
                "add_s": spent,
            }
        )
    return np.mean(rows, axis=0), lines


def interval(own: Floats) -> dict[str, float]:
    drawn = np.random.default_rng(20_26).integers(len(own), size=(2000, len(own)))
    low, high = np.quantile(own[drawn].mean(axis=1), [0.025, 0.975])
    return {"mean": float(own.mean()), "low": float(low), "high": float(high)}


def report(
    out: Path,
    tables: dict[str, Outcomes],
    found: dict[tuple[str, int], Floats],
    told: dict[str, list[dict[str, Any]]],
) -> None:
    result: dict[str, Any] = {
        "made": {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}",
        },
        "newcomers": {},
    }
    for name, outcomes in tables.items():
        deals = sorted(seed for table, seed in found if table == name)
        if not deals:
            continue
        mean = np.mean([found[name, seed] for seed in deals], axis=0)  # [arms, Q]
        lines = [line for line in told[name] if line["seed"] in deals]
        folds_done = {(line["seed"], line["fold"]) for line in lines}
        result["newcomers"][name] = {
            "queries": len(outcomes),
            "models": len(outcomes.models),
            "deals": deals,
            "without": float(mean[0].mean()),
            "gains": {arm: interval(mean[i] - mean[0]) for i, arm in enumerate(ARMS) if i},
            "to_fitted_on_all": {arm: interval(mean[i] - mean[-1]) for i, arm in enumerate(ARMS[:-1]) if i},
            "left_out": len({line["model"] for line in lines}),
            "share_of_calls": sum(line["share_of_calls"] for line in lines) / len(folds_done),
            "add_s": float(np.mean([line["add_s"] for line in lines])),
            "lines": lines,
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
