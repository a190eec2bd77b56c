"""The collection itself: workers take a cell, announce the call, make it, score the reply, and hand the row over.

One turn of a worker, and what a kill at each point leaves behind:

    take a cell                                 nothing
    commit: the last row, and the new intent    the row; an intent: "may have been billed"
    call, score                                 an intent
    (next turn)

All calls share one ledger, whose cap is the budget less what the journal says is spent. The cap ends the run when a
call does not fit although no other is out whose reservation could come back.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from routewright.collect.grading import Grader
from routewright.collect.health import asked, opens, outage, unaffordable
from routewright.collect.journal import Journal, Lost, Row
from routewright.collect.lanes import Asking, Lane, lanes_of
from routewright.collect.plan import Plan
from routewright.collect.rows import answered, failed
from routewright.errors import BudgetExceeded, RoutewrightError
from routewright.pools.bounds import messages_of
from routewright.pools.budget import PICO, Ledger, pico
from routewright.pools.caller import Request, price
from routewright.pools.pool import Member, Pool, build_pool
from routewright.types import Reply

TICK_S = 1.0
T = TypeVar("T")


@dataclass(slots=True)
class Progress:
    """How far a collection is; rows count when they are committed."""

    rows: int
    total: int
    failed: int
    spent_usd: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `missing` says why rows are missing, one reason a line; empty: the table is complete."""

    progress: Progress
    missing: tuple[str, ...]


OnProgress = Callable[[Progress], None]


def prepare(plan: Plan, journal: Journal) -> tuple[Progress, Lost]:
    """Put the books of earlier runs in order; call it once, before `collect`."""
    lost = journal.settle_lost()
    if plan.settings.retry_failed:
        journal.forget_failed()
    rows, failures = journal.counts()
    return Progress(rows, plan.cells, failures, journal.spent_pico() / PICO), lost


def check(plan: Plan, pool: Pool | None = None) -> None:
    """`PoolError` if an endpoint lacks what it can not do without: every call of it would be a failure, and a row of 0."""
    for member in (pool if pool is not None else build_pool(plan.pool)).members.values():
        member.endpoint.provider.check()


async def collect(plan: Plan, journal: Journal, on_progress: OnProgress | None = None) -> Ended:
    """Ask whatever the journal has no row for. Cancelled, it leaves a journal that can be gone on with."""
    pool = build_pool(plan.pool)
    collector = _Collector(plan, journal, pool, on_progress or (lambda _: None))
    try:
        check(plan, pool)
        return await collector.run()
    finally:
        await journal.flush()
        await pool.aclose()


