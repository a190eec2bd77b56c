"""Answering a request: which policy, which pool, within which budget, and the record of it.

Not here: HTTP (`endpoint.py`), protocols (`dialects/`). A pool model named directly is one call, without the engine. A
coordinator's policy serves what it declares to support; anything else, and anything a policy raises before the first byte,
is served by one call instead, and the answer says so. Whatever happens, what was done is recorded with its cost.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from routewright.episodes.engine import run
from routewright.errors import BudgetExceeded, PoolError
from routewright.gateway.asked import REFUSED, Asked
from routewright.gateway.baseline import baseline_usd
from routewright.gateway.faults import Fault, bad, fault_of, fault_of_reply, where_of
from routewright.gateway.generations import Generation, retire
from routewright.gateway.job import Job, Serving
from routewright.gateway.keys import Key
from routewright.gateway.limits import recall
from routewright.gateway.logs import log_request
from routewright.gateway.metrics import Metrics
from routewright.gateway.records import Recorder
from routewright.gateway.served import Served
from routewright.gateway.sessions import Sessions
from routewright.gateway.setup import Setup
from routewright.gateway.shared import Shared
from routewright.gateway.streaming import Live
from routewright.gateway.watch import LeftAlone, Unfit
from routewright.policies.base import Policy
from routewright.pools.budget import Ledger, SharedLedger
from routewright.pools.caller import Cancelled, Request
from routewright.pools.deadline import Deadline
from routewright.pools.pool import Endpoint, Pool
from routewright.stores.base import Store
from routewright.types import Call, Decision, Episode, Query, Reply, Step

if TYPE_CHECKING:
    from routewright.gateway.reload import Reloader
    from routewright.gateway.telemetry import Telemetry

CLIENT_GONE = 499
_MOMENT_S = 0.005  # from an answer to its record
_CUT_OFF_MS = 1000  # that requests may take to end when they are cut off
_POOLS = 256  # sub-pools kept
_log = logging.getLogger("routewright.gateway")


class Service:
    """A pool, its coordinators, and what is kept of serving them."""

    def __init__(self, setup: Setup, store: Store, shared: Shared | None = None) -> None:
        setup.check()
        self.store, self.metrics, self.sessions = store, Metrics(), Sessions()
        self.shared = shared
        self._recalling: asyncio.Task[None] | None = None
        self.reloader: Reloader | None = None  # where the gateway was started from a file
        self.telemetry: Telemetry | None = None
        self.leaving = False  # asked to end: readyz says no
        self._ended: deque[tuple[Served, Recorder, str, int, bool]] = deque()  # not kept yet
        self._pools: dict[frozenset[str], Pool] = {}
        self._running: dict[int, Job] = {}
        self._over = False
        self.generations: list[Generation] = []  # the one that serves is last
        self.adopt(setup)

    def adopt(self, setup: Setup) -> None:
        """Serve by another setup from now on. What runs ends on what it began with; that is closed afterwards."""
        self.setup = setup
        self.pool, self.coordinators, self.keyring = setup.pool, setup.coordinators, setup.keyring
        self.recorder, self.limits = setup.recorder, setup.limits
        self._pools = {}
        self.sessions.settings = setup.sessions
        self.sessions.trim()
        for serving in setup.coordinators.values():
            serving.watch(setup.limits.decide_s)
        self.generations.append(Generation(setup))
        retire(self.generations)

    async def open(self) -> None:
        """Open the store and take back what the keys have spent."""
        await self.store.open()
        if self.telemetry is not None:
            self.telemetry.open()
        if self.shared is not None:
            await self.shared.open(self.store, self.flush)
        self._recalling = await recall([key.quota for key in self.keyring.keys], self.store)

    async def aclose(self) -> None:
        """Keep what has ended, and let go. Requests that were cut off just now are given a moment to end."""
        for _ in range(_CUT_OFF_MS):
            if not any(generation.inside for generation in self.generations):
                break
            await asyncio.sleep(0.001)
        if self._recalling is not None:
            self._recalling.cancel()
        self.flush()
        if self.shared is not None:
            await self.shared.aclose()
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)
        await self.store.aclose()
        for generation in self.generations:
            await generation.setup.pool.aclose()
            generation.let_go()

    def cut_off(self) -> None:
        """End what runs with an error that says so, and take nothing more: the time to go has come."""
        self._over = True
        for job in self._running.values():
            if job.task is not None and job.cut is None:
                job.cut = _going()
                job.task.cancel()

    @property
    def endpoints(self) -> list[Endpoint]:
        return list({id(m.endpoint): m.endpoint for m in self.pool.members.values()}.values())

    def names(self, key: Key) -> list[tuple[str, str]]:
        """(name, what it is) of everything a key may ask: coordinators, their presets, models."""
        found = []
        for name, serving in self.coordinators.items():
            found.append((name, "coordinator"))
            found += [(f"{name}:{preset}", "coordinator") for preset in serving.coordinator.presets]
        found += [(name, "model") for name in self.pool.models]
        return [(name, kind) for name, kind in found if key.may_ask(name)]

    def check(self, asked: Asked, key: Key) -> None:
        """Refuse what a key may not ask, or what does not exist; both look alike to those who may not."""
        name, _, preset = asked.model.partition(":")
        known = asked.model in self.pool.members or (
            name in self.coordinators and self.coordinators[name].knows(preset)
        )
        if not known or not key.may_ask(asked.model):
            names = ", ".join(n for n, _ in self.names(key)[:20])
            raise Fault(
                404, f"No model is called {asked.model[:80]!r} here. Known: {names}.", "model_not_found", "model"
            )
        refused = REFUSED & asked.query.options.keys()
        if refused:
            raise bad(
                f"{', '.join(sorted(refused))}: where and how a model is called is not for a request to say. It is set in "
                "the pool file.",
                min(refused),
                "unknown_parameter",
            )

    async def answer(self, asked: Asked, key: Key, trace_id: str, live: Live | None = None) -> Served:
        """Serve a request; `Fault` if there is no answer. Cancel it when the client has gone: its cost is recorded."""
        if self._over:
            raise _going()
        generation, job = self.generations[-1], self._job(asked, key, trace_id, live)
        generation.inside += 1
        self._running[id(job)] = job
        job.task = asyncio.current_task()
        try:
            return await self._answer(job)
        finally:
            del self._running[id(job)]
            generation.inside -= 1
            if generation is not self.generations[-1]:
                retire(self.generations)

    async def _answer(self, job: Job) -> Served:
        live, request_s = job.live, self.limits.request_s
        fault: Fault | None = None
        try:
            with Deadline(request_s):
                await (self._direct(job) if job.serving is None else self._coordinated(job, job.serving))
            assert job.episode is not None
            if job.episode.chosen is None and not job.episode.answer:
                fault = self._no_answer(job)
        except asyncio.CancelledError:
            if job.cut is not None and job.task is not None:
                job.task.uncancel()
                job.episode, fault = job.episode or job.finished("cancelled"), job.cut
            elif live is None or live.broken is None:
                job.episode = job.episode or job.finished("cancelled")
                self._record(job, CLIENT_GONE)
                raise
            else:
                job.episode, fault = job.episode or job.finished("cancelled"), live.broken
        except TimeoutError:
            job.episode = job.episode or job.finished("cancelled")
            said = f"No answer within {request_s:g} s. Ask for less, or for a quicker model."
            fault = Fault(504, said, "timeout")
        except BudgetExceeded as error:
            fault = self._too_dear(job, error)
        except Exception as error:
            fault = fault_of(error)
            if fault.status >= 500:
                _log.error("request %s failed: %s", job.trace_id, where_of(error))
        served = self._record(job, fault.status if fault is not None else 200)
        if fault is not None:
            raise fault
        return served

    def _job(self, asked: Asked, key: Key, trace_id: str, live: Live | None) -> Job:
        name, _, preset = asked.model.partition(":")
        serving = None if asked.model in self.pool.members else self.coordinators.get(name)
        gone = asked.model not in self.pool.members if serving is None else not serving.knows(preset)
        if gone:  # since it was looked for
            raise Fault(404, f"No model is called {asked.model[:80]!r} here any more.", "model_not_found", "model")
        budget = asked.routing.budget_usd
        if budget is None and serving is not None:
            budget = serving.entry.budget_usd
        if budget is None:
            budget = math.inf
        above = key.quota.ledgers()
        ledger = SharedLedger(budget, above) if above else Ledger(budget)
        job = Job(asked, key, trace_id, self._pool_for(asked), ledger, live, serving, budget_usd=budget)
        job.recorder = self.recorder
        if serving is not None:
            job.coordinator, job.value_usd = name, serving.value_usd(asked.routing, preset)
        if asked.routing.session:
            self._recall(job)
        return job

    def _recall(self, job: Job) -> None:
        """What a request's session says to it."""
        job.kept = self.sessions.look(job.key.name, job.asked.routing.session, job.asked.query, job.pool)
        credit = self.sessions.credit(job.kept)
        if credit and job.serving is not None:
            job.asked = replace(job.asked, query=replace(job.asked.query, saved_usd=credit))

    def _pool_for(self, asked: Asked) -> Pool:
        """The pool without what the request rules out."""
        allow, deny = asked.routing.allow, asked.routing.deny
        if not allow and not deny:
            return self.pool
        for name in (*allow, *deny):
            if name not in self.pool.members:
                raise bad(f"routing names {name[:80]!r}, which is no model of the pool.", "routing")
        kept = frozenset(n for n in self.pool.models if (not allow or n in allow) and n not in deny)
        if not kept or (asked.model in self.pool.members and asked.model not in kept):
            raise bad("routing allows no model that could serve this request.", "routing")
        if kept not in self._pools:
            if len(self._pools) >= _POOLS:
                self._pools.clear()
            members = {n: m for n, m in self.pool.members.items() if n in kept}
            self._pools[kept] = Pool(members, self.pool.cache, self.pool.rules, self.pool.judge, self.pool.transcripts)
        return self._pools[kept]

    async def _direct(self, job: Job) -> None:
        """One call to the model named: no policy, nothing added."""
        model, query = job.asked.model, job.asked.query
        if "temperature" not in query.options:  # the upstream's own default, not our greedy one
            query = Query(query.text, messages=query.messages, options={**query.options, "temperature": None})
        request = Request(model, query.messages, query, options=query.options)
        wish = Decision(Call(model, final=True), (model,), 1.0, "named by the client")
        try:
            reply = await job.pool.call(request, job.ledger, job.on_delta)
        except Cancelled as cancelled:
            job.steps.append(Step(wish, cancelled.reply))
            raise
        failed = reply.error is not None
        job.episode = Episode(  # what `finish` would make of it
            query,
            (Step(wish, reply),),
            "" if failed else reply.text,
            None,
            reply.cost_usd,
            time.perf_counter() - job.began,
            0.0,
            job.budget_usd,
            None if failed or not (reply.text or reply.message) else 0,
            "failed" if failed else "answer",
            reply.overrun_usd,
            job.trace_id,
        )

    async def _coordinated(self, job: Job, serving: Serving) -> None:
        """The coordinator's policy, or one call where that can not serve: to a named model where something is broken."""
        if serving.broken:
            job.fallback = "the coordinator's files can not be used"
        else:
            policy = serving.policy
            lacking = job.asked.needs - policy.supports
            if lacking:
                job.fallback = f"{policy.kind} does not support {', '.join(sorted(lacking))}"
                policy = serving.spare
            try:
                policy.open()
                await policy.ready(job.asked.query, self.limits.prepare_s, len(self._running) < 2)
                await self._episode(job, policy)
                if not _useless(job.episode):
                    return
                raise Unfit(f"{policy.kind} gave no answer and asked no model")
            except (BudgetExceeded, PoolError):
                raise
            except Exception as error:
                if job.live is not None and job.live.began:
                    raise
                said = str(error) if isinstance(error, Unfit) else f"{policy.kind} failed ({type(error).__name__})"
                if not isinstance(error, LeftAlone):
                    where = where_of(error.__cause__ or error)
                    _log.error("%s: %s; one call instead (%s)", job.coordinator, said, where)
                job.fallback = f"{job.fallback}; {said}" if job.fallback else said
        before = tuple(job.steps)
        job.episode = None
        await self._episode(job, serving.rescue(job.pool.models))
        job.episode = _after(before, job)

    async def _episode(self, job: Job, policy: Policy) -> None:
        job.policy = policy.kind
        rng = np.random.default_rng() if policy.random else None
        job.episode = await run(
            policy,
            job.pool,
            job.asked.query,
            job.value_usd,
            job.budget_usd,
            rng=rng,
            on_delta=job.on_delta,
            sink=job.sink,
            max_steps=job.asked.routing.max_steps,
            ledger=job.ledger,
            trace_id=job.trace_id,
        )

    def _no_answer(self, job: Job) -> Fault:
        assert job.episode is not None
        replies: list[Reply] = [s.reply for s in job.episode.steps if s.reply is not None]
        last = replies[-1] if replies else None
        if last is not None and last.attempts and all(attempt.kind == "budget" for attempt in last.attempts):
            return self._too_dear(job, BudgetExceeded(f"No answer within the budget: {last.error}."))
        if last is not None and last.error is None:
            return Fault(502, f"{last.model} gave an empty reply.", "empty_reply")
        return fault_of_reply(last)

    def _too_dear(self, job: Job, error: BudgetExceeded) -> Fault:
        """The request's own budget, or its key's."""
        above = [ledger.remaining for ledger in job.key.quota.ledgers()]
        left = min((one for one in above if one is not None), default=None)
        own = Ledger(job.budget_usd).cap
        if left is not None and (own is None or left < own - job.ledger.spent):
            return job.key.quota.exhausted()
        return fault_of(error)

    def _record(self, job: Job, status: int) -> Served:
        """Take the tokens from the key's rate at once; keep and count the rest a moment later, off the answer's path."""
        job.ledger.ended()
        served = job.served()
        usage = served.usage
        job.key.quota.used(usage.tokens_in + usage.tokens_out)
        if job.asked.routing.session:
            self.sessions.note(job.key.name, job.asked.routing.session, served.episode)
        if not self._ended:
            asyncio.get_running_loop().call_later(_MOMENT_S, self.flush)
        self._ended.append((served, job.recorder or self.recorder, job.key.name, status, job.live is not None))
        return served

    def flush(self) -> None:
        """Keep and count the requests that have ended."""
        while self._ended:
            ended = self._ended.popleft()
            try:
                self._keep(*ended)
            except (
                Exception
            ) as error:  # a record that can not be made, a store that breaks its promise: never the request
                self.store.lost += 1
                self.store.lost_usd += ended[0].episode.cost_usd
                _log.error("a record was lost: %s", where_of(error))

    def _keep(self, served: Served, recorder: Recorder, key: str, status: int, streamed: bool) -> None:
        baseline = self._baseline(served, status)
        usd = None if baseline is None else baseline[1]
        self.metrics.count(served, status, baseline)
        self.store.record(recorder.record(served, key, status, streamed, usd))
        if self.telemetry is not None:
            self.telemetry.ended(served, key, status, streamed, self.pool)
        if self.setup.log_requests or status >= 500:
            log_request(served, key, status, streamed)

    def _baseline(self, served: Served, status: int) -> tuple[str, float] | None:
        """The best single model and what it would have cost; see `baseline.py`."""
        serving = self.coordinators.get(served.coordinator)
        card = None if serving is None else serving.baseline(self.pool)
        usd = None if card is None else baseline_usd(served, status, card)
        return None if card is None or usd is None else (card.name, usd)


def _going() -> Fault:
    return Fault(503, "The gateway is being stopped, and could wait no longer. Ask again.", "stopping", None, 1.0)


def _useless(episode: Episode | None) -> bool:
    """Whether a policy came to its end without an answer, and without having asked anybody."""
    return (
        episode is not None
        and episode.chosen is None
        and not episode.answer
        and not any(step.reply is not None for step in episode.steps)
    )


def _after(before: tuple[Step, ...], job: Job) -> Episode:
    """The episode that followed a failed policy, with that policy's steps and cost before its own."""
    episode = job.episode
    assert episode is not None
    cost = math.fsum(s.reply.cost_usd for s in before if s.reply is not None)
    return replace(
        episode,
        steps=(*before, *episode.steps),
        chosen=None if episode.chosen is None else episode.chosen + len(before),
        cost_usd=cost + episode.cost_usd,
        latency_s=time.perf_counter() - job.began,
    )
