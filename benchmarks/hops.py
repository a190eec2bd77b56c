"""Training `hops` by our PPO beside `sb3_contrib.MaskablePPO`: steps a CPU second, time to converge, memory, and the return.

Both see the same (the features of every action, the facts of the situation, the masks), are given the same rewards, start from
nothing, and make the same number of decisions. On a small world drawn from known classes, five seeds, they should come to the same
return within noise, which is the check of our PPO; on crux with its eight models (where it is at hand) the rest is measured too.
MaskablePPO meets single episodes, 16 side by side, as the Gymnasium face gives them; its network is its own, two layers of 64 on
everything at once, ours one small head that all models share. Every learner has a process of its own and one thread; its looks at
the queries held back are counted in our time, and not in the other's.

    python -m benchmarks hops          needs the extras train and bench
"""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.worlds import CRUX_EIGHT, SHARED, drawn
from routewright.episodes.batched import play
from routewright.episodes.recorded import world_of
from routewright.outcomes import Outcomes, load
from routewright.outcomes.split import folds
from routewright.policies.hops import Hops
from routewright.policies.hops_classes import Classes, fit_classes
from routewright.policies.hops_head import FACTS, FEATURES, Head, Seen
from routewright.policies.hops_patterns import sequences
from routewright.policies.hops_tree import Band, Tree, plan, situations
from routewright.train.rollout import Choose, Ground, draw_values, greedy, others_of, roll
from routewright.types import Floats, Ints

DEEPEST, ENVS = 4, 16
RATE = 1e-3  # of MaskablePPO: its default 3e-4 had not settled in so few steps
UPDATES = {"known": 12, "crux": 16}  # of ours; the other makes as many decisions
SEEDS = {"known": 5, "crux": 2}
LOW, HIGH = 0.3, 300.0  # trade-offs, in mean costs of the best single model
NEAR = 0.003  # of the best held-out return met: converged


@dataclass(frozen=True)
class Task:
    """Where one learns, what one watches, and where one is judged."""

    learn: list[Ground]
    watch: Ground
    test: Ground

    @property
    def reference_usd(self) -> float:
        return self.test.reference_usd


def run() -> dict[str, Any]:
    """Every learner on every world, in processes of their own."""
    for package in ("torch", "sb3_contrib"):
        if importlib.util.find_spec(package) is None:
            return {"skipped": f'needs {package}: pip install "routewright[train,bench]"'}
    out: dict[str, Any] = {}
    for where, seeds in SEEDS.items():
        if where == "crux" and not (SHARED / "crux.parquet").exists():
            continue
        rows: dict[str, list[dict[str, Any]]] = {"ours": [], "MaskablePPO": [], "plan": []}
        for seed in range(seeds):
            rows["ours"].append(_child("ours", where, seed, UPDATES[where]))
            rows["MaskablePPO"].append(_child("MaskablePPO", where, seed, int(rows["ours"][-1]["decisions"])))
            rows["plan"].append(_child("plan", where, seed, 0))
        out[where] = {
            "rows": rows,
            "steps_per_cpu_s": {who: _mean(rows[who], "steps_per_cpu_s") for who in ("ours", "MaskablePPO")},
            "converged_cpu_s": {who: _mean(rows[who], "converged_cpu_s") for who in ("ours", "MaskablePPO")},
            "peak_mib": {who: max(r["peak_mib"] for r in rows[who]) for who in ("ours", "MaskablePPO")},
            "ours_minus_MaskablePPO": _paired(rows["ours"], rows["MaskablePPO"]),
            "ours_minus_plan": _paired(rows["ours"], rows["plan"]),
        }
    return out


def _child(who: str, where: str, seed: int, budget: int) -> dict[str, Any]:
    code = (
        f"import json, benchmarks.hops as b; print('RESULT', json.dumps(b.learn({who!r}, {where!r}, {seed}, {budget})))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.split("RESULT ")[-1])
    print(where, seed, who, {k: v for k, v in found.items() if k != "curve"}, file=sys.stderr, flush=True)
    return found


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([r[key] for r in rows]))


