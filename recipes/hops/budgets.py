"""Plans of `hops` under budgets: writes a JSON for `page.py`.

    python recipes/hops/budgets.py TABLE... --out out/hops/budgets.json [--seeds 5] [--minutes 10]

Every episode may spend a multiple of the best single model's mean cost; a call may be made if the most that a recorded call of its
model cost fits what remains. Five folds, the trade-offs of `trainers.py`, the return averaged over them, for: the plan, which takes
its next best action where the best does not fit; the same falling back at once (`told_less.Falling`); and the fitted cascade.
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

from newcomer import interval
from told_less import Falling
from trainers import FOLDS, GRID

from routewright.episodes.batched import play
from routewright.episodes.recorded import RecordedWorld, world_of
from routewright.outcomes import load
from routewright.outcomes.split import folds
from routewright.policies.base import ArrayPolicy
from routewright.policies.cascade import Cascade
from routewright.policies.hops import Hops
from routewright.types import Floats

BUDGETS = (0.5, 1.0, 2.0, 4.0, 16.0)  # mean costs of the best single model
NAMES = ("plan", "plan, falling back at once", "cascade")


def gains(policy: ArrayPolicy, world: RecordedWorld, reference: float, budget: float) -> Floats:
    """[Q] return, mean over trade-offs."""
    n, at = len(world.outcomes), np.repeat(GRID * reference, len(world.outcomes))
    played = play(policy, world, np.tile(np.arange(n), len(GRID)), at, budget * reference)
    gain = (at * played.quality - played.cost_usd) / (at + reference)
    return np.asarray(gain.reshape(len(GRID), n).mean(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1e9)
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    tables = {p.stem: load(p, keys=True) for p in given.tables}
    found: dict[str, list[Floats]] = {name: [] for name in tables}  # a deal: [budgets, policies, Q]
    for seed in range(given.seeds):
        for name, outcomes in tables.items():
            if time.monotonic() > end:
                continue
            fold = folds(outcomes.groups, outcomes.strata, FOLDS, seed)
            reference = float(outcomes.cost_usd[:, outcomes.quality.mean(axis=0).argmax()].mean())
            mine = np.zeros((len(BUDGETS), len(NAMES), len(outcomes)))
            for k in range(FOLDS):
                rows = np.flatnonzero(fold == k)
                train = outcomes.take(np.flatnonzero(fold != k))
                world = replace(world_of(outcomes.take(rows)), worst=world_of(train).worst)
                plan, falling, cascade = Hops(), Falling(), Cascade()
                plan.fit(train)
                cascade.fit(train)
                falling.models, falling.tree, falling._alone = plan.models, plan.tree, plan._alone
                for i, budget in enumerate(BUDGETS):
                    mine[i][:, rows] = [gains(policy, world, reference, budget) for policy in (plan, falling, cascade)]
            found[name].append(mine)
            print(f"{time.strftime('%H:%M:%S')} seed {seed} {name}", flush=True)
    result: dict[str, Any] = {
        "made": {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}",
        },
        "budgets": {},
    }
    for name, deals in ((name, deals) for name, deals in found.items() if deals):
        mean = np.mean(deals, axis=0)
        result["budgets"][name] = {
            "deals": len(deals),
            "rows": [
                {
                    "budget": budget,
                    "return": mean[i].mean(axis=1).tolist(),
                    "minus_falling": interval(mean[i, 0] - mean[i, 1]),
                    "minus_cascade": interval(mean[i, 0] - mean[i, 2]),
                }
                for i, budget in enumerate(BUDGETS)
            ],
        }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
