"""The engine: runs a policy on a pool, one episode or many, and does not know what kind of pool it is.

    episode = await run(policy, pool, Query("2 + 2?"), value_usd=0.01, budget_usd=0.005)

The loop: publish what is legal, let the policy decide, carry it out, append the step, until an answer. Language models
that help a policy decide (`Generate`) are steps like any other: priced, held to the budget, traced. Every step is given
to `sink` the moment it is done, so a run that is killed or cancelled still leaves its record.

Cancelling the task stops the calls in flight; they are charged as failed attempts, and the record ends as `cancelled`.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from routewright.episodes.transition import begin, check_plan, finish, shown_to, transition, usable
from routewright.errors import BudgetExceeded, EpisodeError, PoolError, RoutewrightError
from routewright.policies.base import Policy, Wish
from routewright.pools.bounds import messages_of, most_tokens_in, most_tokens_out
from routewright.pools.budget import PICO, Ledger
from routewright.pools.caller import OnDelta, Request, worst_of
from routewright.pools.pool import Pool
from routewright.types import Answer, Call, Decision, Episode, Generate, Plan, Query, Reply, State, Step, Think, Usage

Sink = Callable[[State, Step | None, Episode | None], None]  # each step as it is done; the episode at the end
MAX_STEPS = 64
_UNUSED = np.random.default_rng(0)  # handed to policies that draw nothing


@dataclass(slots=True)
class _Run:
    """One episode in progress."""

    policy: Policy
    pool: Pool
    ledger: Ledger
    rng: np.random.Generator
    state: State
    on_delta: OnDelta | None
    sink: Sink | None
    trace_id: str
    started: float
    max_steps: int
    clock_s: float = 0.0  # of worlds with a clock of their own
    asked: set[str] = field(default_factory=set)
    worst_usd: tuple[float, ...] = ()  # along the pool; weighed once
    worst_pico: tuple[int | None, ...] = ()
    least_pico: tuple[int | None, ...] = ()  # the same for the shortest reply the policy allows, if it allows any
    able: tuple[bool, ...] = ()
    tokens_in: int | None = None  # the query's, at most
    settled: asyncio.Event | None = None  # set when a call of the plan being run has ended


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
) -> Episode:
    """Run one episode.

    Args:
        policy: Decides.
        pool: Answers: live, local, recorded or simulated.
        query: The request.
        value_usd: What a right answer is worth, USD per unit of score.
        budget_usd: The most that may be spent; a hard cap on the ledger.
        rng: For policies that explore.
        on_delta: Given the pieces of the final reply as they come; None says that what came so far is void.
        sink: Given every step as it is done, and the episode at the end.
        max_steps: After so many the last usable reply is the answer.

    Raises:
        BudgetExceeded: Nothing fits the budget and there is no reply to answer with.
        UnrecordedBranch: A recorded world was asked for what it does not hold.
        EpisodeError: The policy asked for what the process does not allow.
    """
    state = begin(query, pool.cards, value_usd, budget_usd)
    r = _Run(
        policy,
        pool,
        Ledger(budget_usd),
        rng if rng is not None else np.random.default_rng(policy.seed) if policy.random else _UNUSED,
        state,
        on_delta,
        sink,
        os.urandom(16).hex(),
        time.perf_counter(),
        max_steps,
    )
    if policy.blocking:
        await asyncio.to_thread(policy.prepare, [query])
    try:
        return await _loop(r)
    except asyncio.CancelledError:
        _end(r, finish(r.state, Answer(), stopped="cancelled", latency_s=_clock(r), trace_id=r.trace_id))
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
                error = task.exception()
                yield i, error if error is not None else task.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _loop(r: _Run) -> Episode:
    """Decide and act until there is an answer."""
    while True:
        if r.ledger.closed:
            return await _answer(r, Answer(), "overrun")
        if len(r.state.steps) >= r.max_steps:
            return await _answer(r, Answer(), "steps")
        r.state = _published(r, r.state)
        if not any(r.state.legal) and not any(step.reply for step in r.state.steps):
            raise _nothing_fits(r)
        wish = await _decided(r, r.state)
        if wish is None:
            continue
        action = wish.action
        if isinstance(action, Answer):
            return await _answer(r, action, "answer", wish)
        if isinstance(action, Think):
            _append(r, Step(wish))
        elif isinstance(action, Plan):
            check_plan(action)
            _append(r, Step(wish))
            await _run_plan(r, action)
        else:
            step = await _call(r, r.state, wish, action, None)
            if action.final and step.reply is not None and step.reply.error is None and not r.ledger.closed:
                return await _answer(r, Answer(of=(len(r.state.steps) - 1,)), "answer")


async def _decided(r: _Run, state: State) -> Decision | None:
    """The policy's decision, after whatever it had written first; None if the budget or the steps ran out meanwhile."""
    wish: Wish = r.policy.decide([state], r.rng)[0]
    while isinstance(wish, Generate):
        request = Request(
            wish.model,
            ({"role": "user", "content": wish.prompt},),
            r.state.query,
            wish.max_tokens,
            stop=wish.stop,
            role="policy",
        )
        try:
            reply = await r.pool.call(request, r.ledger)
        except BudgetExceeded as error:
            reply = _unaffordable(wish.model, error)
        _append(r, Step(wish, reply))
        _tick(r, reply.latency_s)
        if r.ledger.closed or len(r.state.steps) >= r.max_steps:
            return None
        wish = r.policy.parse(reply, _published(r, replace(r.state, focus=state.focus)))
    return wish


