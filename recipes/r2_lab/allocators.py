"""Trains the allocators of `r2` on the lab, a seed a set of questions; see README.md.

    python recipes/r2_lab/allocators.py out/r2

Reads `data-SEED` of `routewright r2 plans` and `routewright r2 allocations` in that folder; writes for each seed

    search-SEED    the allocator fitted on outcomes of searched subtasks alone
    search-rl-SEED the same after policy gradient on whole answers
    ridge-SEED     fitted on these and on plain validation questions of every family, whose answers are known
    gate-SEED      that with one more column, `r2`: what planning as a whole gives, so that it may choose not to plan
    rl-SEED        gate-SEED after policy gradient on whole answers

All have what tells kinds of answers apart (`r2_fits`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from routewright import outcomes as tables
from routewright.collect.queries import Asked
from routewright.coordinator import Coordinator
from routewright.episodes.engine import run_many
from routewright.lab.families import FAMILIES
from routewright.lab.pool import lab_pool, solvers
from routewright.lab.questions import query_of, questions
from routewright.lab.record import record, row_of
from routewright.lab.standing import VALUE_USD, played
from routewright.outcomes.table import beside
from routewright.policies.base import build_policy
from routewright.policies.r2 import R2
from routewright.policies.r2_fits import fit_fits
from routewright.policies.r2_state import said, same
from routewright.pools.pool import Pool
from routewright.router import Router, fit
from routewright.train.r1_world import judge_of
from routewright.train.r2_allocator import Reinforcement, reinforce
from routewright.train.remembering import remembering
from routewright.types import Episode, Query

OPTIONS: dict[str, Any] = {"decomposer": "planner", "form": "lines", "plan_tokens": 260, "most": 8}
PLAIN = 100  # plain questions a family
WHOLE = 150  # further composed validation questions, on which planning as a whole is tried


def made(router: Router | None, **options: Any) -> R2:
    """The policy with a router's forecasts."""
    policy = build_policy("r2", {**OPTIONS, **options})
    assert isinstance(policy, R2)
    if router is not None:
        Coordinator(policy, router)
    return policy


def fits_of(table: Path) -> Any:
    """Kinds of answers, from the references of a table of subtasks."""
    rows = pl.read_parquet(table).unique("query_id", keep="first", maintain_order=True)
    return fit_fits(rows["query"].to_list(), rows["reference"].to_list())


async def planned(policy: R2, pool: Pool, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """The column `r2` of a table of subtasks: each is given to the whole policy."""
    facts = rows.unique("query_id", keep="first", maintain_order=True).to_dicts()
    queries = [Query(f["query"], f["query_id"], f["task"], f["dataset"]) for f in facts]
    out = []
    async for i, episode in run_many(policy, pool, queries, VALUE_USD, concurrency=4):
        assert isinstance(episode, Episode), episode
        reply = next((s.reply for s in reversed(episode.steps) if s.reply is not None), None)
        right = same(said(replace(reply, text=episode.answer)), facts[i]["reference"]) if reply else False
        out.append(
            {**facts[i], "model": "r2", "score": float(right), "cost_usd": episode.cost_usd, "response": episode.answer}
        )
    return out


async def one(out: Path, seed: int, pool: Pool) -> None:
    """Everything of one seed; what is there already is kept."""
    began, names, table = time.process_time(), solvers(pool.models), out / f"data-{seed}" / "subtasks.parquet"
    fits = fits_of(table)

    def save(name: str, policy: R2, router: Router, **about: Any) -> None:
        policy.fits = fits
        Coordinator(policy, router, {"default": VALUE_USD}, {**router.about, "best_single": "large", **about}).save(
            out / f"{name}-{seed}"
        )

    found = fit(tables.load(table, names), "routewright", seed=seed)
    searched = made(found, itself="")
    save("search", searched, found)
    plain = out / f"plain-{seed}"
    await record(pool, [q for f in FAMILIES for q in questions(f, PLAIN, "validation", 60 + seed)], 0, plain, names)
    shutil.copy(table, plain / "subtasks.parquet")
    more = fit(tables.load(plain, names), "routewright", seed=seed)
    save("ridge", made(more), more)
    whole = out / f"whole-{seed}"
    asked = questions("composed", WHOLE, "validation", 50 + seed)
    await record(pool, asked, 0, whole, names)
    if not (whole / "plain.parquet").exists():
        policy = made(more)
        done = await played(policy, pool, asked)
        rows = [row_of(q, "r2", e) for q, e in zip(asked, done.episodes, strict=True)]
        with beside(whole / "r2.parquet") as temporary:
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary)
        simple = tables.read(plain).frame.collect()
        with beside(whole / "plain.parquet") as temporary:
            column = pl.DataFrame(
                await planned(policy, pool, simple), infer_schema_length=None, schema_overrides=simple.schema
            )
            pl.concat([simple, column.select(simple.columns)]).write_parquet(temporary)
    joint = fit(tables.load(whole, [*names, "r2"]), "routewright", seed=seed)
    gate = made(joint)
    save("gate", gate, joint)
    print(f"seed {seed}: fitted after {time.process_time() - began:.0f} CPU s", flush=True)
    for name, policy, router in (("rl", gate, joint), ("search-rl", searched, found)):
        if not (out / f"{name}-{seed}" / "policy.json").exists():
            began = time.process_time()
            history = await reinforced(policy, asked_again(seed), pool, seed)
            save(name, policy, router, history=history)
            print(f"{name}-{seed}: {time.process_time() - began:.0f} CPU s: {json.dumps(history[-1])}", flush=True)


def asked_again(seed: int) -> list[Asked]:
    """Questions for reinforcement: further validation ones."""
    return [Asked(query_of(q), q.answer, q.metric) for q in questions("composed", 300, "validation", 80 + seed)]


async def reinforced(policy: R2, asked: Sequence[Asked], pool: Pool, seed: int) -> list[dict[str, Any]]:
    kept = replace(pool, judge=judge_of(asked))
    queries = [a.query for a in asked]
    told = lambda r: print(seed, {k: round(v, 3) for k, v in r.items()}, flush=True)  # noqa: E731
    return await reinforce(policy, kept, queries[100:], queries[:100], Reinforcement(updates=20), seed, told)


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
