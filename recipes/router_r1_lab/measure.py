"""The lab's trained routers, live, beside what they have to be compared with; see README.md.

    python recipes/router_r1_lab/measure.py out/router-r1.json --imitation out/router-0 out/router-1 out/router-2 --reinforced out/r1-0 out/r1-1 out/r1-2
    python recipes/router_r1_lab/measure.py out/perfect.json

A folder holds the `router.gguf` of one training. Without folders a router that makes no mistake stands in (`perfect.py`): the most that
the method can give here, and its price. All play the same composed test questions. What is said of the models comes from
validation questions. Everything goes to the file as it is done, question by question; what is there is not played again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfect import with_perfect_router
from players import LATE, ROUTER, STRONGEST, Nobody, by_probes, controls, one_shot, r1

from routewright.coordinator import load_coordinator
from routewright.lab.coordinator import shipped
from routewright.lab.families import Question
from routewright.lab.pool import SHIPPED, lab_pool, solvers
from routewright.lab.questions import questions
from routewright.lab.roster import ROSTER
from routewright.lab.router import descriptions
from routewright.lab.standing import GoldPlan, Played, allocate, played
from routewright.outcomes.table import beside
from routewright.policies.base import Policy, build_policy
from routewright.pools.pool import Pool
from routewright.rewards.format import Format
from routewright.types import Call, Generate

VALUES = (5e-5, 1.5e-4, 5e-4, 1.5e-3, 5e-3, 2e-2)  # of a right answer, USD, for the frontier
MIDDLE = 1e-2
PROBES = 20


class Table:
    """What was played, in a file."""

    def __init__(self, path: Path, asked: list[Question], few: list[Question]) -> None:
        self.path, self.asked, self.few = path, asked, few
        self.told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}

    async def play(
        self, name: str, policy: Policy, pool: Pool, training: int = 0, value: float = MIDDLE, few: bool = False
    ) -> None:
        """Play a policy, unless that was done."""
        key = {"name": name, "training": training, "value_usd": value, "few": few}
        if any(key.items() <= row.items() for row in self.told["rows"]):
            return
        asked = self.few if few else self.asked
        done = await played(policy, pool, asked, value)
        self.told["rows"].append({**key, **self.facts(done, asked)})
        self.save()
        row = self.told["rows"][-1]
        n = len(asked)
        print(
            f"{name} {training} @{value:g}: {100 * sum(row['right']) / n:.1f}% {1000 * sum(row['usd']) / n:.3f} USD / 1,000",
            flush=True,
        )

    def facts(self, done: Played, asked: Sequence[Question]) -> dict[str, Any]:
        """Everything of one policy: right answers, costs, the router's own cost and tokens, and who was asked for what."""
        calls, read, written, again, own = [], 0, 0, 0, 0.0
        for episode in done.episodes:
            before = 0
            made = [s for s in episode.steps if isinstance(s.action, Call) and s.reply is not None]
            calls.append([s.reply.model for s in made if s.reply is not None])
            for step in episode.steps:
                if isinstance(step.decision, Generate) and step.reply is not None:
                    usage = step.reply.usage
                    read, written, again = read + usage.tokens_in, written + usage.tokens_out, again + before
                    before, own = usage.tokens_in + usage.tokens_out, own + step.reply.cost_usd
        return {
            "right": [int(r) for r in done.right],
            "usd": done.usd,
            "calls": calls,
            "own_usd": own / len(asked),
            "tokens": {"read": read / len(asked), "written": written / len(asked), "again": again / len(asked)},
            "malformed": sum(Format()(e) < 0 for e in done.episodes),
        }

    def save(self) -> None:
        with beside(self.path) as temporary:
            temporary.write_text(json.dumps(self.told), encoding="utf-8")


def pool_with(folder: Path, out: Path, number: int) -> Pool:
    """The shipped models and this router, by links."""
    links = out.with_suffix(f".{folder.name}.{number}")
    links.mkdir(parents=True, exist_ok=True)
    for name in ROSTER:
        source = folder / f"{name}.gguf" if name == ROUTER else SHIPPED / f"{name}.gguf"
        link = links / source.name
        if source.is_file():
            link.unlink(missing_ok=True)
            link.symlink_to(source.resolve())
    return lab_pool(links)