async def _call(r: _Run, state: State, wish: Decision, action: Call, node: int | None) -> Step:
    """Make one call and append its step."""
    reply = await _ask(r, state, action, node)
    step = Step(wish, reply, node)
    _append(r, step)
    if r.settled is not None:
        r.settled.set()
    if node is None:
        _tick(r, reply.latency_s)
    return step


async def _ask(r: _Run, state: State, action: Call, node: int | None) -> Reply:
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
        _messages(state, action, shown),
        state.query,
        action.max_tokens,
        action.least_tokens or r.policy.least_tokens,
        state.query.options,
        sample=action.sample,
        shown=tuple([_model(state, i) for i in shown]) if shown else (),
        role=action.role,
        tokens_in=r.tokens_in if not shown and action.prompt is None else None,
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


async def _run_plan(r: _Run, plan: Plan) -> None:
    """Run a plan's calls, each as soon as those it comes after have ended; after a failure nothing new is begun.

    Steps are appended in the order the calls end. What was not begun is left to the policy, which sees what failed.
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
            asked = await _decided(r, _published(r, replace(r.state, focus=node)))
            if asked is None:
                failed = True
                return
            if not isinstance(asked.action, Call) or asked.action.model is None:
                raise EpisodeError(f"{r.policy.kind} was asked for a model for call {node} of its plan and gave none.")
            chosen = replace(call, model=asked.action.model, max_tokens=asked.action.max_tokens or call.max_tokens)
            wish = replace(asked, action=chosen)
        action = wish.action
        assert isinstance(action, Call)
        step = await _call(r, r.state, wish, action, node)
        assert step.reply is not None
        ended[node] = begun + step.reply.latency_s
        failed |= step.reply.error is not None or r.ledger.closed

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


async def _answer(r: _Run, answer: Answer, stopped: str, wish: Decision | None = None) -> Episode:
    """End the episode with an answer; the quality is the world's to say."""
    able = usable(r.state)
    if stopped == "answer" and answer.rule != "text" and not any(s.reply for s in r.state.steps) and any(r.state.legal):
        raise EpisodeError(f"{r.policy.kind} answers before anything was asked. Expected a call first, or a text.")
    if answer.rule != "text" and not able:
        stopped = stopped if stopped != "answer" else "failed"
    episode = finish(r.state, answer, stopped=stopped, latency_s=_clock(r), trace_id=r.trace_id)
    if r.pool.judge is not None:
        reply = None if episode.chosen is None else episode.steps[episode.chosen].reply
        episode = replace(episode, quality=await r.pool.judge(r.state.query, reply, episode.answer))
    _end(r, episode)
    return episode


def _nothing_fits(r: _Run) -> RoutewrightError:
    """No model may be called, and none ever was: because of what the request needs, or of the budget."""
    _end(r, finish(r.state, Answer(), stopped="budget", latency_s=_clock(r), trace_id=r.trace_id))
    if not any(r.able):
        needs = _needs(r.state.query)
        return PoolError(
            f"No model of the pool can take this request: it needs {', '.join(needs) or 'a longer context'}, and none of "
            f"{', '.join(r.pool.models)} has that. Add a model that does, or its capabilities in the pool file."
        )
    worst = [
        (w, c.name) for w, c, may in zip(r.worst_usd, r.state.pool, r.able, strict=True) if may and math.isfinite(w)
    ]
    hint = "No model that could has a known price"
    if worst:
        most, name = min(worst)
        hint = f"The cheapest that could, {name}, may cost {most:.3g} USD"
    return BudgetExceeded(
        f"No model fits budget_usd={r.state.budget_usd:g}: {r.ledger.remaining_usd:.3g} USD are left. {hint}; raise the "
        "budget, shorten the query, or lower max_tokens."
    )


