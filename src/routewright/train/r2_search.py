"""Allocations for `r2` to learn from: per question a search over whole answers, then outcomes of its subtasks, as a table.

The search, as in the paper and its predecessor:

    begin    the base model does every subtask; its confidence in one is a quantile of its tokens' probabilities. From `easy` on a
             subtask begins at the first level of models, below `hard` at the last, else between
    down     while the answer is right: the most confident subtask moves one model down the ladder, and stays there if the
             answer is still right
    up       while it is wrong: the least confident subtask that can moves one model up, until it is right
    specialists  no ladder of prices orders models that know different things. Where the top of the ladder is reached and the answer
             is wrong, each subtask tries every model, one subtask after the other, from the most likely allocation

Every trial is kept: allocation, right or wrong, cost. An answer that came out right vouches for the subtasks' results: they are taken
as references, and what every model says to the same texts is scored by agreement with them. That makes rows of an outcome table.
Questions that no trial got right make none; they are counted.

A cheap allocation is right by luck now and then: the capital is wrong, and has as many vowels. The search goes down until it finds one,
so the cheapest right trial is a bad witness. Which of the right trials vouches is worked out over all questions at once (`r2_vouch`).

Reference: Route-and-Reason, arXiv:2506.05901; its predecessor searches two models. Differs: any number of models; outcomes are kept
per model and subtask, not one best allocation to be imitated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from routewright.outcomes.table import beside
from routewright.policies.plan_text import Subtask
from routewright.policies.r2_state import said, same
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.train.r2_plans import Progress, best_of
from routewright.train.r2_settings import R2Data
from routewright.train.r2_vouch import Chain, rows_of
from routewright.train.r2_world import DataWorld, Lines, Tried, confidence, texts_of
from routewright.types import Query, Reply

TRIALS, OUTCOMES = "allocations.jsonl", "subtasks.parquet"
_CHAINS = 12  # right trials of a question that may vouch


async def make_allocations(
    settings: R2Data, world: DataWorld, plans: Lines, out: Path, progress: Progress | None = None
) -> Lines:
    """Search allocations of every question with a plan, and write the outcomes of their subtasks as a table."""
    lines = Lines(out / TRIALS)
    for number, one in enumerate(world.asked, 1):
        item = plans.items.get(one.query.query_id)
        plan = best_of(item) if item is not None else None
        if plan is not None and one.query.query_id not in lines:
            lines.add(await Searching(settings, world, one.query, plan).found())
        if progress is not None:
            solved = sum(item["right"] for item in lines)
            progress(number, len(world.asked), f"{solved} of {len(lines.items)} solved")
    rows = rows_of([item["chains"] for item in lines], settings.models)
    if rows:
        with beside(out / OUTCOMES) as temporary:
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary, compression="zstd")
    return lines


def subtasks_of(out: Path) -> int:
    """How many subtasks the table has."""
    path = out / OUTCOMES
    return int(pl.read_parquet(path, columns=["query_id"])["query_id"].n_unique()) if path.is_file() else 0


class Searching:
    """The search of one question."""

    def __init__(self, settings: R2Data, world: DataWorld, query: Query, plan: Sequence[Subtask]) -> None:
        self.settings, self.world, self.query, self.plan = settings, world, query, list(plan)
        self.ladder = settings.models
        self.trials: dict[tuple[str, ...], Tried] = {}

    async def found(self) -> dict[str, Any]:
        """All trials, the cheapest allocation that was right, and the rows of its subtasks."""
        start, sure = await self._start()
        now = start
        if (await self._try(now)).right:
            await self._down(now, sure)
        elif not await self._up(now, sure):
            await self._specialists(start)
        right = [a for a, t in self.trials.items() if t.right]
        best = min(right, key=lambda a: self.trials[a].cost_usd, default=None)
        return {
            "query_id": self.query.query_id,
            "query": self.query.text,
            "confidence": sure,
            "trials": [[list(a), int(t.right), t.cost_usd] for a, t in self.trials.items()],
            "right": bool(right),
            "best": None if best is None else list(best),
            "chains": await self._chains([self.trials[a] for a in right]),
        }

    async def _start(self) -> tuple[tuple[str, ...], list[float]]:
        s = self.settings.search
        base = tuple([self.settings.base] * len(self.plan))
        tried = await self.world.tried(self.query, self.plan, base, logprobs=True)
        self.trials[base] = tried
        sure = [confidence(reply, s.quantile) for reply in tried.replies]
        levels = self.settings.levels
        middle = levels[(len(levels) - 1) // 2][-1]
        return tuple(levels[0][-1] if c >= s.easy else levels[-1][-1] if c < s.hard else middle for c in sure), sure

    async def _try(self, models: tuple[str, ...]) -> Tried:
        if models not in self.trials:
            self.trials[models] = await self.world.tried(self.query, self.plan, models)
        return self.trials[models]

    @property
    def _open(self) -> bool:
        return len(self.trials) < self.settings.search.most

    async def _down(self, now: tuple[str, ...], sure: Sequence[float]) -> None:
        for node in sorted(range(len(now)), key=lambda i: -sure[i]):
            place = self.ladder.index(now[node])
            while place and self._open:
                place -= 1
                lower = (*now[:node], self.ladder[place], *now[node + 1 :])
                if (await self._try(lower)).right:
                    now = lower

    async def _up(self, now: tuple[str, ...], sure: Sequence[float]) -> bool:
        for node in sorted(range(len(now)), key=lambda i: sure[i]):
            for place in range(self.ladder.index(now[node]) + 1, len(self.ladder)):
                if not self._open:
                    return False
                now = (*now[:node], self.ladder[place], *now[node + 1 :])
                if (await self._try(now)).right:
                    await self._down(now, sure)
                    return True
        return False

    async def _specialists(self, now: tuple[str, ...]) -> None:
        """Each subtask tries every model; those that many models agree on first, for they are most likely right."""
        common: list[str] = []
        results: dict[int, str] = {}
        for node in range(len(self.plan)):
            text = texts_of(self.plan, results)[node]
            answers = {m: await self._answer(m, text) for m in self.ladder}
            votes = {m: sum(same(a, b) for b in answers.values()) for m, a in answers.items() if a is not None}
            best = max(votes, key=lambda m: votes[m], default=now[node])
            common.append(best)
            if answers.get(best) is not None:
                results[node] = str(answers[best])
        now = tuple(common)
        if (await self._try(now)).right:
            return
        for node in range(len(now)):
            for model in self.ladder:
                if not self._open:
                    return
                if (await self._try((*now[:node], model, *now[node + 1 :]))).right:
                    return

    async def _reply(self, model: str, text: str) -> Reply:
        request = Request(model, ({"role": "user", "content": text},), self.query)
        return await self.world.pool.call(request, Ledger())

    async def _answer(self, model: str, text: str) -> str | None:
        return said(await self._reply(model, text))

    async def _chains(self, right: Sequence[Tried]) -> list[Chain]:
        """The different courses of results that came out right, each with what every model says to its subtasks."""
        seen: dict[tuple[str | None, ...], Tried] = {}
        for tried in sorted(right, key=lambda t: t.cost_usd):
            if None not in tried.said and len(seen) < _CHAINS:
                seen.setdefault(tried.said, tried)
        made: list[Chain] = []
        for answers, tried in seen.items():
            links = []
            for text, answer in zip(tried.texts, answers, strict=True):
                replies = {model: _kept(await self._reply(model, text)) for model in self.ladder}
                links.append({"text": text, "answer": answer, "replies": replies})
            made.append(links)
        return made


def _kept(reply: Reply) -> dict[str, Any]:
    return {
        "answer": said(reply),
        "response": reply.text,
        "prompt_tokens": reply.usage.tokens_in,
        "completion_tokens": reply.usage.tokens_out,
        "tokens_source": "estimated" if reply.usage.estimated else "counted by the model's server",
        "cost_usd": reply.cost_usd,
        "latency_s": reply.latency_s,
    }
