"""`r2` and what it is compared with on composed test questions of the lab; see README.md.

    python recipes/r2_lab/measure.py out/r2 --questions 100 --seeds 0,1,2

Everything is asked of the lab's models as they run, greedily; a prompt that was sent to a model before is not sent again, but is
charged again. Every policy plays the same questions. What is done is kept, policy by policy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from allocators import made
from baselines import RandomAllocation, Shunt, Trees, of

from routewright.coordinator import Coordinator, load_coordinator
from routewright.lab.coordinator import shipped
from routewright.lab.families import Question
from routewright.lab.pool import lab_pool, solvers
from routewright.lab.questions import questions
from routewright.lab.standing import GoldPlan, Played, StepByStep, allocate, played
from routewright.outcomes.table import beside
from routewright.policies.base import Policy, build_policy
from routewright.pools.pool import Pool
from routewright.rewards.format import Format
from routewright.train.remembering import remembering
from routewright.types import Generate, Plan, Think

VALUES = (3e-4, 4e-4, 5e-4, 6e-4, 8e-4, 1e-3, 2e-3, 1e-2)  # USD for a right answer, along the frontier
CHOOSING = 100  # validation questions on which a trade-off is chosen
HIGH = 1e-2
OURS = "r2, router as shipped"
SEARCHED, SEARCHED_RL = "r2, searched subtasks", "r2, searched subtasks, then reinforcement"
TEST = 100  # seeds of test questions begin here, as those of `r1` do
Make = Callable[[Sequence[Question], dict[str, str]], Policy]


def facts(one: Played) -> dict[str, Any]:
    """Everything of one policy on one seed, question by question."""
    steps = [s for e in one.episodes for s in e.steps]
    calls = Counter(s.reply.model for s in steps if s.reply is not None)
    return {
        "right": [int(r) for r in one.right],
        "usd": one.usd,
        "coordination_usd": sum(s.reply.cost_usd for s in steps if isinstance(s.decision, Generate) and s.reply)
        / len(one.right),
        "calls": dict(calls),
        "malformed": sum(Format()(e) < 0 for e in one.episodes),
        "planned": sum(any(isinstance(s.action, Plan) for s in e.steps) for e in one.episodes),
        "stopped": sum(isinstance(s.action, Think) and s.node is not None for s in steps),
        "asked_again": sum("asked again" in getattr(s.decision, "reason", "") for s in steps),
    }


class Book:
    """What has been measured: name -> seed of questions -> facts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}

    async def play(
        self, name: str, seed: int, policy: Policy, pool: Pool, asked: Sequence[Question], value: float = HIGH
    ) -> None:
        if str(seed) in self.found.get(name, {}):
            return
        row = facts(await played(policy, pool, asked, value))
        self.found.setdefault(name, {})[str(seed)] = row
        with beside(self.path) as temporary:
            temporary.write_text(json.dumps(self.found))
        right, usd = sum(row["right"]) / len(asked), 1000 * sum(row["usd"]) / len(asked)
        print(
            f"{seed} {name}: {100 * right:.1f}% at {usd:.4f} USD / 1,000; asked again {row['asked_again']}", flush=True
        )


def baselines() -> dict[str, Make]:
    """Name -> policy, given the questions and the gold allocation. Those that forecast have the shipped router."""
    router = shipped().router
    assert router is not None

    def shunt() -> Policy:
        policy = Shunt(("small", "large"))
        Coordinator(policy, router)
        return policy

    return {
        "large alone": lambda asked, best: build_policy("single", {"model": "large"}),
        "DataShunt (small or large)": lambda asked, best: shunt(),
        "DoT (plan, small or large)": lambda asked, best: made(router, models=("small", "large"), itself=""),
        "plan, all large": lambda asked, best: made(None, models=("large",)),
        "gold plan, gold allocation": lambda asked, best: GoldPlan(asked, best),
        "gold plan and allocation, a planner paid": lambda asked, best: GoldPlan(asked, best, "planner"),
        "decompose, as shipped": lambda asked, best: shipped().policy,
        "plan, random allocation": lambda asked, best: of(
            RandomAllocation, None, models=tuple(solvers(lab_pool().models))
        ),
        "plan, all small": lambda asked, best: made(None, models=("small",)),
        "CoT (large, step by step)": lambda asked, best: StepByStep("large"),
        "ToT, N = 2 (large)": lambda asked, best: Trees("large"),
    }


def trained(out: Path, kind: str, seed: int, **options: Any) -> Policy:
    """A trained policy, with other options."""
    policy = load_coordinator(out / f"{kind}-{seed}").policy
    policy.config = policy.config.model_copy(update=options)
    return policy


def ours(**options: Any) -> Policy:
    """`r2` with the router that ships with the lab, whose column `decompose` says what planning as a whole gives."""
    return made(shipped().router, **{"itself": "decompose", **options})


async def choose(out: Path, pool: Pool) -> None:
    """The cheapest trade-off that answers as many validation questions right as the all-large plan."""
    asked = questions("composed", CHOOSING, "validation", 300)
    book = Book(out / "validation.json")
    await book.play("plan, all large", 0, made(None, models=("large",)), pool, asked)
    wanted = sum(book.found["plan, all large"]["0"]["right"])
    for value in VALUES:
        await book.play(f"{OURS} @{value:g}", 0, ours(), pool, asked, value)
    enough = [v for v in VALUES if sum(book.found[f"{OURS} @{v:g}"]["0"]["right"]) >= wanted]
    (out / "chosen.json").write_text(json.dumps(min(enough, default=HIGH)))


async def go(out: Path, n: int, seeds: Sequence[int]) -> None:
    plain = lab_pool()
    pool = remembering(plain, out / "replies.sqlite")
    book, lines = Book(out / "measured.json"), baselines()
    try:
        best = await allocate(pool, solvers(pool.models), 50)
        await choose(out, pool)
        for seed in seeds:
            asked = questions("composed", n, "test", TEST + seed)
            for course in seeds:
                for kind, label in (("search", SEARCHED), ("search-rl", SEARCHED_RL)):
                    if (out / f"{kind}-{course}").is_dir():
                        await book.play(f"{label} #{course}", seed, trained(out, kind, course), pool, asked)
            for value in VALUES:
                await book.play(f"{OURS} @{value:g}", seed, ours(), pool, asked, value)
        for name, make in lines.items():
            for seed in seeds:
                asked = questions("composed", n, "test", TEST + seed)
                await book.play(name, seed, make(asked, best), pool, asked)
    finally:
        await pool.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=100, help="composed test questions a seed")
    parser.add_argument("--seeds", default="0,1,2", help="of questions, and of trainings")
    options = parser.parse_args()
    asyncio.run(go(options.out, options.questions, [int(s) for s in options.seeds.split(",")]))