async def stoppable(work: Coroutine[Any, Any, T]) -> T:
    """Ctrl-C and SIGTERM alike cancel `work`: calls in flight are given up, the journal is committed."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not on this system, or not the main thread
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


class _Collector:
    """One run over a journal."""

    def __init__(self, plan: Plan, journal: Journal, pool: Pool, on_progress: OnProgress) -> None:
        self.plan, self.journal, self.pool, self.on_progress = plan, journal, pool, on_progress
        self.before = journal.spent_pico()
        self.ledger = Ledger(_left_usd(plan.settings.budget_usd, self.before))
        done, failures = journal.done(plan.cells)
        self.lanes = lanes_of(plan, pool, done)
        self.progress = Progress(sum(done), plan.cells, failures, self.before / PICO)
        self.grader = Grader(plan, pool, self.ledger)
        self.calls = 0  # out now
        self.stopped = ""
        self.changed = asyncio.Event()

    async def run(self) -> Ended:
        ticker = asyncio.create_task(self._tick())
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self.lanes:
                    for _ in range(lane.workers):
                        group.create_task(self._work(lane))
        except ExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            ticker.cancel()
        for model in (m for lane in self.lanes for m in lane.models):
            await self._release(model)
        await self.journal.flush()
        return Ended(self.progress, tuple(self._missing()))

    async def _tick(self) -> None:
        """Tell how far it is even while nothing comes in, and for whom it waits."""
        while True:
            await asyncio.sleep(TICK_S)
            ill = [m.member.card.name for lane in self.lanes for m in lane.models if m.health.ill]
            self.progress.note = f"{', '.join(ill)} paused" if ill else ""
            self.on_progress(self.progress)

    async def _work(self, lane: Lane) -> None:
        """One worker. A row in hand goes to the journal together with the next intent, or by itself before any wait."""
        row: Row | None = None
        try:
            while True:
                taken = None if self.stopped else lane.take()
                if taken is None:
                    if row is not None:
                        done, row = row, None
                        await self._commit(done)
                    elif self.stopped or lane.finished():
                        return
                    else:
                        await self._wait(lane.wait_s())
                    continue
                try:
                    last, row = row, None
                    row = await self._turn(*taken, last)
                finally:
                    taken[0].running -= 1
                    self._tell()
        finally:
            if row is not None:
                self.journal.put(row)

    async def _turn(self, model: Asking, cell: int, last: Row | None) -> Row | None:
        """Announce and make one call, committing the row of the last one on the way; returns the new row, if any."""
        try:
            request, worst, single = self._request(model.member, cell)
        except BaseException:
            if last is not None:
                self.journal.put(last)
            raise
        if not self.ledger.fits_pico(single):
            model.again.appendleft(cell)
            if last is not None:
                await self._commit(last)
            await self._over_cap(f"{model.member.card.name} may cost {(single or 0) / PICO:.3g} USD")
            return None
        await self._commit(last, (cell, worst))
        return await self._ask(model, cell, request)

    async def _commit(self, row: Row | None, intent: tuple[int, int] | None = None) -> None:
        await self.journal.write(row, intent)
        if row is not None:
            self.progress.rows += 1
            self.progress.failed += row.failed
            self.progress.spent_usd = (self.before + self.ledger.spent) / PICO
            self.on_progress(self.progress)

    def _request(self, member: Member, cell: int) -> tuple[Request, int, int | None]:
        """The call of a cell; the most it can be billed with all its retries; and the most of one attempt."""
        query, _, sample = self.plan.split(cell)
        one = self.plan.asked[query]
        settings = self.plan.settings
        request = Request(
            member.card.name, messages_of(one.query), one.query, max_tokens=settings.max_tokens, sample=sample
        )
        single = price(member, request).worst
        worst = self.grader.worst_pico(query)
        for other in self.pool.line_up(member.card.name):
            amount = single if other is member else price(other, request).worst
            calls = other.endpoint.calls
            worst += (amount or 0) * (calls.retries + 1) * (2 if calls.hedge_s else 1)
        return request, worst, single

    async def _ask(self, model: Asking, cell: int, request: Request) -> Row | None:
        """The row of a cell, or None where there is none now: put back, or held until it is known what the failure was."""
        reply: Reply | None = None
        short = ""
        self.calls += 1
        try:
            reply = await self.pool.call(request, self.ledger)
            row = failed(cell, reply)
            if reply.error is None:
                query, number, _ = self.plan.split(cell)
                grade = await self.grader.grade(query, reply.text)
                row = answered(cell, reply, self.plan.models[number], self.pool.member(reply.model).card, grade)
            if reply.error is not None and unaffordable(reply):
                short = reply.error
        except BudgetExceeded as error:
            short = str(error)
        finally:
            self.calls -= 1
        if short or reply is None:
            await self._put_back(model, cell, 0 if reply is None else pico(reply.cost_usd))
            await self._over_cap(short)
            return None
        return await self._sort(model, cell, reply, row)

    async def _sort(self, model: Asking, cell: int, reply: Reply, row: Row) -> Row | None:
        health, breaker = model.health, model.member.endpoint.breaker
        if not asked(reply):
            await self._put_back(model, cell, pico(reply.cost_usd))
            health.fails(reply.error or "", opens(breaker), None)
            return None
        if reply.error is not None and outage(reply):
            health.fails(reply.error, opens(breaker), row)
            return None
        rows, again = health.works()
        if rows or again:
            await self._decide(model, row, rows, again)
            return None
        return row

    async def _decide(self, model: Asking, row: Row, rows: Sequence[Row], again: Sequence[Row]) -> None:
        """Commit a row, and what was held back until it came."""
        for one in (row, *rows):
            await self._commit(one)
        for held in again:
            await self.journal.write(aside=(held.cell, held.spent_pico))
            model.again.append(held.cell)

    async def _put_back(self, model: Asking, cell: int, charged: int) -> None:
        await self.journal.write(aside=(cell, charged))
        model.again.appendleft(cell)

    async def _release(self, model: Asking) -> None:
        """At the end: failures still held are rows, unless the model was ill, when they are no outcome of its."""
        held, model.health.held = model.health.held, []
        for row in held:
            if model.health.ill:
                await self.journal.write(aside=(row.cell, row.spent_pico))
            else:
                await self._commit(row)

    async def _over_cap(self, why: str) -> None:
        """A call does not fit: wait for one that is out to settle, and stop the run where none is."""
        if self.calls and not self.ledger.closed:
            await self._wait(1.0)
            return
        if self.ledger.closed:
            self.stopped = self.stopped or (
                f"An upstream billed {self.ledger.overrun_usd:.3g} USD more than its call could cost, so nothing more was "
                "spent. Check the pool's prices, then go on."
            )
        self.stopped = self.stopped or (
            f"The cap of {self.plan.settings.budget_usd} USD is reached: "
            f"{(self.before + self.ledger.spent) / PICO:.6g} USD are spent, and {why}. Raise --budget-usd."
        )

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self.changed.wait()
        except TimeoutError:
            return

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _missing(self) -> list[str]:
        out = [self.stopped] if self.stopped else []
        for lane in self.lanes:
            out += [
                f"{model.member.card.name} could not be reached for {self.plan.settings.patience_s:g} s and is left out "
                f"for now: {model.health.given_up.rstrip('.')}."
                for model in lane.models
                if model.health.given_up
            ]
        return out


def _left_usd(budget_usd: float | None, spent: int) -> float:
    return math.inf if budget_usd is None else max(0, pico(budget_usd) - spent) / PICO


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """The one of a group to tell: a defect before bad input."""
    flat = [_first(e) if isinstance(e, ExceptionGroup) else e for e in errors.exceptions]
    return next((e for e in flat if not isinstance(e, RoutewrightError)), flat[0])