def _published(r: _Run, state: State) -> State:
    """The state with what may be called now, and what each call can cost at most."""
    if not r.worst_usd:
        _weigh(r)
    once, fits = r.pool.rules.once, r.ledger.fits_pico
    most, most_usd = r.worst_pico, r.worst_usd
    if r.least_pico:  # a call that does not fit may be shortened
        most = tuple([w if fits(w) else least for w, least in zip(most, r.least_pico, strict=True)])
        most_usd = tuple([math.inf if w is None else w / PICO for w in most])
    legal = tuple([able and fits(worst) for able, worst in zip(r.able, most, strict=True)])
    if once and r.asked:
        legal = tuple([may and name not in r.asked for may, name in zip(legal, r.pool.members, strict=True)])
    return State(
        state.query,
        state.pool,
        state.value_usd,
        state.budget_usd,
        state.steps,
        legal,
        most_usd,
        state.spent_usd,
        state.plan,
        state.focus,
    )


def _weigh(r: _Run) -> None:
    """What calling each model with the query costs at most, and whether it can at all: the same all episode long."""
    query = r.state.query
    options, needs = query.options, _needs(query)
    r.tokens_in = tokens_in = most_tokens_in(messages_of(query), options)
    worst, able = [], []
    for member in r.pool.members.values():
        card = member.card
        worst.append(worst_of(member, query, tokens_in, most_tokens_out(card, None, options), options))
        short = card.context_tokens is None or not _surely_too_long(tokens_in, card.context_tokens)
        able.append(short and (not needs or all(n in card.capabilities for n in needs)))
    r.worst_pico, r.able = tuple(worst), tuple(able)
    r.worst_usd = tuple([math.inf if w is None else w / PICO for w in worst])
    if (shortest := r.policy.least_tokens) is not None:
        r.least_pico = tuple(
            [
                worst_of(m, query, tokens_in, min(shortest, most_tokens_out(m.card, None, options)), options)
                for m in r.pool.members.values()
            ]
        )


def _surely_too_long(most_tokens: int, limit: int) -> bool:
    """Bytes bound tokens from above; no tokenizer packs more than some 8 bytes of running text into a token."""
    return most_tokens > 8 * limit


def _needs(query: Query) -> tuple[str, ...]:
    needs = []
    if query.options.get("tools") or query.options.get("functions"):
        needs.append("tools")
    kind = query.options.get("response_format")
    if isinstance(kind, dict) and kind.get("type") in ("json_object", "json_schema"):
        needs.append("json")
    for message in query.messages:
        content = message.get("content")
        if isinstance(content, list) and any(isinstance(p, dict) and p.get("type") == "image_url" for p in content):
            needs.append("images")
            break
    return tuple(needs)


def _messages(state: State, action: Call, shown: Sequence[int]) -> Sequence[Mapping[str, object]]:
    """What the model is sent: the prompt, or the query; after it the replies it is shown, as notes."""
    if action.prompt is not None:
        base: list[Mapping[str, object]] = [{"role": "user", "content": action.prompt}]
    else:
        base = list(messages_of(state.query))
    if not shown:
        return base
    notes = "\n\n".join(f"[{n}] {_text(state, i)}" for n, i in enumerate(shown, 1))
    ask = {
        "refine": "Improve on it: check it, correct it, and give the full answer to the request above.",
        "verify": "Check it. Say whether it is right, and give the right answer to the request above.",
        "aggregate": "Weigh them, and give the one best answer to the request above.",
    }.get(action.role, "Use them to answer the request above.")
    return [*base, {"role": "user", "content": f"Notes so far:\n\n{notes}\n\n{ask}"}]


def _text(state: State, i: int) -> str:
    reply = state.steps[i].reply
    return reply.text if reply is not None else ""


def _model(state: State, i: int) -> str:
    reply = state.steps[i].reply
    return reply.model if reply is not None else ""


def _unaffordable(model: str, error: BudgetExceeded) -> Reply:
    return Reply("", model, Usage(0, 0, estimated=True), 0.0, 0.0, f"does not fit the budget: {error}", "error")


def _append(r: _Run, step: Step) -> None:
    r.state = transition(r.state, step)
    if r.sink is not None:
        r.sink(r.state, step, None)


def _end(r: _Run, episode: Episode) -> None:
    if r.sink is not None:
        r.sink(r.state, None, episode)


def _tick(r: _Run, latency_s: float) -> None:
    r.clock_s += latency_s


def _clock(r: _Run) -> float:
    return r.clock_s if r.pool.rules.clock else time.perf_counter() - r.started
