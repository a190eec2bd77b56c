"""One call to one model of a pool: attempts, waits, fallbacks and the bill.

Every attempt is reserved in the ledger before it is made and settled when it has ended, whatever became of it. A
failure that may pass is tried again after a wait with jitter, or after what the upstream asked for; one that will not
goes to the next model of the fallback order at once. Failures are data: the reply says what happened, attempt by
attempt. Only the budget raises.

What a failed attempt is charged: nothing where no model can have worked (no connection, refused, rate limit, breaker
open); otherwise the prompt and whatever had come of the reply, estimated.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from routewright.errors import BudgetExceeded, PoolError, ProviderError, UnrecordedBranch
from routewright.pools.bounds import (
    Messages,
    bill_pico,
    estimate_prompt,
    estimate_tokens,
    most_tokens_in,
    most_tokens_out,
    replies_of,
    worst_pico,
)
from routewright.pools.budget import PICO, Hold, Ledger, pico
from routewright.pools.deadline import Deadline
from routewright.pools.providers.base import Ask, Completion, Delta
from routewright.types import Attempt, Query, Reply, Usage

if TYPE_CHECKING:
    from routewright.pools.pool import Member, Pool

_MOST_TOKENS = 10**12  # a report above is no count of tokens
OnDelta = Callable[[Delta | None], None]  # None: what was streamed so far is void, a new attempt begins


@dataclass(frozen=True, slots=True)
class Request:
    """A call as the engine wants it; the pool turns it into attempts."""

    model: str
    messages: Messages
    query: Query
    max_tokens: int | None = None
    least_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    sample: int = 0
    shown: tuple[str, ...] = ()
    role: str = "answer"
    tokens_in: int | None = None  # the prompt's bound, where it is known already


@dataclass(slots=True)
class _Running:
    """What has happened to a call so far."""

    pool: Pool
    request: Request
    ledger: Ledger
    on_delta: OnDelta | None
    started: float
    attempts: list[Attempt] = field(default_factory=list)
    charged: float = 0.0
    overrun: float = 0.0
    streamed: bool = False
    pieces: list[str] = field(default_factory=list)  # of the attempt being streamed
    first_token: float | None = None


@dataclass(frozen=True, slots=True)
class Priced:
    """An attempt ready to be made: what is asked, and the most it can cost, pico-dollars (None: unbounded)."""

    ask: Ask
    tokens_in: int
    worst: int | None


def price(member: Member, request: Request, remaining: int | None = None) -> Priced:
    """The attempt that `request` means for a model, its reply shortened to `remaining` where that is allowed."""
    card, options = member.card, request.options
    tokens_in = request.tokens_in
    if tokens_in is None:
        tokens_in = most_tokens_in(request.messages, options)
    tokens_out = most_tokens_out(card, request.max_tokens, options)
    ask = Ask(
        member.upstream,
        request.messages,
        tokens_out,
        options,
        request.stop,
        request.sample,
        request.query,
        request.shown,
        request.role,
    )
    worst = worst_of(member, request.query, tokens_in, tokens_out, options)
    if worst is not None and remaining is not None and worst > remaining and request.least_tokens is not None:
        replies = replies_of(options)
        room = remaining - (worst_pico(card, tokens_in, 0) or 0)
        affordable = int(room / ((card.usd_per_mtok_out or 0.0) * 1e6 * replies or math.inf))
        if request.least_tokens <= affordable < tokens_out:
            shorter = worst_of(member, request.query, tokens_in, affordable, options)
            return Priced(replace(ask, max_tokens=affordable), tokens_in, shorter)
    return Priced(ask, tokens_in, worst)


def worst_of(member: Member, query: Query, tokens_in: int, tokens_out: int, options: Mapping[str, Any]) -> int | None:
    """The most a call of a model can cost, pico-dollars: the world's bound where it has one, else tokens times prices."""
    if member.bounded:
        known = member.endpoint.provider.worst_usd(member.upstream, query)
        return None if math.isinf(known) else pico(known)
    return worst_pico(member.card, tokens_in, tokens_out, replies_of(options))


