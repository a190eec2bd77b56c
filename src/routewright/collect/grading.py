"""Scoring replies by the plan's metrics, a judge's bill included.

A judge is a model of the pool, paid from the same ledger. A verdict that can not be had is a failure of the row, never
a score: `--retry-failed` asks again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from routewright.collect.health import IN_A_ROW
from routewright.collect.plan import Plan
from routewright.errors import RoutewrightError
from routewright.pools.bounds import most_tokens_out
from routewright.pools.budget import Ledger, pico
from routewright.pools.caller import Request, worst_of
from routewright.pools.pool import Pool
from routewright.tasks import Metric, build_metric
from routewright.tasks.judge import Judge, JudgeFailed, JudgeReply
from routewright.types import Query

VERDICT_TOKENS = 256
CODE_AT_ONCE = 2  # sandboxes


@dataclass(frozen=True, slots=True)
class Grade:
    """A score; what was charged for it; whether it could not be had, and why."""

    score: float
    charged_pico: int = 0
    failed: bool = False
    note: str = ""


class Grader:
    """Scores of replies; one metric a measure, built once."""

    def __init__(self, plan: Plan, pool: Pool, ledger: Ledger) -> None:
        self.plan, self.pool, self.ledger = plan, pool, ledger
        self._metrics: list[Metric] = []
        for measure in plan.measures:
            needs = {"ask": self._ask_judge} if measure.name == "judge" else {}
            self._metrics.append(build_metric(measure.name, dict(measure.options), **needs))
        self._in_a_row = 0
        self._code = asyncio.Semaphore(CODE_AT_ONCE)

    async def grade(self, query: int, answer: str) -> Grade:
        """The grade of a reply to a query."""
        one, place = self.plan.asked[query], self.plan.measure_of[query]
        metric = self._metrics[place]
        try:
            if self.plan.measures[place].name == "code":
                async with self._code:
                    score = await metric.ascore(answer, one.reference, one.query)
            else:
                score = await metric.ascore(answer, one.reference, one.query)
        except JudgeFailed as error:
            self._in_a_row += 1
            if self._in_a_row >= IN_A_ROW:
                raise RoutewrightError(
                    f"The judge {self.plan.settings.judge} failed {IN_A_ROW} times in a row, the last time with: {error} "
                    "Expected a judge that answers; when it does, go on with --retry-failed."
                ) from None
            return Grade(0.0, pico(error.cost_usd), True, f"failed: {error}")
        if isinstance(metric, Judge):
            self._in_a_row = 0
        return Grade(score.value, pico(score.cost_usd))

    def worst_pico(self, query: int) -> int:
        """The most that scoring a reply to a query can cost, pico-dollars: two verdicts, each with its retries."""
        metric = self._metrics[self.plan.measure_of[query]]
        if not isinstance(metric, Judge):
            return 0
        most_chars = len(metric.config.template) + 3 * metric.config.max_chars
        total = 0
        for member in self.pool.line_up(self.plan.settings.judge):
            calls = member.endpoint.calls
            tokens_out = most_tokens_out(member.card, VERDICT_TOKENS, {})
            worst = worst_of(member, Query(""), 4 * most_chars + 64, tokens_out, {}) or 0
            total += 2 * worst * (calls.retries + 1) * (2 if calls.hedge_s else 1)
        return total

    async def _ask_judge(self, prompt: str) -> JudgeReply:
        messages = ({"role": "user", "content": prompt},)
        request = Request(
            self.plan.settings.judge, messages, Query(prompt), max_tokens=VERDICT_TOKENS, options={}, role="judge"
        )
        reply = await self.pool.call(request, self.ledger)
        if reply.error is not None:
            raise JudgeFailed(f"the judge could not be asked: {reply.error}", reply.cost_usd)
        return JudgeReply(reply.text, reply.cost_usd)
