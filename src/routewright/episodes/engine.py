"""The engine: runs a policy on a pool, one episode or many, and does not know what kind of pool it is.

    episode = await run(policy, pool, Query("2 + 2?"), value_usd=0.01, budget_usd=0.005)

The loop: publish what is legal, let the policy decide, carry it out, append the step, until an answer. Language models
that help a policy decide (`Generate`) are steps like any other: priced, held to the budget, traced. Every step is given
to `sink` the moment it is done, so a run that is killed or cancelled still leaves its record.

Cancelling the task stops the calls in flight; they are charged as failed attempts and are steps of the record, which ends
as `cancelled`.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import numpy as np

from routewright.episodes.legal import nothing_fits, published
from routewright.episodes.prompts import messages_for, name_of
from routewright.episodes.running import Run, Sink
from routewright.episodes.transition import begin, check_plan, finish, shown_to, usable
from routewright.errors import BudgetExceeded, EpisodeError
from routewright.policies.base import Policy, Wish
from routewright.pools.budget import Ledger
from routewright.pools.caller import Cancelled, OnDelta, Request
from routewright.pools.pool import Pool
from routewright.types import (
    Answer,
    Attempt,
    Call,
    Decision,
    Episode,
    Generate,
    Plan,
    Query,
    Reply,
    State,
    Step,
    Think,
    Usage,
)

MAX_STEPS = 64
_UNUSED = np.random.default_rng(0)  # handed to policies that draw nothing


async def run(
    policy: Policy,
    pool: Pool,
    query: Query,
    value_usd: float,
    budget_usd: float = math.inf,
    *,
    rng: np.random.Generator | None = None,
    on_delta: OnDelta | None = None,
    sink: Sink | None = None,
    max_steps: int = MAX_STEPS,
    ledger: Ledger | None = None,
    trace_id: str = "",
) -> Episode:
    """Run one episode.

    Args:
        policy: Decides.
        pool: Answers: live, local, recorded or simulated.
        query: The request.
        value_usd: What a right answer is worth, USD per unit of score.
        budget_usd: The most that may be spent; a hard cap on the ledger.
        rng: For policies that explore.
        on_delta: Given the pieces of the final reply as they come; None says that what came so far is void. It may raise
            `asyncio.CancelledError`, for readers that can not take anything back: the episode then ends as cancelled.
        sink: Given every step as it is done, and the episode at the end.
        max_steps: After so many the last usable reply is the answer.
        ledger: Of this episode, where others have a part in it; by default one of `budget_usd` alone.
        trace_id: 32 hexadecimal digits; random ones by default.

    Raises:
        BudgetExceeded: Nothing fits the budget and there is no reply to answer with.
        UnrecordedBranch: A recorded world was asked for what it does not hold.
        EpisodeError: The policy asked for what the process does not allow.
    """
    state = begin(query, pool.cards, value_usd, budget_usd)
    r = Run(
        policy,
        pool,
        ledger if ledger is not None else Ledger(budget_usd),
        rng if rng is not None else np.random.default_rng(policy.seed) if policy.random else _UNUSED,
        state,
        on_delta,
        sink,
        trace_id or os.urandom(16).hex(),
        time.perf_counter(),
        max_steps,
    )
    if policy.blocking:
        await asyncio.to_thread(policy.prepare, [query])
    try:
        return await _loop(r)
    except asyncio.CancelledError:
        r.end(finish(r.state, Answer(), stopped="cancelled", latency_s=r.latency_s, trace_id=r.trace_id))
        raise


async def run_many(
    policy: Policy,
    pool: Pool,
    queries: Iterable[Query],
    value_usd: float,
    budget_usd: float = math.inf,
    *,
    concurrency: int = 16,
    seed: int = 0,
    sink: Sink | None = None,
    max_steps: int = MAX_STEPS,
) -> AsyncIterator[tuple[int, Episode | BaseException]]:
    """Run many episodes, at most `concurrency` at once; yields (number, episode) as they end.

    An episode that raises is yielded as its exception and stops no other. The same seed gives query number i the same
    generator, whatever ran beside it. Only the queries in flight are held.
    """
    if concurrency < 1:
        raise EpisodeError(f"concurrency must be 1 or more, got {concurrency}.")
    numbered = enumerate(queries)
    pending: dict[asyncio.Task[Episode], int] = {}
    try:
        while True:
            while len(pending) < concurrency and (item := next(numbered, None)) is not None:
                i, query = item
                rng = np.random.default_rng((seed, i)) if policy.random else _UNUSED
                one = run(policy, pool, query, value_usd, budget_usd, rng=rng, sink=sink, max_steps=max_steps)
                pending[asyncio.ensure_future(one)] = i
            if not pending:
                return
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=pending.__getitem__):
                i = pending.pop(task)
                # Cancelled from inside, by its policy or a provider: nobody here wanted all to end.
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                yield i, error if error is not None else task.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _loop(r: Run) -> Episode:
    """Decide and act until there is an answer."""
    while True:
        if r.ledger.closed:
            return await _answer(r, Answer(), "overrun")
        if len(r.state.steps) >= r.max_steps:
            return await _answer(r, Answer(), "steps")
        r.state = published(r, r.state)
        if not any(r.state.legal) and not any(step.reply for step in r.state.steps):
            r.end(finish(r.state, Answer(), stopped="budget", latency_s=r.latency_s, trace_id=r.trace_id))
            raise nothing_fits(r)
        wish = await _decided(r, r.state)
        if wish is None:
            continue
        action = wish.action
        if isinstance(action, Answer):
            return await _answer(r, action, "answer", wish)
        if isinstance(action, Think):
            r.append(Step(wish))
        elif isinstance(action, Plan):
            check_plan(action)
            r.append(Step(wish))
            await _run_plan(r, action)
        else:
            step = await _call(r, r.state, wish, action, None)
            if action.final and step.reply is not None and step.reply.error is None and not r.ledger.closed:
                return await _answer(r, Answer(of=(len(r.state.steps) - 1,)), "answer")


async def _decided(r: Run, state: State) -> Decision | None:
    """The policy's decision, after whatever it had written first; None if the budget or the steps ran out meanwhile."""
    decide = r.policy.decide
    wish: Wish = (await asyncio.to_thread(decide, [state], r.rng) if r.policy.blocking else decide([state], r.rng))[0]
    while isinstance(wish, Generate):
        request = Request(
            wish.model,
            ({"role": "user", "content": wish.prompt},),
            r.state.query,
            wish.max_tokens,
            stop=wish.stop,
            sample=wish.sample,
            role="policy",
        )
        try:
            reply = await r.pool.call(request, r.ledger)
        except BudgetExceeded as error:
            reply = _unaffordable(wish.model, error)
        except Cancelled as cancelled:
            r.append(Step(wish, cancelled.reply))
            raise
        r.append(Step(wish, reply))
        r.freed()
        r.clock_s += reply.latency_s
        if r.ledger.closed or len(r.state.steps) >= r.max_steps:
            return None
        wish = r.policy.parse(reply, published(r, replace(r.state, focus=state.focus)))
    if not isinstance(wish, Decision):  # None would be asked for again for ever
        raise EpisodeError(f"{r.policy.kind} gave a {type(wish).__name__}. Expected a Decision or a Generate.")
    return wish


