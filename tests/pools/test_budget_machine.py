"""The cap is never passed: calls in flight together, that fail, are cut, cancelled, hedged, and lie about their usage.

The machine drives the real `routewright.pools.caller.call` on one ledger, through a provider that does what Hypothesis
says. What each attempt has to be charged is computed here a second time, in exact fractions.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from routewright.errors import BudgetExceeded, ProviderError, UnrecordedBranch
from routewright.pools.bounds import estimate_prompt, estimate_tokens, most_tokens_in
from routewright.pools.budget import PICO, Hold, Ledger
from routewright.pools.caller import Request, call
from routewright.pools.config import CallSettings
from routewright.pools.pool import Endpoint, Member, Pool
from routewright.pools.providers.base import Completion, Delta
from routewright.types import ModelCard, Query, Reply, Usage
from tests.pools.stepwise import Asked, Clock, Stepwise

DEADLINE_S = 60.0
ENDPOINTS = {
    "plain": CallSettings(backoff_s=0, deadline_s=DEADLINE_S, retries=1, breaker_failures=0),
    "narrow": CallSettings(backoff_s=0, deadline_s=DEADLINE_S, concurrency=1, breaker_failures=2, breaker_cooldown_s=0),
    "hedged": CallSettings(backoff_s=0, deadline_s=DEADLINE_S, hedge_s=1.0, breaker_failures=0, retries=1),
}
CARDS = {  # with the endpoint and the fallbacks of each
    "cheap": (ModelCard("cheap", 0.1, 0.4, output_tokens=40), "plain", ("dear",)),
    "dear": (ModelCard("dear", 3.0, 15.0, output_tokens=60), "plain", ()),
    "cached": (ModelCard("cached", 0.37, 1.13, usd_per_mtok_cached=0.5, output_tokens=50), "narrow", ("cheap",)),
    "hedged": (ModelCard("hedged", 0.7, 2.1, output_tokens=30), "hedged", ("cheap",)),
}
TEXTS = st.sampled_from(["", "ok", "The answer is 42.", "word " * 30])
COUNTS = st.sampled_from([-5, 0, 1, 7, 90, 5_000, 10**9, 10**30, 10**400])
USAGES = st.none() | st.builds(Usage, COUNTS, COUNTS, COUNTS)
PARTIALS = st.none() | st.builds(Completion, TEXTS, USAGES)
FAILURES = st.builds(
    lambda kind, retryable, reached, wait, partial: ProviderError(
        "told to fail", kind, retryable=retryable, reached=reached, retry_after_s=wait, partial=partial
    ),
    st.sampled_from(["connect", "timeout", "rate_limit", "server", "malformed", "cut", "refused"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 0.0, 5.0, 1e6]),
    PARTIALS,
)
MODELS, MOST, LEAST = st.sampled_from(list(CARDS)), st.sampled_from([None, 1, 25]), st.sampled_from([None, 1, 10])
WORDS, MOODS = st.sampled_from([1, 20, 300]), st.sampled_from([(False, False)] * 3 + [(True, False), (True, True)])
OPTIONS = st.sampled_from([{}, {}, {"n": 3}, {"n": -5}, {"max_tokens": 9}, {"max_tokens": -1}, {"n": "x"}])
PICK = st.integers(0, 7)  # which of the attempts or calls in flight


class Watched(Ledger):
    """A ledger that keeps its reservations, and looks at the cap inside every step."""

    def __init__(self, budget_usd: float) -> None:
        super().__init__(budget_usd)
        self.holds: list[WatchedHold] = []

    def reserve_pico(self, amount: int | None) -> Hold | None:
        was_closed = self.closed
        made = super().reserve_pico(amount)
        if made is None:
            return None
        assert made.amount >= 0, "a reservation that makes the ledger richer"
        assert not was_closed, "something was started after an overrun"
        task = asyncio.current_task()
        assert task is not None
        self.holds.append(WatchedHold(self, made.amount, task.get_name()))
        self.look()
        return self.holds[-1]

    def look(self) -> None:
        assert self.spent >= 0
        assert self.reserved >= 0
        assert self.cap is None or self.spent + self.reserved <= self.cap


class WatchedHold(Hold):
    """A reservation that knows its call, and what it was charged."""

    __slots__ = ("call", "charged")

    def __init__(self, ledger: Ledger, amount: int, call: str) -> None:
        super().__init__(ledger, amount)
        self.call, self.charged = call, 0

    def _close(self, charged: int) -> None:
        super()._close(charged)
        self.charged = charged
        assert isinstance(self._ledger, Watched)
        self._ledger.look()


class CapIsNeverPassed(RuleBasedStateMachine):
    """Calls on one ledger; see the module."""

    @initialize(budget=st.sampled_from([0.0, 2e-4, 1e-3, 6e-3, 6e-3, 0.02, 0.1, 0.1, math.inf]))
    def begin(self, budget: float) -> None:
        self.loop = Clock()
        self.provider = Stepwise()
        self.ledger = Watched(budget)
        self.tasks: dict[str, asyncio.Task[Reply]] = {}
        self.checked: set[str] = set()
        self.broken: set[str] = set()  # calls whose provider was told to raise what a provider must not
        endpoints = {name: Endpoint(name, self.provider, how) for name, how in ENDPOINTS.items()}
        self.pool = Pool({n: Member(card, endpoints[e], n, fallback) for n, (card, e, fallback) in CARDS.items()})

    # -- what may happen

    @precondition(lambda self: self.in_flight() < 6)
    @rule(model=MODELS, streamed=st.booleans(), most=MOST, least=LEAST, words=WORDS, mood=MOODS, options=OPTIONS)
    def start(
        self,
        model: str,
        streamed: bool,
        most: int | None,
        least: int | None,
        words: int,
        mood: tuple[bool, bool],
        options: Mapping[str, Any],
    ) -> None:
        name = f"call {len(self.tasks)}"
        query = Query("word " * words, name)
        request = Request(model, ({"role": "user", "content": query.text},), query, most, least, options)
        self.provider.mood = mood
        heard = (lambda delta: None) if streamed else None
        self.tasks[name] = self.loop.create_task(call(self.pool, request, self.ledger, heard), name=name)
        self.loop.settle()

    @precondition(lambda self: self.in_flight() < 6)
    @rule(model=MODELS, streamed=st.booleans(), fate=st.builds(Completion, TEXTS, USAGES) | FAILURES)
    def start_and_end(self, model: str, streamed: bool, fate: Completion | ProviderError) -> None:
        self.provider.at_once = fate
        self.start(model, streamed, None, None, 1, (False, False), {})
        self.provider.at_once = None

    @precondition(lambda self: self.in_flight() < 6)
    @rule(least=LEAST, mood=MOODS)
    def start_and_hedge(self, least: int | None, mood: tuple[bool, bool]) -> None:
        self.start("hedged", False, None, least, 1, mood, {})
        self.loop.pass_s(1.5)

    @precondition(lambda self: self.open())
    @rule(which=PICK, text=TEXTS, usage=USAGES)
    def answer(self, which: int, text: str, usage: Usage | None) -> None:
        self._tell(which, Completion(text, usage))

    @precondition(lambda self: self.open())
    @rule(which=PICK, error=FAILURES)
    def fail(self, which: int, error: ProviderError) -> None:
        self._tell(which, error)

    @precondition(lambda self: self.open())
    @rule(which=PICK, recorded=st.booleans())
    def break_down(self, which: int, recorded: bool) -> None:
        """A defect of the provider, or a recorded world without this branch: both go through to the caller."""
        asked = self._pick(which)
        self.broken.add(asked.ask.query.query_id)
        self._tell(which, UnrecordedBranch("told to") if recorded else ZeroDivisionError("told to"))

    @precondition(lambda self: any(a.streamed for a in self.open()))
    @rule(which=PICK, text=TEXTS)
    def stream(self, which: int, text: str) -> None:
        streams = [a for a in self.open() if a.streamed]
        streams[which % len(streams)].inbox.put_nowait(Delta(text))
        self.loop.settle()

    @precondition(lambda self: any(a.streamed for a in self.open()))
    @rule(which=PICK)
    def cut(self, which: int) -> None:
        streams = [a for a in self.open() if a.streamed]
        streams[which % len(streams)].inbox.put_nowait(None)
        self.loop.settle()

    @precondition(lambda self: self.in_flight())
    @rule(which=PICK, twice=st.booleans())
    def cancel(self, which: int, twice: bool) -> None:
        flying = [t for t in self.tasks.values() if not t.done()]
        for _ in range(1 + twice):
            flying[which % len(flying)].cancel()
            self.loop.settle()

    @rule(seconds=st.sampled_from([0.5, 0.5, 1.5, 6.0, DEADLINE_S + 1]))
    def wait(self, seconds: float) -> None:
        self.loop.pass_s(seconds)

    # -- what holds at every moment

    @invariant()
    def the_cap_holds(self) -> None:
        self.ledger.look()
        assert self.ledger.remaining_usd >= 0
        assert self.ledger.spent == sum(h.charged for h in self.ledger.holds)
        assert self.ledger.reserved == sum(h.amount for h in self.ledger.holds if h.open)

    @invariant()
    def what_works_is_reserved_for(self) -> None:
        for name in self.tasks:
            working = sum(not a.cancelled for a in self.open() if a.ask.query.query_id == name)
            assert working <= sum(h.open for h in self.ledger.holds if h.call == name)

    @invariant()
    def ended_calls_tell_the_truth(self) -> None:
        for name, task in self.tasks.items():
            if task.done() and name not in self.checked:
                self.checked.add(name)
                self._check(name, task)

    @invariant()
    def nothing_is_left_open(self) -> None:
        if not self.in_flight():
            assert self.ledger.reserved == 0

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for task in self.tasks.values():
            task.cancel()
        self.loop.settle()
        while self.open():
            for asked in self.open():
                asked.inbox.put_nowait(None if asked.streamed else ProviderError("the end"))
            self.loop.settle()
        assert not self.in_flight()
        self.ended_calls_tell_the_truth()
        self.the_cap_holds()
        assert self.ledger.reserved == 0
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    # -- helpers

    def open(self) -> list[Asked]:
        return [a for a in self.provider.asked if not a.over]

    def in_flight(self) -> int:
        return sum(not t.done() for t in self.tasks.values())

    def _pick(self, which: int) -> Asked:
        return self.open()[which % len(self.open())]

    def _tell(self, which: int, item: Completion | BaseException) -> None:
        self._pick(which).inbox.put_nowait(item)
        self.loop.settle()

    def _check(self, name: str, task: asyncio.Task[Reply]) -> None:
        holds = [h for h in self.ledger.holds if h.call == name]
        asked = [a for a in self.provider.asked if a.ask.query.query_id == name]
        assert not any(h.open for h in holds), "a call ended and left money set aside"
        charged = sum(h.charged for h in holds)
        if "hedged" not in {a.ask.model for a in asked}:
            assert len(asked) == len(holds)
            for one, hold in zip(asked, holds, strict=True):
                bill = due(one)
                assert hold.charged == (bill if self.ledger.cap is None else min(bill, hold.amount)), (one, hold.amount)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            if isinstance(error, BudgetExceeded):
                assert not holds, "a call that was made must be told of by a reply"
            else:
                assert name in self.broken, error
            return
        reply = task.result()
        assert round(reply.cost_usd * PICO) == charged
        assert round(sum(a.cost_usd for a in reply.attempts) * PICO) == charged
        assert reply.overrun_usd == 0 or self.ledger.closed
        assert (reply.error is None) == any(a.error is None for a in reply.attempts)


def due(asked: Asked) -> int:
    """What an attempt has to be charged, pico-dollars, before the cap on its reservation.

    Nothing where no model can have worked; else tokens times prices, in tokens as told or, where nothing or nonsense was
    told, as estimated from the texts.
    """
    card = CARDS[asked.ask.model][0]
    said: Usage | None = None
    text = asked.text
    if isinstance(asked.last, UnrecordedBranch):
        return 0
    if isinstance(asked.last, Completion):
        said, text = asked.last.usage, asked.last.text
    elif isinstance(asked.last, ProviderError):
        if not asked.last.reached:
            return 0
        if asked.last.partial is not None:
            said, text = asked.last.partial.usage, asked.last.partial.text
    messages = asked.ask.messages
    prompt = min(estimate_prompt(messages, {}), most_tokens_in(messages, {}))
    least = 1 if isinstance(asked.last, Completion) else 0  # a whole reply has a token
    usage = Usage(prompt, min(max(least, estimate_tokens(text)), asked.ask.max_tokens))
    if said is not None and min(said.tokens_out, said.tokens_cached) >= 0 and said.tokens_in > 0:
        counted = max(said.tokens_in, said.tokens_out, said.tokens_cached) <= 10**12
        usage = said if counted and (said.tokens_out or not text) else usage
    assert card.usd_per_mtok_in is not None
    assert card.usd_per_mtok_out is not None
    per_cached = card.usd_per_mtok_cached if card.usd_per_mtok_cached is not None else card.usd_per_mtok_in
    exact = (
        max(0, usage.tokens_in - usage.tokens_cached) * Fraction(str(card.usd_per_mtok_in))
        + usage.tokens_cached * Fraction(str(per_cached))
        + usage.tokens_out * Fraction(str(card.usd_per_mtok_out))
    )
    return math.ceil(exact * 1_000_000)


CapIsNeverPassed.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestCapIsNeverPassed = CapIsNeverPassed.TestCase


def test_of_two_calls_that_end_together_the_good_one_counts() -> None:
    """Whichever of a hedged pair is the good one; a set of tasks has no order to rely on."""
    for good in (0, 1) * 5:
        machine = CapIsNeverPassed()
        machine.begin(0.1)
        machine.start_and_hedge(None, (False, False))
        for i, asked in enumerate(machine.open()):
            asked.inbox.put_nowait(Completion("ok") if i == good else ProviderError("told to"))
        machine.loop.settle()
        reply = machine.tasks["call 0"].result()
        assert (reply.text, reply.error, len(reply.attempts)) == ("ok", None, 2)
        machine.teardown()