class Cancelled(asyncio.CancelledError):
    """A call that was cancelled, with what it was charged all the same: `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


async def call(pool: Pool, request: Request, ledger: Ledger, on_delta: OnDelta | None = None) -> Reply:
    """Make the call; see the module.

    Raises:
        BudgetExceeded: The first attempt does not fit the ledger.
        UnknownName: The model is not in the pool.
        Cancelled: The task was cancelled; it says what the attempts were charged.
    """
    run = _Running(pool, request, ledger, on_delta, time.perf_counter())
    try:
        return await _attempts(run)
    except asyncio.CancelledError:
        raise Cancelled(_failed(run, "cancelled")) from None


async def _attempts(run: _Running) -> Reply:
    """Attempt after attempt, model after model, until a reply or the end of the line."""
    error = "not tried"
    for member in run.pool.line_up(run.request.model):
        wait = member.endpoint.calls.backoff_s
        for attempt in range(member.endpoint.calls.retries + 1):
            try:
                return await _attempt(run, member)
            except BudgetExceeded as exceeded:
                if not run.attempts:
                    raise
                run.attempts.append(
                    Attempt(member.card.name, member.endpoint.name, str(exceeded), 0.0, 0.0, kind="budget")
                )
                return _failed(run, f"{error}; another attempt does not fit the budget ({exceeded})")
            except ProviderError as failure:
                error = str(failure)
                if run.streamed:
                    if run.on_delta is not None:
                        run.on_delta(None)
                    run.streamed, run.first_token = False, None
                if run.ledger.closed or not failure.retryable or attempt == member.endpoint.calls.retries:
                    break
                asked = failure.retry_after_s
                if asked is not None and asked > member.endpoint.calls.longest_wait_s:
                    break
                await asyncio.sleep(asked if asked is not None else wait * random.uniform(0.5, 1.5))
                wait *= 2
        if run.ledger.closed:
            break
    return _failed(run, error)


async def _attempt(run: _Running, member: Member) -> Reply:
    endpoint, cache = member.endpoint, run.pool.cache
    priced = price(member, run.request, run.ledger.remaining)
    key = cache.key(endpoint.identity, priced.ask) if cache is not None else None
    if cache is not None and key is not None and (kept := await cache.get(key)) is not None:
        if run.on_delta is not None and kept.text:
            run.on_delta(Delta(kept.text))
        return _reply(run, member, kept, kept.usage or Usage(0, 0, estimated=True), cached=True)
    began = time.perf_counter()
    try:
        probe = endpoint.breaker.admit(endpoint.name)
    except ProviderError as error:
        _note(run, member, began, 0.0, error)
        raise
    try:
        await endpoint.enter(member, priced.tokens_in + priced.ask.max_tokens)
    except BaseException:
        endpoint.breaker.given_up(probe)
        raise
    try:
        began = time.perf_counter()  # waiting for a turn is not the model's time
        hold = run.ledger.reserve_pico(priced.worst)
        if hold is None:
            hold = await _fetched(run, member, priced, probe)
        done = await _booked(run, member, priced, hold, began, probe)
    finally:
        endpoint.leave(member)
    endpoint.breaker.done(None, probe)
    usage, note = _usage(done, priced)
    bill = pico(done.cost_usd) if done.cost_usd is not None else bill_pico(member.card, usage)
    if bill is None:
        hold.release()
        raise PoolError(
            f"{member.card.name} has no prices, so its call can not be booked. Expected usd_per_mtok_in and "
            "usd_per_mtok_out on its card; what is free has to be said with 0."
        )
    charged, overrun = hold.settle_pico(bill)
    run.charged, run.overrun = run.charged + charged, run.overrun + overrun
    if done.served_by and done.served_by != member.upstream:
        note = "; ".join(filter(None, [note, f"upstream says it is {done.served_by[:80]!r}"]))
    took = done.latency_s if done.latency_s is not None else time.perf_counter() - began
    run.attempts.append(Attempt(member.card.name, endpoint.name, None, charged, took, note))
    if cache is not None and key is not None and (lost := await cache.put(key, done)):
        run.attempts[-1] = replace(run.attempts[-1], note="; ".join(filter(None, [note, lost])))
    return _reply(run, member, done, usage)


async def _fetched(run: _Running, member: Member, priced: Priced, probe: bool) -> Hold:
    """A reservation after what it lacks was fetched, as from a budget that gateways share; else it is `BudgetExceeded`."""
    try:
        while await run.ledger.refill(priced.worst):
            if (hold := run.ledger.reserve_pico(priced.worst)) is not None:
                return hold
        most = "any amount" if priced.worst is None else f"{priced.worst / PICO:.3g} USD"
        raise BudgetExceeded(f"{member.card.name} may cost {most}, {run.ledger.remaining_usd:.3g} USD are left")
    except BaseException:
        member.endpoint.breaker.given_up(probe)
        raise


async def _booked(run: _Running, member: Member, priced: Priced, hold: Hold, began: float, probe: bool) -> Completion:
    """Ask, and settle the reservation if it fails; a success is settled by the caller, who knows the usage."""
    breaker = member.endpoint.breaker
    try:
        return await _ask(run, member, priced)
    except ProviderError as error:
        breaker.done(error, probe)
        _settle_failure(run, member, priced, hold, began, error)
        raise
    except UnrecordedBranch:
        hold.release()
        breaker.given_up(probe)
        raise
    except BaseException:  # cancelled, or a defect: the upstream may have worked all the same
        breaker.given_up(probe)
        _settle_failure(run, member, priced, hold, began, ProviderError("cancelled", "cancelled"))
        raise


async def _ask(run: _Running, member: Member, priced: Priced) -> Completion:
    """One attempt within the endpoint's deadline, streamed or whole, hedged if so configured."""
    endpoint = member.endpoint
    try:
        with Deadline(endpoint.calls.deadline_s):
            if run.on_delta is not None:
                return await _streamed(run, endpoint.provider.stream(priced.ask), run.on_delta)
            if endpoint.calls.hedge_s:
                return await _hedged(run, member, priced)
            return await endpoint.provider.complete(priced.ask)
    except TimeoutError as error:
        raise ProviderError(
            f"{endpoint.name}: no whole reply within {endpoint.calls.deadline_s:g} s", "timeout", retryable=True
        ) from error