async def _call(r: Run, state: State, wish: Decision, action: Call, node: int | None) -> Step:
    """Make one call and append its step."""
    try:
        reply = await _ask(r, state, action, node)
    except Cancelled as cancelled:  # the record tells what was under way, and its charge
        r.append(Step(wish, cancelled.reply, node))
        raise
    step = Step(wish, reply, node)
    r.append(step)
    r.freed()
    if node is None:
        r.clock_s += reply.latency_s
    return step


async def _ask(r: Run, state: State, action: Call, node: int | None) -> Reply:
    if action.model is None:
        raise EpisodeError("A call outside a plan has no model. Expected one of the pool's.")
    rules = r.pool.rules
    if rules.once and action.model in r.asked and not action.sample:
        raise EpisodeError(f"{action.model} was asked before, and this world holds one answer of it per query.")
    if rules.alone and (action.context != "query" or action.prompt is not None):
        raise EpisodeError(
            "This world holds independent answers to the query; a call with another prompt, or one that sees earlier "
            "replies, was never recorded. Run such a policy on a live pool or on a response tree."
        )
    shown = shown_to(state, action, node)
    request = Request(
        action.model,
        messages_for(state, action, shown, r.pool.transcripts),
        state.query,
        action.max_tokens,
        action.least_tokens or r.policy.least_tokens,
        state.query.options,
        sample=action.sample,
        shown=tuple([name_of(state, i) for i in shown]) if shown else (),
        role=action.role,
        tokens_in=r.tokens_in if action.context == "query" and action.prompt is None else None,
    )
    r.asked.add(action.model)
    while True:
        try:
            return await r.pool.call(request, r.ledger, r.on_delta if action.final else None)
        except BudgetExceeded as error:
            # Beside it other calls of the plan may hold more than they will cost in the end.
            if r.settled is None or not r.ledger.reserved or r.ledger.closed:
                return _unaffordable(action.model, error)
            r.settled.clear()
            await r.settled.wait()