async def routers(table: Table, kind: str, folders: Sequence[Path], said: Mapping[str, str], full: bool) -> None:
    """The routers of one kind, one training after the other: alone, at other worths, and with their controls if `full`."""
    for number, folder in enumerate(folders):
        pool = pool_with(folder, table.path, number)
        try:
            models = solvers(pool.models)
            await table.play(kind, r1(models, said, number), pool, number)
            for value in VALUES:
                await table.play(kind, r1(models, said, number), pool, number, value, few=True)
            if full:
                for name, policy in controls(models, said, number).items():
                    await table.play(f"{kind}, {name}", policy, pool, number)
                probed = await by_probes(pool, said, PROBES, number)
                print(f"{LATE} by {PROBES} probes: {probed[LATE]!r}", flush=True)
                await table.play(f"{kind}, {LATE} by {PROBES} probes", r1(models, probed, number), pool, number)
        finally:
            await pool.aclose()


async def others(table: Table, best: Mapping[str, str], relays: Sequence[Path], answers: int) -> None:
    """Who needs no router of this recipe."""
    pool = lab_pool()
    try:
        references: dict[str, Policy] = {
            f"{STRONGEST} alone": build_policy("single", {"model": STRONGEST}),
            "gold plan": GoldPlan(table.asked, best),
            "planner + gold": GoldPlan(table.asked, best, "planner"),
            "decompose": shipped().policy,
        }
        for name, policy in references.items():
            await table.play(name, policy, pool)
        for value in VALUES:
            await table.play("nobody", Nobody(), pool, 0, value, few=True)
            for name in ("decompose", f"{STRONGEST} alone"):
                await table.play(name, references[name], pool, 0, value, few=True)
            for model in solvers(pool.models):
                if model != STRONGEST:
                    await table.play(
                        f"{model} alone", build_policy("single", {"model": model}), pool, 0, value, few=True
                    )
        for number, folder in enumerate(relays):
            await table.play("relay", load_coordinator(folder).policy, pool, number)
        for seed in range(3):
            for name, policy in (await one_shot(pool, table.path, answers, seed)).items():
                await table.play(f"one shot: {name}" if name != "hops" else name, policy, pool, seed)
    finally:
        await pool.aclose()


async def perfect(table: Table, said: Mapping[str, str]) -> None:
    """A router without mistakes, its controls, and the gold plan."""
    plain = lab_pool()
    pool = with_perfect_router(plain, table.asked)
    try:
        models = solvers(pool.models)
        for name, policy in {"": r1(models, said, 0), **controls(models, said, 0)}.items():
            await table.play(f"perfect{', ' if name else ''}{name}", policy, pool)
    finally:
        await plain.aclose()


async def go(given: argparse.Namespace) -> None:
    asked = [q for seed in (100, 101, 102) for q in questions("composed", given.questions // 3, "test", seed)]
    table = Table(given.out, asked, asked[: given.questions // 2])
    plain = lab_pool()
    try:
        best = table.told.get("allocation") or await allocate(plain, solvers(plain.models), given.probes)
    finally:
        await plain.aclose()
    said = descriptions(best, [STRONGEST])
    table.told |= {
        "allocation": best,
        "descriptions": said,
        "questions": len(asked),
        "families": [[step.family for step in q.plan] for q in asked],
    }
    table.save()
    if not given.imitation and not given.reinforced:
        await perfect(table, said)
        return
    await routers(table, "reinforced", given.reinforced, said, full=True)
    await routers(table, "imitation", given.imitation, said, full=False)
    if given.others:
        await others(table, best, given.relay, given.answers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="JSON file to write; page.py makes tables of it")
    parser.add_argument("--imitation", type=Path, nargs="*", default=[], help="folders of `lab train router`")
    parser.add_argument(
        "--reinforced", type=Path, nargs="*", default=[], help="folders of `train r1`, begun from those"
    )
    parser.add_argument(
        "--others", action=argparse.BooleanOptionalAction, default=True, help="those who need no router"
    )
    parser.add_argument("--relay", type=Path, nargs="*", default=[], help="folders of trained relays, to play too")
    parser.add_argument(
        "--probes", type=int, default=50, help="validation questions a family, to find who is best at it"
    )
    parser.add_argument(
        "--answers", type=int, default=600, help="composed validation questions that scorers learn from"
    )
    parser.add_argument("--questions", type=int, default=300, help="composed test questions")
    asyncio.run(go(parser.parse_args()))