async def _streamed(run: _Running, parts: Any, on_delta: OnDelta) -> Completion:
    run.pieces = []
    async with contextlib.aclosing(parts):
        async for part in parts:
            if isinstance(part, Completion):
                return part
            if run.first_token is None:
                run.first_token = time.perf_counter() - run.started
            run.streamed = True
            run.pieces.append(part.text)
            on_delta(part)
    raise ProviderError("the stream ended without a whole reply", "cut", retryable=True)


async def _hedged(run: _Running, member: Member, priced: Priced) -> Completion:
    """Ask a second time if there is no reply by `hedge_s`; the first good reply wins, the other call is stopped.

    The second is reserved like any attempt, and charged as a failed one if it loses; it is left out if it does not fit
    the budget, or the endpoint's limits of calls at once and a minute.
    """
    endpoint, began = member.endpoint, time.perf_counter()
    provider = endpoint.provider
    first = asyncio.ensure_future(provider.complete(priced.ask))
    tasks = {first}
    second: Hold | None = None
    try:
        done, _ = await asyncio.wait(tasks, timeout=endpoint.calls.hedge_s)
        if not done and await endpoint.enter_now(member, priced.tokens_in + priced.ask.max_tokens):
            second = run.ledger.reserve_pico(priced.worst)
            if second is None:
                endpoint.leave(member)
            else:
                tasks.add(asyncio.ensure_future(provider.complete(priced.ask)))
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda t: t.exception() is not None):  # a good one first
                if task.exception() is None or not tasks:
                    return task.result()
        raise AssertionError("unreachable")
    finally:
        for task in tasks:
            task.cancel()
        if second is not None:  # before waiting for the other call to end, since that wait may be cancelled
            late = ProviderError("the hedge: one of two calls was not needed", "cancelled")
            _settle_failure(run, member, priced, second, began, late)
            endpoint.leave(member)
        await asyncio.gather(*tasks, return_exceptions=True)


