"""A model that training never saw: `python recipes/hops_lab/newcomer.py out/hops-lab [--seeds 2] [--questions 200]`.

`relay` is trained without `maths`, which then joins by a row: its price from its card, its skills from 0, 20 or 50 plain questions,
or all 420. Live on test questions beside the policy without it; trained with it: `live.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
from grow import MODELS
from live import MIDDLE

from routewright.coordinator import Coordinator, load_coordinator
from routewright.episodes.tree import read_tree
from routewright.lab.pool import lab_pool
from routewright.lab.questions import questions
from routewright.lab.standing import played
from routewright.outcomes import load
from routewright.policies.base import build_policy
from routewright.policies.relay import Relay
from routewright.policies.relay_rows import skills_of
from routewright.train.relay import fit_relay

NEW, LIKE = "maths", "reader"
PROBES = (0, 20, 50, None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--lab", type=Path, default=None)
    given = parser.parse_args()
    pool = lab_pool(given.lab) if given.lab else lab_pool()
    asked = questions("composed", given.questions, "test", seed=0)
    plain = load(given.out / "plain")
    known = [m for m in MODELS if m != NEW]
    cards = {card.name: card.usd_per_mtok_out or 0.0 for card in pool.cards}
    tasks = sorted({q.task for q in plain.queries})
    rows: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        folder = given.out / "trained" / f"without-{NEW}-{seed}"
        if not folder.is_dir():
            policy = build_policy("relay", {"roles": ["step"]}, seed)
            assert isinstance(policy, Relay)
            fit_relay(policy, read_tree(sorted(given.out.glob("tree-*")), "answer:", models=known), plain)
            Coordinator(policy).save(folder)
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(plain))
        for probes in ("without", *PROBES):
            policy = load_coordinator(folder).policy
            assert isinstance(policy, Relay)
            if probes != "without":
                some = order if probes is None else order[: int(probes)]
                policy.add(NEW, skills_of(plain, tasks, plain.models.index(NEW), some), cards[NEW] / cards[LIKE], LIKE)
            done = asyncio.run(played(policy, pool, asked, MIDDLE * policy.reference_usd))
            calls = [s.reply.model for e in done.episodes for s in e.steps if s.reply is not None]
            rows.append(
                {
                    "seed": seed, "probes": len(plain) if probes is None else probes, "right": [int(r) for r in done.right],
                    "usd": done.usd, "share": calls.count(NEW) / len(calls),
                }
            )  # fmt: skip
            print(
                seed,
                rows[-1]["probes"],
                np.mean(rows[-1]["right"]),
                1000 * np.mean(done.usd),
                rows[-1]["share"],
                flush=True,
            )
    (given.out / "newcomer.json").write_text(json.dumps({"new": NEW, "rows": rows}), encoding="utf-8")


if __name__ == "__main__":
    main()
