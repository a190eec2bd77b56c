"""The lab's trained router, live, beside what it has to be compared with; see README.md.

    python recipes/router_r1_lab/measure.py out/perfect.json --questions 200 --seeds 0,1,2
    routewright lab train router --out out/router --questions 100
    python recipes/router_r1_lab/measure.py out/router-r1.json --router out/router --questions 200 --seeds 0,1,2

Without --router a router that makes no mistake stands in (`perfect.py`): the most that the method can give here, and its
price. All play the same test questions, composed ones; seeds are of the questions and of the order in which models are
shown. What is said of the models comes from validation questions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from perfect import with_perfect_router

from routewright.lab.coordinator import shipped
from routewright.lab.families import Question
from routewright.lab.pool import SHIPPED, lab_pool, solvers
from routewright.lab.questions import questions
from routewright.lab.roster import ROSTER
from routewright.lab.router import descriptions
from routewright.lab.standing import GoldPlan, Played, allocate, alone, played
from routewright.outcomes.table import beside
from routewright.policies.base import Policy, Wish
from routewright.policies.r1 import R1
from routewright.rewards.format import Format
from routewright.types import Call, Decision, Generate, Reply, State

ROUTER, STRONGEST = "router", "large"
DRAWS = 5000


class RandomRoute(R1):
    """The same router, its sub-questions given to anybody."""

    kind: ClassVar[str] = "r1_random"

    def parse(self, reply: Reply, state: State) -> Wish:
        wish = super().parse(reply, state)
        if isinstance(wish, Decision) and isinstance(wish.action, Call) and not wish.action.final:
            rng = np.random.default_rng([self.seed, len(state.steps), len(state.query.text)])
            call = wish.action
            return Decision(Call(str(rng.choice(wish.choices)), call.prompt, role=call.role), wish.choices)
        return wish


def policies(
    pool: Any, told: dict[str, str], asked: list[Question], best: dict[str, str], seed: int
) -> dict[str, Policy]:
    """Name -> policy."""
    able = solvers(pool.models)

    def r1(cls: type[R1] = R1, models: list[str] | None = None, said: dict[str, str] | None = None) -> R1:
        words = {name: (told if said is None else said).get(name, "") for name in able}
        options = {"router": ROUTER, "form": "short", "rounds": 6, "turn_tokens": 96, "models": models or able}
        return cls(cls.Config(**options, descriptions=words, fallback=STRONGEST), seed)

    others = list(told)
    moved = dict(zip(others, [told[name] for name in others[1:] + others[:1]], strict=True))  # to the wrong models
    return {
        "r1": r1(),
        "r1, pool of one": r1(models=[STRONGEST], said={STRONGEST: "all"}),
        "r1, random routes": r1(RandomRoute),
        "r1, descriptions moved": r1(said=moved),
        "r1, without maths": r1(models=[name for name in able if name != "maths"]),
        "gold plan": GoldPlan(asked, best),
        "planner + gold": GoldPlan(asked, best, "planner"),
        "decompose, as shipped": shipped().policy,
    }


def facts(one: Played) -> dict[str, Any]:
    """Everything of one policy on one seed, question by question, and who was asked."""
    said = [step for episode in one.episodes for step in episode.steps]
    calls = Counter(s.reply.model for s in said if isinstance(s.action, Call) and s.reply is not None)
    router = sum(s.reply.cost_usd for s in said if isinstance(s.decision, Generate) and s.reply is not None)
    return {
        "right": [int(r) for r in one.right],
        "usd": one.usd,
        "coordination_usd": router / len(one.right),
        "calls": dict(calls),
        "router_tokens": tokens(one),
        "malformed": sum(Format()(e) < 0 for e in one.episodes),
    }


def tokens(one: Played) -> dict[str, int]:
    """The router's tokens: read, written, and of those read what the turn before had read or written already."""
    read = written = again = 0
    for episode in one.episodes:
        before = 0
        for step in episode.steps:
            if isinstance(step.decision, Generate) and step.reply is not None:
                usage = step.reply.usage
                read, written, again = read + usage.tokens_in, written + usage.tokens_out, again + before
                before = usage.tokens_in + usage.tokens_out
    return {"read": read, "written": written, "again": again}


