"""HierRouter's own setting on the lab's tree: three hops, no stop, PPO from noise; beside it every fixed pipeline of three.

    python recipes/hops_lab/hier.py out/hops-lab [--questions 120] [--seeds 5]

Whole trees of four specialists, three hops deep, gone on after answers too: 84 calls a question, 64 pipelines. Learnt and chosen on
validation questions, judged on test questions, at one trade-off: a right answer is worth 30 mean costs of the best single model.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from routewright.episodes.tree import Tree, read_tree
from routewright.lab.pool import lab_pool
from routewright.lab.questions import questions
from routewright.lab.record import Growth, record
from routewright.outcomes import load
from routewright.policies.base import build_policy
from routewright.policies.relay import Relay
from routewright.train.relay import fit_relay
from routewright.train.relay_rollout import Ground, measure
from routewright.types import Floats

MODELS = ("facts", "words", "maths", "reader")
HOPS, TRADE = 3, 30.0
SETTING = {
    "roles": ["step"], "chain": HOPS, "calls": HOPS, "past": True, "exactly": True,
    "training": {"ppo": {"updates": 60, "rate": 0.003, "sharp": 10.0, "least": TRADE, "most": TRADE * 1.001}},
}  # fmt: skip


def pipelines(tree: Tree) -> tuple[list[str], Floats, Floats]:
    """Names, and quality and cost [pipelines, Q], of every sequence of HOPS models."""
    names, right, cost = [], [], []
    for sequence in itertools.product(range(len(tree.models)), repeat=HOPS):
        node, paid = np.arange(len(tree)), np.zeros(len(tree))
        stuck = np.zeros(len(tree), dtype=bool)  # a reply too long to be shown to anybody: the last stands
        for m in sequence:
            after = tree.below[node, m]
            stuck |= after < 0
            paid += np.where(stuck, 0.0, tree.cost_usd[node, m])
            node = np.where(stuck, node, after)
        names.append(" > ".join(tree.models[m] for m in sequence))
        right.append(tree.score[node] * tree.ended[node])
        cost.append(paid)
    return names, np.array(right), np.array(cost)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lab", type=Path, default=None)
    given = parser.parse_args()
    pool = lab_pool(given.lab) if given.lab else lab_pool()
    trees: dict[str, Tree] = {}
    for split, seed in (("validation", 31), ("test", 0)):
        asked = questions("composed", given.questions, split, seed)
        folder = given.out / f"whole-{split}"
        asyncio.run(
            record(pool, asked, Growth(HOPS, past=True), folder, MODELS, lambda *done: print(*done, flush=True))
        )
        trees[split] = read_tree(folder, "answer:", models=MODELS)
    learn, test = trees["validation"], trees["test"]
    names, right, _ = pipelines(learn)
    _, right_test, cost_test = pipelines(test)
    told: dict[str, Any] = {"questions": given.questions, "trade": TRADE, "models": MODELS, "hops": HOPS}
    told["single"] = {
        m: {"right": test.alone_score[:, i].tolist(), "usd": test.alone_cost_usd[:, i].tolist()}
        for i, m in enumerate(MODELS)
    }
    told["pipelines"] = [
        {"name": n, "in_sample": float(right[i].mean()), "right": right_test[i].tolist(), "usd": cost_test[i].tolist()}
        for i, n in enumerate(names)
    ]
    plain = load(given.out / "plain")
    for name, setting in (("hierrouter", SETTING), ("may stop", {"roles": ["step"], "chain": HOPS, "calls": HOPS})):
        told[name] = []
        for seed in range(given.seeds):
            policy = build_policy("relay", setting, seed)
            assert isinstance(policy, Relay)
            begun = time.process_time()
            history = fit_relay(policy, learn, plain)
            assert policy.net is not None
            assert policy.rows is not None
            value = TRADE * policy.reference_usd
            found = {}
            for part, tree in (("in_sample", learn), ("test", test)):
                ground = Ground(tree, np.arange(len(tree)), policy.rows, policy.rules, policy.reference_usd)
                _, ended = measure(ground, policy.net, np.array([value]))
                found[part] = {
                    "right": ended.quality.tolist(), "usd": ended.cost_usd.tolist(), "calls": float(ended.calls.mean()),
                    "asked": ended.asked.tolist(),
                }  # fmt: skip
            told[name].append({**found, "cpu_s": time.process_time() - begun, "last": history[-1]})
            said = {
                k: (round(float(np.mean(v["right"])), 3), round(1000 * float(np.mean(v["usd"])), 3))
                for k, v in found.items()
            }
            print(name, seed, said, f"{told[name][-1]['cpu_s']:.0f} CPU s", flush=True)
    (given.out / "hier.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
