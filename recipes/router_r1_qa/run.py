"""`r1` on multi-hop questions from local files, scored by EM and F1; see README.md.

    python recipes/router_r1_qa/run.py hotpotqa_dev.queries.parquet musique100.queries.parquet --pool pool.toml --router NAME
    python recipes/router_r1_qa/run.py hotpotqa_dev.queries.parquet --questions 100       # no models: stand-ins, to try the path

A file has the columns query_id, query and answers_json (a JSON list of accepted answers). Without a pool two stand-ins play: a
router that asks the question once and passes the reply on, and a worker that knows the answer to every second question. EM
is then the share of those, and says nothing of any model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from routewright.episodes.engine import run_many
from routewright.policies.base import Policy, build_policy
from routewright.pools.config import CallSettings, read_pool
from routewright.pools.pool import Endpoint, Member, Pool, build_pool
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.rewards.format import Format
from routewright.tasks import build_metric
from routewright.types import Call, Episode, ModelCard, Query, Usage

Asked = Sequence[tuple[Query, str]]  # and the accepted answers, as JSON


class StandIn(Provider):
    """A router, or a worker that knows some answers."""

    kind: ClassVar[str] = "stand_in"
    summary: ClassVar[str] = "no model; to try the path"

    def __init__(self, name: str, known: dict[str, str]) -> None:
        super().__init__(name=name)
        self.known = known

    async def complete(self, ask: Ask) -> Completion:
        prompt = str(ask.messages[-1]["content"])
        if ask.role != "policy":
            return Completion(self.known.get(ask.query.query_id, "unknown"), Usage(len(prompt) // 4, 4))
        found = re.findall(r"^<information> (.*) </information>$", prompt, re.MULTILINE)
        act = f"<answer> {found[-1]} </answer>" if found else f"<search> worker: {ask.query.text} </search>"
        return Completion(f"<think> step {len(found) + 1} </think> {act}", Usage(len(prompt) // 4, 20))

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        done = await self.complete(ask)
        yield Delta(done.text)
        yield done


def stand_ins(asked: Asked) -> Pool:
    """A pool without any model."""
    known = {query.query_id: str(json.loads(answers)[0]) for query, answers in asked[::2]}
    members = {}
    for name, price in (("router", 0.1), ("worker", 0.9)):
        provider = StandIn(name, known)
        members[name] = Member(
            ModelCard(name, price, price, None, "", None, 512), Endpoint(name, provider, CallSettings()), name
        )
    return Pool(members)


def read(paths: Sequence[Path], n: int) -> list[tuple[Query, str]]:
    """The first n questions of each file."""
    rows = [row for path in paths for row in pl.read_parquet(path).head(n).iter_rows(named=True)]
    return [(Query(row["query"], row["query_id"], dataset=row["dataset"]), row["answers_json"]) for row in rows]


async def play(policy: Policy, pool: Pool, asked: Asked, value_usd: float, budget_usd: float) -> list[Episode | None]:
    """Episodes in the order of the questions; None where one failed."""
    made: list[Episode | None] = [None] * len(asked)
    try:
        async for i, episode in run_many(policy, pool, (q for q, _ in asked), value_usd, budget_usd, concurrency=8):
            if isinstance(episode, Episode):
                made[i] = episode
            else:
                print(f"{asked[i][0].query_id}: {episode}")
    finally:
        await pool.aclose()
    return made


def table(asked: Asked, made: Sequence[Episode | None]) -> str:
    """A row a dataset: EM and F1 (a failed episode has 0), cost, calls; and who was asked."""
    em, f1 = build_metric("squad_em"), build_metric("squad_f1")
    rows: dict[str, list[tuple[float, float, float, int, float]]] = {}
    shares: Counter[str] = Counter()
    for (query, answers), episode in zip(asked, made, strict=True):
        replies = [s.reply for s in episode.steps if isinstance(s.action, Call) and s.reply] if episode else []
        shares.update(reply.model for reply in replies)
        scores = (
            (em.score(episode.answer, answers, query).value, f1.score(episode.answer, answers, query).value)
            if episode
            else (0, 0)
        )
        cost, bad = (episode.cost_usd, float(Format()(episode) < 0)) if episode else (0.0, 1.0)
        rows.setdefault(query.dataset, []).append((*scores, cost, len(replies), bad))
    lines = ["| questions | n | EM | F1 | USD / 1,000 | calls | malformed, % |", "|---|---|---|---|---|---|---|"]
    for name, found in rows.items():
        m = np.mean(np.array(found), axis=0)
        lines.append(
            f"| {name} | {len(found)} | {m[0]:.3f} | {m[1]:.3f} | {1000 * m[2]:.3f} | {m[3]:.2f} | {100 * m[4]:.1f} |"
        )
    total = max(sum(shares.values()), 1)
    return "\n".join(
        [*lines, "", "asked: " + ", ".join(f"{name} {100 * k / total:.1f}%" for name, k in shares.most_common())]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--pool", type=Path, default=None, help="pool file; without it stand-ins play")
    parser.add_argument("--router", default="router", help="the model of the pool that routes")
    parser.add_argument("--form", default="tags", choices=("tags", "tools"))
    parser.add_argument("--questions", type=int, default=500, help="of each file")
    parser.add_argument("--value-usd", type=float, default=0.01)
    parser.add_argument("--budget-usd", type=float, default=float("inf"))
    options = parser.parse_args()
    some = read(options.files, options.questions)
    pool_of = build_pool(read_pool(options.pool)) if options.pool else stand_ins(some)
    chosen = build_policy("r1", {"router": options.router, "form": options.form})
    print(table(some, asyncio.run(play(chosen, pool_of, some, options.value_usd, options.budget_usd))))