async def go(weights: Path | None, n: int, seeds: list[int], probes: int, out: Path) -> dict[str, Any]:
    """Play everything; what is done is written after every seed."""
    plain = lab_pool(weights or SHIPPED)
    try:
        best = await allocate(plain, solvers(plain.models), probes)
        told = descriptions(best, [STRONGEST])
        found: dict[str, list[dict[str, Any]]] = {}
        made: dict[str, Any] = {}
        began = time.process_time()
        for seed in seeds:
            asked = questions("composed", n, "test", 100 + seed)
            pool = plain if weights else with_perfect_router(plain, asked)
            found.setdefault(f"{STRONGEST} alone", []).append(facts(await alone(pool, STRONGEST, asked)))
            for name, policy in policies(pool, told, asked, best, seed).items():
                found.setdefault(name, []).append(facts(await played(policy, pool, asked)))
                row = found[name][-1]
                print(seed, name, np.mean(row["right"]), 1000 * np.mean(row["usd"]), row["malformed"], flush=True)
            made = {
                "router": "trained" if weights else "perfect",
                "allocation": best,
                "descriptions": told,
                "questions": n,
                "seeds": seeds[: len(found["r1"])],
                "cpu_s": time.process_time() - began,
                "policies": found,
            }
            with beside(out) as temporary:
                temporary.write_text(json.dumps(made), encoding="utf-8")
        return made
    finally:
        await plain.aclose()


def folder_of(router: Path, out: Path) -> Path:
    """The shipped models and this router, by links."""
    folder = out.with_suffix(".models")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ROSTER:
        source = router / f"{name}.gguf" if name == ROUTER else SHIPPED / f"{name}.gguf"
        link = folder / source.name
        if source.is_file() and not link.exists():
            link.symlink_to(source.resolve())
    return folder


def page(found: dict[str, Any]) -> str:
    """The table: right answers, difference to r1 with its paired interval over questions, cost, calls."""
    rng = np.random.default_rng(0)
    r1 = np.concatenate([np.array(run["right"]) for run in found["policies"]["r1"]])
    picks = rng.integers(0, len(r1), (DRAWS, len(r1)))
    lines = [
        "| policy | right, % | r1 less this, points | USD / 1,000 | of it coordination | calls | malformed, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in found["policies"].items():
        right = np.concatenate([np.array(run["right"]) for run in runs])
        gap = 100 * (r1 - right)
        low, high = np.quantile(gap[picks].mean(axis=1), [0.025, 0.975])
        each = ", ".join(f"{100 * np.mean(run['right']):.1f}" for run in runs)
        usd = 1000 * np.mean([u for run in runs for u in run["usd"]])
        own = 1000 * np.mean([run["coordination_usd"] for run in runs])
        calls = sum(sum(run["calls"].values()) for run in runs) / len(right)
        bad = 100 * sum(run["malformed"] for run in runs) / len(right)
        lines.append(
            f"| {name} | {100 * right.mean():.1f} ({each}) | {gap.mean():+.1f} [{low:.1f}, {high:.1f}] | {usd:.3f} | {own:.3f} "
            f"| {calls:.2f} | {bad:.1f} |"
        )
    lines.append("")
    for name in ("r1", "r1, random routes", "r1, pool of one"):
        calls = Counter()
        for run in found["policies"][name]:
            calls.update(run["calls"])
        total = sum(calls.values())
        share = {model: k / total for model, k in calls.most_common()}
        entropy = sum(p * np.log(1 / p) for p in share.values())
        told = ", ".join(f"{model} {100 * p:.0f}%" for model, p in share.items())
        lines.append(f"- {name}: {told}; entropy {entropy:.2f} nats of {np.log(7):.2f}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="JSON file to write; the table goes to standard output")
    parser.add_argument(
        "--router", type=Path, default=None, help="folder with router.gguf; without it a perfect router"
    )
    parser.add_argument(
        "--probes", type=int, default=100, help="validation questions a family, to find who is best at it"
    )
    parser.add_argument("--questions", type=int, default=200, help="composed test questions a seed")
    parser.add_argument("--seeds", default="0,1,2", help="of the questions and the order of models")
    options = parser.parse_args()
    made = asyncio.run(
        go(
            folder_of(options.router, options.out) if options.router else None,
            options.questions,
            [int(s) for s in options.seeds.split(",")],
            options.probes,
            options.out,
        )
    )
    print(page(made))