async def _reviewed(r: Run, node: int) -> Decision | None:
    """What the policy makes of the call of its plan that has just ended; None: go on."""
    if not r.policy.reviews:
        return None
    state = published(r, replace(r.state, focus=node))
    made = await asyncio.to_thread(r.policy.review, state) if r.policy.blocking else r.policy.review(state)
    if made is not None and not isinstance(made.action, Call | Think):
        raise EpisodeError(
            f"{r.policy.kind} reviewed a call with {type(made.action).__name__}. Expected a Call or a Think."
        )
    return made


async def _run_plan(r: Run, plan: Plan) -> None:
    """Run a plan's calls, each as soon as those it comes after have ended; after a failure nothing new is begun.

    Steps are appended in the order the calls end. A policy that `reviews` may have a call made again, by another model, before
    those that wait for it begin, or stop the plan. What was not begun is left to the policy, which sees what failed.
    """
    running: dict[asyncio.Task[None], int] = {}
    waiting = dict(enumerate(plan.calls))
    ended: dict[int, float] = {}  # call -> when it ended, on the world's clock
    began, failed = r.clock_s, False

    async def one(node: int, call: Call) -> None:
        nonlocal failed
        begun = max((ended[j] for j in call.after), default=began)
        wish = Decision(call)
        if call.model is None:
            asked = await _decided(r, published(r, replace(r.state, focus=node)))
            if asked is None:
                failed = True
                return
            if not isinstance(asked.action, Call) or asked.action.model is None:
                raise EpisodeError(f"{r.policy.kind} was asked for a model for call {node} of its plan and gave none.")
            given = asked.action
            chosen = replace(
                call,
                model=given.model,
                prompt=given.prompt if given.prompt is not None else call.prompt,
                max_tokens=given.max_tokens or call.max_tokens,
            )
            wish = replace(asked, action=chosen)
        ending = begun
        while True:
            action = wish.action
            assert isinstance(action, Call)
            step = await _call(r, r.state, wish, action, node)
            assert step.reply is not None
            ending += step.reply.latency_s
            more = None if r.ledger.closed or len(r.state.steps) >= r.max_steps else await _reviewed(r, node)
            if more is None or not isinstance(more.action, Call):
                break
            if more.action.model is None:
                raise EpisodeError(f"{r.policy.kind} asks call {node} of its plan again, and names no model.")
            wish = more
        if more is not None:
            r.append(Step(more, None, node))
        ended[node] = ending
        failed |= more is not None or step.reply.error is not None or r.ledger.closed

    r.settled = asyncio.Event()
    try:
        while waiting or running:
            ready = [] if failed else [i for i, c in waiting.items() if all(j in ended for j in c.after)]
            for i in ready:
                running[asyncio.ensure_future(one(i, waiting.pop(i)))] = i
            if not running:
                break
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del running[task]
                task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        r.settled = None
    r.clock_s = max(ended.values(), default=began)


async def _answer(r: Run, answer: Answer, stopped: str, wish: Decision | None = None) -> Episode:
    """End the episode with an answer; the quality is the world's to say."""
    able = usable(r.state)
    if stopped == "answer" and answer.rule != "text" and not any(s.reply for s in r.state.steps) and any(r.state.legal):
        raise EpisodeError(f"{r.policy.kind} answers before anything was asked. Expected a call first, or a text.")
    if answer.rule != "text" and not able:
        stopped = stopped if stopped != "answer" else "failed"
    episode = finish(r.state, answer, stopped=stopped, latency_s=r.latency_s, trace_id=r.trace_id, ending=wish)
    if r.pool.judge is not None:
        reply = None if episode.chosen is None else episode.steps[episode.chosen].reply
        episode = replace(episode, quality=await r.pool.judge(r.state.query, reply, episode.answer))
    r.end(episode)
    return episode


def _unaffordable(model: str, error: BudgetExceeded) -> Reply:
    said = f"does not fit the budget: {error}"
    attempt = Attempt(model, "", said, 0.0, 0.0, kind="budget")
    return Reply("", model, Usage(0, 0, estimated=True), 0.0, 0.0, said, "error", attempts=(attempt,))
