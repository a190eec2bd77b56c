"""Plans run as graphs against the same plans one subtask after the other: wall clock on llama.cpp servers of the lab; see README.md.

    python recipes/r2_lab/latency.py out/r2 --questions 60

Only questions whose plan has something to do side by side (two branches that meet). A server a model, one thread and `--slots` slots
each: with one, two subtasks of the same model wait for one another. Both ways take turns, question by question, which goes first by turns too.
A second run puts `--wait` seconds before every reply, as a network would.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from allocators import made
from baselines import Sequential, of

from routewright.episodes.engine import run
from routewright.lab.coordinator import shipped
from routewright.lab.pool import SHIPPED, served_values
from routewright.lab.questions import query_of, questions
from routewright.lab.roster import CONTEXT
from routewright.lab.server import LlamaServer
from routewright.policies.r2_path import critical_path
from routewright.policies.r2_state import Running
from routewright.pools.config import check_pool
from routewright.pools.pool import Endpoint, Pool, build_pool
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.types import Episode, Generate, State

SERVED = ("planner", "facts", "words", "maths", "reader")  # those that are asked


class Late(Provider):
    """Another provider, some time later."""

    kind: ClassVar[str] = "late"
    summary: ClassVar[str] = "another provider, some time later"

    def __init__(self, inner: Provider, wait_s: float) -> None:
        super().__init__(name=inner.name)
        self.inner, self.wait_s = inner, wait_s

    async def complete(self, ask: Ask) -> Completion:
        await asyncio.sleep(self.wait_s)
        return await self.inner.complete(ask)

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        done = await self.complete(ask)
        yield Delta(done.text)
        yield done

    async def aclose(self) -> None:
        await self.inner.aclose()


def late(pool: Pool, wait_s: float) -> Pool:
    old = {m.endpoint.name: m.endpoint for m in pool.members.values()}
    new = {k: Endpoint(e.name, Late(e.provider, wait_s), e.calls, e.entry) for k, e in old.items()}
    return replace(pool, members={n: replace(m, endpoint=new[m.endpoint.name]) for n, m in pool.members.items()})


def parts(episode: Episode) -> dict[str, float]:
    """Seconds: all of it, the planner's, the plan's by its critical path, and the sum of its calls."""
    running = Running.of(State(episode.query, (), 0.0, steps=episode.steps))
    planner = sum(s.reply.latency_s for s in episode.steps if isinstance(s.decision, Generate) and s.reply is not None)
    if running is None:
        return {"whole": episode.latency_s, "planner": planner}
    took = [sum(t.reply.latency_s for t in running.tries.get(i, ())) for i in range(len(running.calls))]
    path = critical_path([c.after for c in running.calls], took)[1]
    return {"whole": episode.latency_s, "planner": planner, "path": path, "calls": sum(took), "subtasks": len(took)}


async def go(out: Path, n: int, wait_s: float, slots: int) -> dict[str, Any]:
    router = shipped().router
    ways = {"graph": made(router, itself=""), "one by one": of(Sequential, router, itself="")}
    asked = [q for q in questions("composed", 20 * n, "test", 100) if sum(not s.after for s in q.plan) > 1][:n]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with contextlib.ExitStack() as running:
        urls = {}
        for name in SERVED:
            if (SHIPPED / f"{name}.gguf").is_file():
                server = LlamaServer(
                    SHIPPED / f"{name}.gguf", context=slots * CONTEXT, slots=slots, log=out / f"{name}.log"
                )
                urls[name] = running.enter_context(server).base_url
        values = served_values(SHIPPED, urls)
        values["models"] = [m for m in values["models"] if m["name"] in urls]
        values["providers"] = {k: {**v, "concurrency": slots} for k, v in values["providers"].items()}
        pool = build_pool(check_pool(values, "the servers"))
        pool = late(pool, wait_s) if wait_s else pool
        for warm in asked[:3]:
            await run(ways["graph"], pool, query_of(warm), 0.01)
        began = time.process_time()
        for i, question in enumerate(asked):
            order = list(ways.items())[:: 1 if i % 2 else -1]
            answers = set()
            for way, policy in order:
                episode = await run(policy, pool, query_of(question), 0.01)
                found[way].append(parts(episode))
                answers.add(episode.answer)
            if len(answers) > 1:
                print(f"differs: {question.text[:60]}", flush=True)
        await pool.aclose()
        return {"wait_s": wait_s, "cpu_s": time.process_time() - began, "questions": len(asked), "found": found}


def told(made_: dict[str, Any]) -> str:
    """Medians, and the paired ratio of the plan's time with its 95% bootstrap interval."""
    found, rng = made_["found"], np.random.default_rng(0)
    keep = [i for i, (a, b) in enumerate(zip(*found.values(), strict=True)) if "path" in a and "path" in b]
    lines = [f"wait {made_['wait_s']} s, {len(keep)} questions"]
    spent = {way: np.array([rows[i]["whole"] - rows[i]["planner"] for i in keep]) for way, rows in found.items()}
    for way, rows in found.items():
        whole, path, calls = (np.median([rows[i][k] for i in keep]) for k in ("whole", "path", "calls"))
        lines.append(
            f"{way}: median {whole:.3f} s in all, {np.median(spent[way]):.3f} s without the planner, critical path {path:.3f} s of {calls:.3f} s"
        )
    picks = rng.integers(0, len(keep), (5000, len(keep)))
    ratio = spent["graph"][picks].sum(axis=1) / spent["one by one"][picks].sum(axis=1)
    low, high = np.quantile(ratio, [0.025, 0.975])
    lines.append(
        f"graph / one by one, without the planner: {spent['graph'].sum() / spent['one by one'].sum():.3f} [{low:.3f}, {high:.3f}]"
    )
    whole = np.array([[rows[i]["whole"] for i in keep] for rows in found.values()])
    ratio = whole[0][picks].sum(axis=1) / whole[1][picks].sum(axis=1)
    low, high = np.quantile(ratio, [0.025, 0.975])
    lines.append(f"graph / one by one, in all: {whole[0].sum() / whole[1].sum():.3f} [{low:.3f}, {high:.3f}]")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--slots", type=int, default=2, help="calls that a server answers at the same time")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds before every reply")
    options = parser.parse_args()
    result = asyncio.run(go(options.out, options.questions, options.wait, options.slots))
    (options.out / f"latency-{options.wait:g}-{options.slots}.json").write_text(json.dumps(result))
    print(told(result))
