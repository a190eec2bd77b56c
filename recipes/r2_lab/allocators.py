"""Trains the allocators of `r2` on the lab, a seed a set of questions; see README.md.

    python recipes/r2_lab/allocators.py out/r2

Reads `data-SEED` of `routewright r2 plans` and `routewright r2 allocations` in that folder; writes for each seed

    search-SEED    the allocator fitted on outcomes of searched subtasks, and what tells kinds of answers apart
    search-rl-SEED the same after policy gradient on whole answers
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from routewright import outcomes as tables
from routewright.collect.queries import Asked
from routewright.coordinator import Coordinator
from routewright.lab.pool import lab_pool, solvers
from routewright.lab.questions import query_of, questions
from routewright.lab.standing import VALUE_USD
from routewright.policies.base import build_policy
from routewright.policies.r2 import R2
from routewright.pools.pool import Pool
from routewright.router import Router, fit
from routewright.train.r1_world import judge_of
from routewright.train.r2 import fits_of
from routewright.train.r2_allocator import Reinforcement, reinforce
from routewright.train.remembering import remembering

OPTIONS: dict[str, Any] = {"decomposer": "planner", "form": "lines", "plan_tokens": 260, "most": 8}


def made(router: Router | None, **options: Any) -> R2:
    """The policy with a router's forecasts."""
    policy = build_policy("r2", {**OPTIONS, **options})
    assert isinstance(policy, R2)
    if router is not None:
        Coordinator(policy, router)
    return policy


async def one(out: Path, seed: int, pool: Pool) -> None:
    """Everything of one seed; what is there already is kept."""
    names, table = solvers(pool.models), out / f"data-{seed}" / "subtasks.parquet"
    router = fit(tables.load(table, names), "routewright", seed=seed)
    policy = made(router, itself="")
    policy.fits = fits_of(table)

    def save(name: str, **about: Any) -> None:
        facts = {**router.about, "best_single": "large", **about}
        Coordinator(policy, router, {"default": VALUE_USD}, facts).save(out / f"{name}-{seed}")

    save("search")
    if not (out / f"search-rl-{seed}" / "policy.json").exists():
        began = time.process_time()
        history = await reinforced(policy, asked_again(seed), pool, seed)
        save("search-rl", history=history)
        print(f"search-rl-{seed}: {time.process_time() - began:.0f} CPU s: {json.dumps(history[-1])}", flush=True)


def asked_again(seed: int) -> list[Asked]:
    """Questions for reinforcement: further validation ones."""
    return [Asked(query_of(q), q.answer, q.metric) for q in questions("composed", 300, "validation", 80 + seed)]


async def reinforced(
    policy: R2, asked: Sequence[Asked], pool: Pool, seed: int, updates: int = 20
) -> list[dict[str, Any]]:
    kept = replace(pool, judge=judge_of(asked))
    queries = [a.query for a in asked]
    told = lambda r: print(seed, {k: round(v, 3) for k, v in r.items()}, flush=True)  # noqa: E731
    return await reinforce(policy, kept, queries[100:], queries[:100], Reinforcement(updates=updates), seed, told)


async def go(out: Path, seeds: Sequence[int]) -> None:
    pool = remembering(lab_pool(), out / "training.sqlite")
    try:
        for seed in seeds:
            await one(out, seed, pool)
    finally:
        await pool.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    asyncio.run(go(options.out, [int(s) for s in options.seeds.split(",")]))