def _paired(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean difference of the return over seeds, with a 95% interval by Student's t."""
    from scipy import stats

    own = np.array([a["return"] - b["return"] for a, b in zip(mine, theirs, strict=True)])
    half = float(stats.t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / np.sqrt(len(own)))
    return {"mean": float(own.mean()), "low": float(own.mean()) - half, "high": float(own.mean()) + half}


def learn(who: str, where: str, seed: int, budget: int) -> dict[str, Any]:
    """One learner on one world: what it came to, what it took. `budget` is updates of ours, or decisions."""
    task = _known(seed) if where == "known" else _crux(seed)
    if who == "plan":
        return {"return": _plan(task)}
    import torch

    torch.set_num_threads(1)
    warm = torch.nn.Parameter(torch.zeros(1))  # the first step of an optimiser loads half of torch: in nobody's time
    warm.sum().backward()
    torch.optim.Adam([warm]).step()
    before = _peak_mib()
    found = (_ours if who == "ours" else _theirs)(task, budget, seed)
    curve = found["curve"]  # decisions, CPU seconds, held-out return
    best = max(point[2] for point in curve)
    converged = next(point for point in curve if point[2] >= best - NEAR)
    return {
        **found,
        "steps_per_cpu_s": found["decisions"] / found["cpu_s"],
        "converged_cpu_s": converged[1],
        "converged_decisions": converged[0],
        "peak_mib": _peak_mib(),
        "before_mib": before,
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _known(seed: int) -> Task:
    """Four models in two classes; what is known of the classes comes from queries that nobody acts on."""
    known = drawn(1500, 1000 + seed)
    classes = fit_classes(known, (4, 8, 16), 4.0)
    grounds = [
        _ground(drawn(n, 100 * k + seed), classes, _reference(known)) for k, n in ((1, 1500), (2, 1000), (3, 4000))
    ]
    return Task(grounds[:1], grounds[1], grounds[2])


def _crux(seed: int) -> Task:
    outcomes = load(SHARED / "crux.parquet", CRUX_EIGHT, keys=True)
    fold = folds(outcomes.groups, outcomes.strata, 5, seed)
    train, test = (outcomes.take(np.flatnonzero(keep)) for keep in (fold != 0, fold == 0))
    part = folds(train.groups, train.strata, 4, seed)
    grounds = [
        _ground(world.outcomes, fit_classes(others, (4, 8, 16), 4.0), _reference(train))
        for world, others in others_of(train, part)
    ]
    return Task(grounds[:-1], grounds[-1], _ground(test, fit_classes(train, (4, 8, 16), 4.0), _reference(train)))


def _ground(outcomes: Outcomes, classes: Classes, reference_usd: float) -> Ground:
    return Ground(world_of(outcomes), classes, np.arange(len(outcomes.models)), None, DEEPEST, reference_usd)


def _reference(outcomes: Outcomes) -> float:
    return float(outcomes.cost_usd[:, outcomes.quality.mean(axis=0).argmax()].mean())


def _judge(ground: Ground, choose: Choose, trade_offs: int = 12) -> float:
    """Mean return over all queries and some trade-offs."""
    n = len(ground.world.outcomes)
    values = np.geomspace(LOW, HIGH, trade_offs) * ground.reference_usd
    _, ended = roll(ground, np.tile(np.arange(n), trade_offs), np.repeat(values, n), choose, keep=False)
    return float(ended.gain.mean())


def _plan(task: Task) -> float:
    """The plan's return, on the classes that the learners are judged with."""
    columns = task.test.columns
    members = sequences(len(columns), DEEPEST)
    values = np.geomspace(LOW, HIGH, 12) * task.reference_usd
    actions, _ = plan(situations(task.test.classes, members), members, values)
    bands = [Band(columns, tuple(a[k : k + 6] if len(a) > 1 else a for a in actions)) for k in (0, 6)]
    policy = Hops()
    outcomes = task.test.world.outcomes
    policy.models, policy.tree = outcomes.models, Tree(values, tuple(bands))
    policy._alone = np.stack([outcomes.quality.mean(axis=0), outcomes.cost_usd.mean(axis=0)])
    n = len(outcomes)
    at = np.repeat(values, n)
    played = play(policy, task.test.world, np.tile(np.arange(n), 12), at)
    return float(((at * played.quality - played.cost_usd) / (at + task.reference_usd)).mean())


def _ours(task: Task, updates: int, seed: int) -> dict[str, Any]:
    from routewright.policies.hops_training import PPO
    from routewright.train.journal import Journal
    from routewright.train.ppo import train_ppo

    curve: list[tuple[float, float, float]] = []

    def progress(record: dict[str, Any]) -> None:
        made = (curve[-1][0] if curve else 0.0) + record["decisions"]
        curve.append((made, time.process_time() - begun, record["held_out"]))

    settings = PPO(updates=updates, watch_every=1, least=LOW, most=HIGH)
    begun = time.process_time()
    head = train_ppo(Head.start(16, seed), task.learn, task.watch, settings, Journal(progress=progress), seed)
    cpu_s = time.process_time() - begun
    return {"return": _judge(task.test, greedy(head)), "decisions": curve[-1][0], "cpu_s": cpu_s, "curve": curve}


def _theirs(task: Task, decisions: int, seed: int) -> dict[str, Any]:
    import torch
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)
    envs = DummyVecEnv([lambda: _face(task) for _ in range(ENVS)])
    # Its defaults but for what the task asks for (no discount) and the same batch, passes and entropy as ours.
    same = {"n_steps": 2048 // ENVS, "batch_size": 512, "n_epochs": 6, "gamma": 1.0, "ent_coef": 0.003}
    model = MaskablePPO("MlpPolicy", envs, learning_rate=RATE, seed=seed, device="cpu", **same)
    curve, spent, best, kept = [], 0.0, -np.inf, model.policy.state_dict()
    while model.num_timesteps < decisions:
        begun = time.process_time()
        model.learn(4 * 2048, reset_num_timesteps=False)
        spent += time.process_time() - begun
        held = _judge(task.watch, _chooser(model))
        curve.append((float(model.num_timesteps), spent, held))
        if held > best:  # as ours: the best met on the queries held back
            best, kept = held, {k: v.clone() for k, v in model.policy.state_dict().items()}
    model.policy.load_state_dict(kept)
    made = float(model.num_timesteps)
    return {"return": _judge(task.test, _chooser(model)), "decisions": made, "cpu_s": spent, "curve": curve}


def _flat(seen: Seen) -> Floats:
    """[B, (C + 2) F + facts] what our head and our critic see, in one row."""
    return np.concatenate([seen.x.reshape(len(seen.x), -1), seen.facts], axis=1).astype(np.float32)


def _chooser(model: Any) -> Choose:
    def choose(seen: Seen) -> tuple[Ints, Floats]:
        actions, _ = model.predict(_flat(seen), action_masks=seen.mask, deterministic=True)
        return np.asarray(actions, dtype=np.int64), np.zeros(len(seen.x))

    return choose


def _face(task: Task) -> Any:
    """A Gymnasium environment over our grounds: their features, masks and rewards, one episode at a time."""
    import gymnasium

    from routewright.episodes.batched import Batch

    class Face(gymnasium.Env[Any, Any]):
        def __init__(self) -> None:
            size = (len(task.test.columns) + 2) * FEATURES + FACTS
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
            self.action_space = gymnasium.spaces.Discrete(len(task.test.columns) + 2)

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            self.ground = task.learn[int(self.np_random.integers(len(task.learn)))]
            row = self.np_random.integers(len(self.ground.world.outcomes), size=1)
            value = draw_values(self.np_random, 1, LOW * task.reference_usd, HIGH * task.reference_usd)
            self.batch, self.scale = Batch(self.ground.world, row, value), float(value[0]) + task.reference_usd
            return self._look(), {}

        def _look(self) -> Any:
            self.obs = self.batch.observation()
            self.seen = self.ground.see(self.obs)
            return _flat(self.seen)[0]

        def action_masks(self) -> Any:
            return self.seen.mask[0]

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            before = self.batch.cost_usd[0]
            self.batch.step(self.ground.action(np.array([int(action)])), self.obs)
            done = bool(self.batch.done[0])
            gain = self.batch.quality[0] * self.batch.facts.value_usd[0] if done else 0.0
            reward = (gain - (self.batch.cost_usd[0] - before)) / self.scale
            return (_flat(self.seen)[0] if done else self._look()), float(reward), done, False, {}

    return Face()
