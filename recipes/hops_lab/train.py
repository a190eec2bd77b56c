"""Train `relay` on the grown trees with several seeds and trainers: `python recipes/hops_lab/train.py out/hops-lab [--seeds 5]`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from grow import MODELS

from routewright.coordinator import Coordinator, load_coordinator
from routewright.episodes.tree import read_tree
from routewright.outcomes import load
from routewright.policies.base import build_policy
from routewright.policies.relay import Relay
from routewright.train.relay import fit_relay

KINDS: dict[str, dict[str, Any]] = {
    "q": {"roles": ["step"]},
    "q, all roles": {},
    "ppo": {"roles": ["step"], "trainer": "ppo"},
    "es": {"roles": ["step"], "trainer": "es", "training": {"es": {"generations": 15}}},
    "ppo, all roles": {"trainer": "ppo"},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", default=";".join(KINDS))
    given = parser.parse_args()
    tree = read_tree(sorted(given.out.glob("tree-*")), "answer:", models=MODELS)
    plain = load(given.out / "plain")
    print(f"{len(tree)} questions, {len(tree.query)} situations", flush=True)
    for seed in range(given.seeds):
        for kind in given.kinds.split(";"):
            folder = given.out / "trained" / f"{kind.replace(', ', '-').replace(' ', '-')}-{seed}"
            if folder.is_dir():
                continue
            policy = build_policy("relay", KINDS[kind], seed)
            assert isinstance(policy, Relay)
            begun = time.process_time()
            before = None
            if policy.config.trainer != "q":  # the same fitted Q of the same seed
                q = load_coordinator(folder.with_name(f"{'q-all-roles' if 'all' in kind else 'q'}-{seed}")).policy
                assert isinstance(q, Relay)
                before = q.net
            history = fit_relay(policy, tree, plain, start=before)
            told = {"cpu_s": time.process_time() - begun, "history": history, "kind": kind, "seed": seed}
            Coordinator(policy, about={"queries": len(tree)}).save(folder)
            (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
            print(kind, seed, f"{told['cpu_s']:.0f} CPU s", history[-1], flush=True)


if __name__ == "__main__":
    main()