def _settle_failure(
    run: _Running, member: Member, priced: Priced, hold: Hold, began: float, error: ProviderError
) -> None:
    """Book an attempt that gave no reply: prompt and partial reply where the upstream may have worked, else nothing."""
    bill: int | None = 0
    if error.reached:
        partial = error.partial.text if error.partial is not None else "".join(run.pieces)
        usage = error.partial.usage if error.partial is not None else None
        if usage is None or not _plausible(usage, partial):
            prompt = min(estimate_prompt(priced.ask.messages, priced.ask.options), priced.tokens_in)
            usage = Usage(prompt, min(estimate_tokens(partial), priced.ask.max_tokens), estimated=True)
        known = error.partial.cost_usd if error.partial is not None else None
        bill = bill_pico(member.card, usage) if known is None else pico(known)
    charged, overrun = hold.settle_pico(bill or 0)
    run.charged, run.overrun = run.charged + charged, run.overrun + overrun
    _note(run, member, began, charged, error)


def _note(run: _Running, member: Member, began: float, charged: float, error: ProviderError) -> None:
    took = time.perf_counter() - began
    if error.partial is not None and error.partial.latency_s is not None:
        took = error.partial.latency_s
    said = str(error)[:300] or error.kind
    run.attempts.append(
        Attempt(member.card.name, member.endpoint.name, said, charged, took, kind=error.kind, status=error.status)
    )


def _usage(done: Completion, priced: Priced) -> tuple[Usage, str]:
    """What the upstream reported where it can be true in its lower bounds; else counted here and marked.

    A report above what was possible is believed for the bill, which the ledger then caps, and noted.
    """
    said = done.usage
    if said is not None and said.estimated:
        return said, "usage estimated"
    if said is not None and _plausible(said, done.text):
        if said.tokens_in > priced.tokens_in + 4096 or said.tokens_out > priced.ask.max_tokens * 4 + 64:
            return said, f"upstream reports {said.tokens_in}+{said.tokens_out} tokens, more than it was asked for"
        return said, ""
    prompt = min(estimate_prompt(priced.ask.messages, priced.ask.options), priced.tokens_in)
    counted = Usage(prompt, min(max(1, estimate_tokens(done.text)), priced.ask.max_tokens), estimated=True)
    return counted, "no usage reported: estimated" if said is None else "implausible usage reported: estimated"


def _plausible(said: Usage, text: str) -> bool:
    """Whether a report can be one: counts, some prompt, and some reply where there is a text."""
    counted = all(0 <= n <= _MOST_TOKENS for n in (said.tokens_in, said.tokens_out, said.tokens_cached))
    return counted and said.tokens_in > 0 and (said.tokens_out > 0 or not text)


def _reply(run: _Running, member: Member, done: Completion, usage: Usage, cached: bool = False) -> Reply:
    took = time.perf_counter() - run.started
    if run.pool.rules.clock and not cached:
        took = sum(a.latency_s for a in run.attempts)
    return Reply(
        done.text,
        member.card.name,
        usage,
        run.charged,
        took,
        None,
        done.finish,
        done.message,
        tuple(run.attempts),
        run.overrun,
        cached,
        run.first_token,
        done.key,
    )


def _failed(run: _Running, error: str) -> Reply:
    return Reply(
        "",
        run.request.model,
        Usage(0, 0, estimated=True),
        run.charged,
        sum(a.latency_s for a in run.attempts) if run.pool.rules.clock else time.perf_counter() - run.started,
        error,
        "error",
        None,
        tuple(run.attempts),
        run.overrun,
    )
