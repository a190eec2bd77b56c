"""The engine: plans as graphs, policies that write before they decide, cancellation, many at once, ends of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from routewright.episodes.engine import run, run_many
from routewright.episodes.trace import TraceFile, replay, to_lines
from routewright.errors import BudgetExceeded, EpisodeError, PoolError, ProviderError
from routewright.policies.base import Policy, Wish, build_policy
from routewright.pools.bounds import most_tokens_in
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Completion
from routewright.types import Answer, Call, Decision, Episode, Generate, Plan, Query, Reply, State, Think, Usage
from tests.pools.doubles import Scripted, scripted_pool

QUERY = Query("What is 2 + 2?")
NEVER = ProviderError("400", "refused", reached=False)


class Told(Policy):
    """Decides what it is told: a list of wishes, or a function of the state."""

    kind: ClassVar[str] = "told"
    summary: ClassVar[str] = "test"

    def __init__(self, *wishes: Any, parse: Callable[[Reply, State], Wish] | None = None) -> None:
        super().__init__()
        self.wishes, self.parsed, self.seen = list(wishes), parse, []  # type: ignore[var-annotated]

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        self.seen.append(states[0])
        wish = self.wishes.pop(0)
        if callable(wish):
            wish = wish(states[0])
        return [wish if isinstance(wish, Decision | Generate) else Decision(wish)]

    def parse(self, reply: Reply, state: State) -> Wish:
        assert self.parsed is not None
        return self.parsed(reply, state)


def play(policy: Policy, pool: Pool, budget_usd: float = float("inf"), **more: Any) -> Episode:
    episode = asyncio.run(run(policy, pool, QUERY, 0.01, budget_usd, **more))
    assert replay(to_lines(episode, pool.cards)) == episode
    return episode


def test_one_call_and_its_answer() -> None:
    episode = play(Told(Call("m0"), Answer()), scripted_pool(Scripted("four")))
    assert (episode.answer, episode.chosen, episode.stopped) == ("four", 0, "answer")
    assert episode.cost_usd == pytest.approx(20e-6)


def test_a_final_call_is_not_asked_about_again() -> None:
    policy = Told(Call("m0", final=True))
    assert play(policy, scripted_pool(Scripted("four"))).answer == "four"
    failing = Told(Call("m0", final=True), Call("m1", final=True))
    assert play(failing, scripted_pool(Scripted(NEVER), Scripted("five"))).answer == "five"


def test_a_transcript_shows_the_replies_before() -> None:
    first, second = Scripted("four"), Scripted("4")
    play(Told(Call("m0"), Call("m1", context="transcript", role="refine"), Answer()), scripted_pool(first, second))
    assert len(first.asked[0].messages) == 1
    notes = second.asked[0].messages[-1]["content"]
    assert "four" in notes
    assert second.asked[0].shown == ("m0",)
    assert second.asked[0].messages[0]["content"] == QUERY.text


def test_a_call_is_shown_only_what_it_names() -> None:
    last = Scripted()
    pool = scripted_pool(Scripted("one"), Scripted("two"), last)
    play(Told(Call("m0"), Call("m1"), Call("m2", context="transcript", after=(1,)), Answer()), pool)
    assert last.asked[0].shown == ("m1",)
    assert "one" not in last.asked[0].messages[-1]["content"]


def test_thinking_is_free_and_kept() -> None:
    episode = play(Told(Think("hm"), Call("m0"), Answer()), scripted_pool(Scripted("four")))
    assert isinstance(episode.steps[0].decision, Decision)
    assert episode.steps[0].decision.action == Think("hm")
    assert episode.chosen == 1


def test_a_vote_takes_the_majority() -> None:
    pool = scripted_pool(*(Scripted(t) for t in ("It is A.", "The answer is B", "Answer: B")))
    query = Query("Which?\nA) one\nB) two\nC) three")
    episode = asyncio.run(run(Told(Call("m0"), Call("m1"), Call("m2"), Answer("vote")), pool, query, 0.01))
    assert episode.answer == "The answer is B"
    assert episode.chosen == 1


# ---- plans ----


def test_independent_calls_of_a_plan_run_side_by_side() -> None:
    slow = Scripted(0.1, 0.1, 0.1)
    plan = Plan((Call("m0"), Call("m0"), Call("m0"), Call("m0", context="transcript", after=(0, 1, 2))))
    episode = play(Told(plan, Answer()), scripted_pool(slow))
    assert slow.most == 3
    assert slow.asked[-1].shown == ("m0", "m0", "m0")
    assert [s.node for s in episode.steps] == [None, 0, 1, 2, 3]


def test_a_call_starts_as_soon_as_those_it_comes_after_have_ended() -> None:
    ended: list[str] = []
    third = asyncio.Event()

    class Takes(Scripted):
        async def complete(self, ask: Any) -> Any:
            if ask.model == "m1":  # until the third has ended, which does not come after it
                await asyncio.wait_for(third.wait(), 60)
            ended.append(ask.model)
            if ask.model == "m2":
                third.set()
            return await super().complete(ask)

    pool = scripted_pool(Takes(), Takes(), Takes())
    play(Told(Plan((Call("m0"), Call("m1"), Call("m2", context="transcript", after=(0,)))), Answer()), pool)
    assert ended == ["m0", "m2", "m1"]


def test_a_call_that_waits_for_money_is_woken_whatever_becomes_of_who_held_it() -> None:
    """The text that was written for call 0 holds what call 1 needs; it overruns, so call 0 is never made."""
    writer = Scripted(0.05, Completion("m0", Usage(10, 10**9)))
    pool = scripted_pool(Scripted(), Scripted(), writer)

    def write(state: State) -> Wish:
        return Generate("m2", "which?", max_tokens=100)

    room = (most_tokens_in(({"role": "user", "content": QUERY.text},), {}) + 100 * 2) * 1.2 / 1e6
    policy = Told(Plan((Call(None), Call("m1"))), write, Answer(), parse=lambda reply, state: Decision(Call("m0")))
    episode = asyncio.run(asyncio.wait_for(run(policy, pool, QUERY, 0.01, room), 60))
    assert episode.stopped == "overrun"
    assert "does not fit the budget" in str(episode.steps[-1].reply and episode.steps[-1].reply.error)
    assert episode.cost_usd <= room


def test_a_text_that_was_written_gives_its_money_back_to_the_calls_beside_it() -> None:
    """Call 1 waits for what the text of call 0 held, and not for call 0 itself, which waits for call 1 here."""
    first = asyncio.Event()

    class Waits(Scripted):
        async def complete(self, ask: Any) -> Any:
            await asyncio.wait_for(first.wait(), 60)
            return await super().complete(ask)

    class Sets(Scripted):
        async def complete(self, ask: Any) -> Any:
            first.set()
            return await super().complete(ask)

    pool = scripted_pool(Waits(), Sets(), Scripted(0.05, "m0"))
    one = most_tokens_in(({"role": "user", "content": QUERY.text},), {}) + 100 * 2

    def write(state: State) -> Wish:
        return Generate("m2", "which?", max_tokens=100)

    plan = Plan((Call(None, max_tokens=5), Call("m1")))
    policy = Told(plan, write, Answer(), parse=lambda reply, state: Decision(Call("m0")))
    episode = asyncio.run(asyncio.wait_for(run(policy, pool, QUERY, 0.01, one * 1.4 / 1e6), 120))
    assert [s.reply.error for s in episode.steps if s.reply] == [None, None, None]


def test_the_policy_chooses_models_of_a_plan_when_its_calls_are_ready() -> None:
    seen: list[tuple[int | None, int]] = []

    def allocate(state: State) -> Wish:
        seen.append((state.focus, len(state.steps)))
        return Decision(Call(f"m{state.focus}"), reason="allocated")

    plan = Plan((Call(None, prompt="first part"), Call(None, prompt="second part", context="transcript", after=(0,))))
    providers = Scripted("one"), Scripted("two")
    episode = play(Told(plan, allocate, allocate, Answer()), scripted_pool(*providers))
    assert seen == [(0, 1), (1, 2)]
    assert providers[0].asked[0].messages[0]["content"] == "first part"
    assert "one" in providers[1].asked[0].messages[-1]["content"]
    assert episode.answer == "two"


def test_after_a_failure_nothing_more_of_a_plan_is_begun_and_the_policy_plans_again() -> None:
    providers = Scripted(NEVER), Scripted("two"), Scripted("three")
    plan = Plan((Call("m0"), Call("m1", context="transcript", after=(0,))))
    episode = play(Told(plan, Plan((Call("m2"),)), Answer()), scripted_pool(*providers))
    assert not providers[1].asked
    assert episode.answer == "three"
    assert episode.steps[1].reply is not None
    assert episode.steps[1].reply.error == "400"


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(()), "no calls"),
        (Plan((Call("m0", after=(0,)),)), "wait for one another"),
        (Plan((Call("m0", after=(1,)), Call("m0", after=(0,)))), "wait for one another"),
        (Plan((Call("m0", after=(7,)),)), "comes after call 7"),
    ],
)
def test_an_impossible_plan_is_refused(plan: Plan, says: str) -> None:
    with pytest.raises(EpisodeError, match=says):
        play(Told(plan), scripted_pool(Scripted()))


def test_what_is_no_decision_is_refused() -> None:
    """Not asked for again for ever, as where the budget ran out while something was written."""

    class Dumb(Told):
        def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
            return [None]  # type: ignore[list-item]

    with pytest.raises(EpisodeError, match="told gave a NoneType"):
        play(Dumb(), scripted_pool(Scripted()))


def test_calls_of_a_plan_wait_for_the_budget_that_others_hold() -> None:
    # Each may cost some 300 micro-dollars and does cost 20: two at once do not fit, one after the other they do.
    providers = [Scripted() for _ in range(3)]
    pool = scripted_pool(*providers)
    episode = play(Told(Plan((Call("m0"), Call("m1"), Call("m2"))), Answer()), pool, 0.0004)
    assert [s.reply.error for s in episode.steps if s.reply] == [None, None, None]
    assert episode.cost_usd <= 0.0004


# ---- policies that write ----


def test_what_a_policy_has_written_is_a_priced_step() -> None:
    router, expert = Scripted("ask m1"), Scripted("four")
    policy = Told(
        Generate("m0", "Whom to ask?", ("\n",), 7), Answer(), parse=lambda reply, state: Decision(Call(reply.text[4:]))
    )
    episode = play(policy, scripted_pool(router, expert))
    assert router.asked[0].max_tokens == 7
    assert router.asked[0].stop == ("\n",)
    assert episode.answer == "four"
    assert episode.cost_usd == pytest.approx(40e-6)
    assert isinstance(episode.steps[0].decision, Generate)
    assert episode.chosen == 1  # what the policy wrote is never the answer


def test_a_policy_may_write_several_times_and_answer_itself() -> None:
    rounds: list[int] = []

    def parse(reply: Reply, state: State) -> Wish:
        rounds.append(len(state.steps))
        return Generate("m0", "again") if len(rounds) < 3 else Decision(Answer("text", "by myself"))

    episode = play(Told(Generate("m0", "once"), parse=parse), scripted_pool(Scripted()))
    assert rounds == [1, 2, 3]
    assert (episode.answer, episode.chosen, episode.stopped) == ("by myself", None, "answer")
    assert episode.cost_usd == pytest.approx(60e-6)


def test_a_policy_that_writes_without_end_is_stopped() -> None:
    policy = Told(Generate("m0", "once"), parse=lambda reply, state: Generate("m0", "again"))
    assert play(policy, scripted_pool(Scripted()), max_steps=5).stopped == "steps"


# ---- ends ----


def test_nothing_fits_names_the_cheapest_that_would() -> None:
    with pytest.raises(BudgetExceeded, match=r"The cheapest that could, m0, may cost 0\.0002\d+ USD"):
        play(Told(), scripted_pool(Scripted()), 1e-6)


def test_an_overrun_ends_the_episode_with_what_there_is() -> None:
    liar = Scripted(Completion("four", Usage(10, 10**9)))
    episode = play(Told(Call("m0")), scripted_pool(liar), 0.01)
    assert (episode.stopped, episode.answer) == ("overrun", "four")
    assert episode.cost_usd <= 0.01 < episode.overrun_usd


def test_too_many_steps_end_with_the_last_reply() -> None:
    episode = play(Told(*[Call("m0")] * 9), scripted_pool(Scripted()), max_steps=3)
    assert (episode.stopped, len(episode.steps), episode.answer) == ("steps", 3, "answer of m0")


def test_a_pool_that_only_fails_ends_as_failed() -> None:
    episode = play(build_policy("single"), scripted_pool(Scripted(NEVER), Scripted(NEVER)))
    assert (episode.stopped, episode.answer, len(episode.steps)) == ("failed", "", 2)


@pytest.mark.parametrize(
    ("wish", "says"),
    [(Answer(), "before anything was asked"), (Call(None), "has no model"), (Call("m7"), "No model of this pool")],
)
def test_what_the_process_does_not_allow_is_an_error(wish: Any, says: str) -> None:
    with pytest.raises(Exception, match=says):
        play(Told(wish), scripted_pool(Scripted()))


def test_cancelling_stops_the_calls_in_flight_and_keeps_the_record() -> None:
    slow = Scripted(30, 30, "late")
    pool = scripted_pool(Scripted("one"), slow, slow)
    kept: list[Any] = []

    async def go() -> None:
        policy = Told(Call("m0"), Plan((Call("m1"), Call("m2"))))
        task = asyncio.ensure_future(run(policy, pool, QUERY, 0.01, sink=lambda *event: kept.append(event)))
        await asyncio.sleep(0.05)
        assert slow.inside == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert slow.inside == 0

    asyncio.run(go())
    episode = kept[-1][2]
    assert episode.stopped == "cancelled"
    assert episode.answer == "one"
    assert len(episode.steps) == 4
    assert [s.reply.error for s in episode.steps if s.reply] == [None, "cancelled", "cancelled"]
    assert episode.cost_usd > 20e-6  # the calls that were stopped are charged too


# ---- masks ----


def test_models_that_lack_what_the_request_needs_are_masked() -> None:
    pool = scripted_pool(Scripted(), Scripted())
    able = replace(pool.members["m1"], card=replace(pool.members["m1"].card, capabilities=("tools", "images", "json")))
    pool = Pool({**pool.members, "m1": able})
    image = ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]},)
    for query in (
        Query("q", options={"tools": [{"type": "function"}]}),
        Query("q", options={"response_format": {"type": "json_object"}}),
        Query("q", messages=image),
    ):
        episode = asyncio.run(run(build_policy("single"), pool, query, 0.01))
        reply = episode.steps[-1].reply
        assert reply is not None
        assert reply.model == "m1"


def test_options_go_to_the_model_untouched() -> None:
    provider = Scripted()
    query = Query("q", options={"temperature": 0.3, "seed": 7, "logit_bias": {"5": 1}})
    asyncio.run(run(build_policy("single"), scripted_pool(provider), query, 0.01))
    assert provider.asked[0].options == query.options


# ---- many ----


def test_many_episodes_run_with_bounded_concurrency_and_one_that_raises_stops_no_other() -> None:
    provider = Scripted(*[0.005, "x"] * 12)
    pool = scripted_pool(provider, concurrency=100)

    async def go() -> dict[int, Any]:
        queries = (Query(f"q{i}", options={"tools": [1]} if i == 3 else {}) for i in range(12))
        return {i: e async for i, e in run_many(build_policy("single"), pool, queries, 0.01, concurrency=4)}

    ended = asyncio.run(go())
    assert sorted(ended) == list(range(12))
    assert isinstance(ended[3], PoolError)
    assert all(isinstance(e, Episode) for i, e in ended.items() if i != 3)
    assert provider.most == 4


def test_an_episode_that_is_cancelled_from_inside_stops_no_other() -> None:
    provider = Scripted("one", asyncio.CancelledError(), "three")
    pool = scripted_pool(provider)

    async def go() -> dict[int, Any]:
        queries = (Query(f"q{i}") for i in range(3))
        return {i: e async for i, e in run_many(build_policy("single"), pool, queries, 0.01, concurrency=1)}

    ended = asyncio.run(go())
    assert isinstance(ended[1], asyncio.CancelledError)
    assert [ended[i].answer for i in (0, 2)] == ["one", "three"]


def test_leaving_many_early_stops_what_is_in_flight() -> None:
    provider = Scripted("first", *[30, "x"] * 5)
    pool = scripted_pool(provider)

    async def go() -> None:
        many = run_many(build_policy("single"), pool, (Query(f"q{i}") for i in range(9)), 0.01, concurrency=3)
        async for _ in many:
            break
        await many.aclose()
        assert provider.inside == 0

    asyncio.run(go())


def test_a_text_that_was_being_written_is_in_the_record_of_a_cancelled_episode() -> None:
    kept: list[Any] = []

    async def go() -> None:
        pool = scripted_pool(Scripted(30, "late"))
        policy = Told(Generate("m0", "plan this"))
        task = asyncio.ensure_future(run(policy, pool, QUERY, 0.01, sink=lambda *event: kept.append(event)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    episode = kept[-1][2]
    assert isinstance(episode.steps[0].decision, Generate)
    assert episode.cost_usd > 0


def test_a_trace_file_takes_one_episode_after_another_whatever_became_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"

    def broken(state: State) -> Wish:
        raise EpisodeError("the policy is at its wits' end")

    async def go() -> None:
        pool = scripted_pool(Scripted("one", "two"))
        with TraceFile(path) as sink:
            with pytest.raises(EpisodeError, match="wits"):
                await run(Told(Call("m0"), broken), pool, QUERY, 0.01, sink=sink)
            await run(Told(Call("m0"), Answer()), pool, QUERY, 0.01, sink=sink)

    asyncio.run(go())
    lines = path.read_bytes().splitlines()
    second = max(i for i, line in enumerate(lines) if b'"begin"' in line)
    assert second == 2
    first = replay(lines[:second])
    assert (first.stopped, first.answer, len(first.steps)) == ("interrupted", "one", 1)
    assert replay(lines[second:]).answer == "two"
    with pytest.raises(EpisodeError, match="Line 3"):
        replay(lines)


def test_half_a_surrogate_pair_is_traced_and_replayed(tmp_path: Path) -> None:
    """A command line that is no UTF-8 gives such a text, and JSON of a client can."""
    query = Query("half a pair: \udcff", options={"user": "\ud800"})
    path = tmp_path / "trace.jsonl"

    async def go() -> Episode:
        with TraceFile(path) as sink:
            return await run(Told(Call("m0"), Answer()), scripted_pool(Scripted("four")), query, 0.01, sink=sink)

    episode = asyncio.run(go())
    assert replay(path.read_bytes().splitlines()) == episode
    assert episode.query == query
    with pytest.raises(EpisodeError, match="Line 1 of the trace can not be read"):
        replay([b'{"event": "begin", "query": "\\ud800'])
