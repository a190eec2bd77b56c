"""`r2` and what it is compared with, on the test questions of prepare.py: see README.md.

    python play.py out/played.json --queries test.jsonl --coordinator out/course/2-allocator/coordinator

Everything runs under the same engine at the pool file's prices. What is done is kept, policy by policy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from trees import StepByStep, TreeOfThoughts

from routewright.collect.queries import read_queries
from routewright.coordinator import Coordinator, load_coordinator
from routewright.episodes.engine import run_many
from routewright.outcomes.table import beside
from routewright.policies.base import Policy, build_policy
from routewright.policies.r2 import R2
from routewright.pools.pool import Pool, load_pool
from routewright.router import Router
from routewright.train.r1_world import judge_of
from routewright.types import Episode, Generate

sys.path.append(str(Path(__file__).parents[1] / "r2_lab"))  # what both recipes share
from baselines import RandomAllocation, Shunt
from page import interval

ALL_LARGE = "plan, all large"


def players(made: Coordinator, small: str, large: str) -> dict[str, Callable[[], Policy]]:
    """Name -> policy."""
    policy, router = made.policy, made.router
    if not isinstance(policy, R2) or router is None:
        raise SystemExit("That coordinator is no `r2` with a router. Expected what `routewright train r2` writes.")

    def like(cls: type[R2] = R2, forecasts: bool = True, **options: Any) -> R2:
        other = cls(policy.config.model_copy(update=options), policy.seed)
        other.fits = policy.fits
        if forecasts:
            other.forecaster = policy.forecaster
            if policy.weights is not None:
                other.take(policy.names, policy.weights)
        return other

    return {
        "r2": like,
        "r2, review and new plans": lambda: like(retries=1, replans=1, repairs=1, confident=0.3, hopeless=0.1),
        ALL_LARGE: lambda: like(forecasts=False, models=(large,)),
        "plan, all small": lambda: like(forecasts=False, models=(small,)),
        "plan, random allocation": lambda: like(RandomAllocation, forecasts=False, models=router.models),
        "DoT (plan, small or large)": lambda: like(models=(small, large)),
        "DataShunt (small or large)": lambda: _shunt(router, small, large),
        "CoT (large)": lambda: StepByStep(large),
        "ToT, N = 2 (large)": lambda: TreeOfThoughts(large, large),
        "large alone": lambda: build_policy("single", {"model": large}),
    }


def _shunt(router: Router, small: str, large: str) -> Policy:
    policy = Shunt((small, large))
    Coordinator(policy, router)
    return policy


async def go(out: Path, pool: Pool, queries: Path, made: Coordinator, pair: tuple[str, str], value: float) -> None:
    asked = read_queries(queries)
    judged = replace(pool, judge=judge_of(asked))
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    try:
        for name, make in players(made, *pair).items():
            if name in found:
                continue
            rows: list[Any] = [None] * len(asked)
            async for i, episode in run_many(make(), judged, (a.query for a in asked), value, concurrency=16):
                if not isinstance(episode, Episode):
                    raise episode
                rows[i] = facts(episode)
            found[name] = rows
            with beside(out) as temporary:
                temporary.write_text(json.dumps(found), encoding="utf-8")
            print(name, {k: float(np.mean([r[k] for r in rows])) for k in rows[0] if k != "task"}, flush=True)
    finally:
        await pool.aclose()
    print(table(found))


def facts(episode: Episode) -> dict[str, Any]:
    calls = [s for s in episode.steps if s.reply is not None]
    planner = sum(s.reply.cost_usd for s in calls if isinstance(s.decision, Generate) and s.reply is not None)
    return {
        "task": episode.query.task,
        "quality": episode.quality or 0.0,
        "usd": episode.cost_usd,
        "planner_usd": planner,
        "latency_s": episode.latency_s,
        "calls": len(calls),
    }


def table(found: dict[str, Any]) -> str:
    """Right and cost of everybody, by benchmark too, and the paired difference from the all-large plan."""
    tasks = sorted({r["task"] for r in found[ALL_LARGE]})
    base = np.array([r["quality"] for r in found[ALL_LARGE]])
    dear = np.mean([r["usd"] for r in found[ALL_LARGE]])
    lines = [
        f"| policy | right, % | minus the all-large plan | USD / 1,000 | of that plan's cost | seconds | {' | '.join(tasks)} |",
        "|---" * (6 + len(tasks)) + "|",
    ]
    for name, rows in found.items():
        right, usd = np.array([r["quality"] for r in rows]), np.mean([r["usd"] for r in rows])
        each = [100 * np.mean([r["quality"] for r in rows if r["task"] == task]) for task in tasks]
        share = f"{100 * usd / dear:.0f}%" if dear else ""
        lines.append(
            f"| {name} | {100 * right.mean():.1f} | {interval(100 * (right - base))} | {1000 * usd:.3f} | {share} "
            f"| {np.mean([r['latency_s'] for r in rows]):.1f} | {' | '.join(f'{x:.1f}' for x in each)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--pool", default=str(Path(__file__).with_name("pool.toml")))
    parser.add_argument("--queries", type=Path, default=Path("test.jsonl"))
    parser.add_argument("--coordinator", type=Path, required=True)
    parser.add_argument("--small", default="llama-3.1-8b")
    parser.add_argument("--large", default="large")
    parser.add_argument("--value", type=float, default=0.02, help="of a right answer, USD")
    given = parser.parse_args()
    opened, pair = load_pool(given.pool), (given.small, given.large)
    asyncio.run(go(given.out, opened, given.queries, load_coordinator(given.coordinator), pair, given.value))
