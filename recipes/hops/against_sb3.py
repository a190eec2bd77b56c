"""Our PPO beside `sb3_contrib.MaskablePPO` on the Gymnasium face: return on unseen queries, steps per CPU second.

    python recipes/hops/against_sb3.py TABLE [--models A,B,...] [--steps 60000] [--out out/hops/sb3.json]

Needs stable-baselines3 and sb3-contrib, which this project does not depend on. Both learn on four folds and are played on the
fifth at the trade-offs of `trainers.py`. They do not see the same: MaskablePPO has the observation of `RouteEnv`, which
holds who agrees with how many but no chances; ours has the chances. Each uses one thread.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from trainers import FOLDS, GRID, returns

from routewright.episodes.gym import RouteEnv
from routewright.episodes.recorded import world_of
from routewright.outcomes import load
from routewright.outcomes.split import folds
from routewright.policies.base import ArrayPolicy, build_policy, certain
from routewright.policies.hops import Hops
from routewright.policies.observe import Observation
from routewright.types import Floats, Forecast, Ints


class Theirs(ArrayPolicy):
    """A trained MaskablePPO as a policy."""

    kind = "maskable-ppo"

    def __init__(self, model: Any, env: RouteEnv) -> None:
        super().__init__()
        self.model, self.space = model, env.observation_space
        self.models = env.world.models

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        seen = np.clip(obs.features().astype(np.float32), self.space.low, self.space.high)
        actions, _ = self.model.predict(seen, action_masks=obs.mask, deterministic=True)
        return certain(np.asarray(actions, dtype=np.int64))


def main() -> None:
    import torch
    from sb3_contrib import MaskablePPO

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path)
    parser.add_argument("--models", default="")
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    outcomes = load(given.table, [m for m in given.models.split(",") if m] or None, keys=True)
    reference = float(outcomes.cost_usd[:, outcomes.quality.mean(axis=0).argmax()].mean())
    rows: dict[str, list[dict[str, float]]] = {"MaskablePPO": [], "ours, no warm start": [], "tree": [], "cascade": []}
    for seed in range(given.seeds):
        fold = folds(outcomes.groups, outcomes.strata, FOLDS, seed)
        train, test = (outcomes.take(np.flatnonzero(keep)) for keep in (fold != 0, fold == 0))
        worst = world_of(train).worst

        def note(
            name: str,
            policy: ArrayPolicy,
            steps: float,
            cpu_s: float,
            judged: Any = (test, worst),
        ) -> None:
            gained = returns(policy, *judged, reference)[..., 0].mean()
            rows[name].append({"return": float(gained), "steps": steps, "cpu_s": cpu_s})
            print(name, rows[name][-1], flush=True)

        env = RouteEnv(world_of(train), value_usd=(GRID[0] * reference, GRID[-1] * reference))
        begun = time.process_time()
        model = MaskablePPO("MlpPolicy", env, n_steps=2048, batch_size=1024, gamma=1.0, ent_coef=0.003, seed=seed)
        model.learn(given.steps)
        note("MaskablePPO", Theirs(model, env), float(model.num_timesteps), time.process_time() - begun)
        done: list[float] = []
        settings = Hops.Config(trainer="ppo", guide="none", training={"episodes": 1536})
        ours = Hops(settings, seed)
        ours.progress = lambda record, done=done: done.append(1536 * (record["calls"] + 1))  # type: ignore[misc]
        begun = time.process_time()
        ours.fit(train)
        note("ours, no warm start", ours, float(sum(done)), time.process_time() - begun)
        for kind, name in (("hops", "tree"), ("cascade", "cascade")):
            policy = build_policy(kind, {}, seed)
            assert isinstance(policy, ArrayPolicy)
            begun = time.process_time()
            policy.fit(train)
            note(name, policy, 0.0, time.process_time() - begun)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    made = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}",
    }
    told = {"made": made, "table": outcomes.name, "models": len(outcomes.models), "rows": rows}
    given.out.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
