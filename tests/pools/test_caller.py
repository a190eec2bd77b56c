"""One call: attempts, waits, fallbacks, hedges, the breaker, the gate, the cache, the bill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from routewright.errors import BudgetExceeded, PoolError, ProviderError, UnknownName, UnrecordedBranch
from routewright.pools import limits
from routewright.pools.bounds import most_tokens_in
from routewright.pools.budget import Ledger
from routewright.pools.cache import ResponseCache
from routewright.pools.caller import Request
from routewright.pools.limits import Gate
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Completion, Delta
from routewright.types import Query, Reply, Usage
from tests.pools.doubles import Scripted, scripted_pool

QUERY = Query("What is 2 + 2?")
MESSAGES = ({"role": "user", "content": QUERY.text},)
SOON = ProviderError("503", "server", retryable=True)
NEVER = ProviderError("400", "refused", reached=False)


def request(**more: Any) -> Request:
    return Request("m0", MESSAGES, QUERY, **more)


def call(pool: Pool, ledger: Ledger | None = None, **more: Any) -> Reply:
    return asyncio.run(pool.call(request(**more), ledger or Ledger()))


def test_a_good_reply_is_priced_by_its_usage() -> None:
    ledger = Ledger(1.0)
    reply = call(scripted_pool(Scripted("four")), ledger)
    assert (reply.text, reply.model, reply.error) == ("four", "m0", None)
    assert reply.cost_usd == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)
    assert ledger.spent_usd == reply.cost_usd
    assert ledger.reserved == 0


def test_only_what_may_pass_is_tried_again() -> None:
    assert len(call(scripted_pool(Scripted(SOON, "four"))).attempts) == 2
    failed = call(scripted_pool(Scripted(NEVER, "four")))
    assert failed.error == "400"
    assert len(failed.attempts) == 1
    exhausted = call(scripted_pool(Scripted(SOON, SOON, SOON, "four")))
    assert exhausted.error == "503"
    assert len(exhausted.attempts) == 3  # one and two retries


def test_a_failed_attempt_is_charged_where_the_upstream_may_have_worked() -> None:
    reached = call(scripted_pool(Scripted(SOON, "four")))
    assert reached.attempts[0].cost_usd > 0
    assert reached.cost_usd == pytest.approx(sum(a.cost_usd for a in reached.attempts))
    assert call(scripted_pool(Scripted(NEVER))).cost_usd == 0
    partial = ProviderError("cut", "cut", partial=Completion("a " * 50), retryable=False)
    assert call(scripted_pool(Scripted(partial))).cost_usd > reached.attempts[0].cost_usd


def test_the_next_model_is_asked_and_named() -> None:
    reply = call(scripted_pool(Scripted(NEVER), Scripted("four"), fallback=True))
    assert reply.model == "m1"
    assert [(a.model, a.endpoint, a.error) for a in reply.attempts] == [("m0", "e0", "400"), ("m1", "e1", None)]


def test_a_wait_that_is_too_long_goes_to_the_fallback() -> None:
    later = ProviderError("429", "rate_limit", retryable=True, retry_after_s=60, reached=False)
    began = time.perf_counter()
    reply = call(scripted_pool(Scripted(later, "late"), Scripted("four"), fallback=True))
    assert reply.text == "four"
    assert time.perf_counter() - began < 30


def test_a_hang_ends_at_the_deadline() -> None:
    reply = call(scripted_pool(Scripted(30, "late"), deadline_s=0.05, retries=0))
    assert "within 0.05 s" in (reply.error or "")
    assert reply.cost_usd > 0


def test_the_breaker_leaves_an_ill_endpoint_alone_and_tries_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now[0]))
    ill = Scripted(SOON, SOON, "four", "five")
    pool = scripted_pool(ill, breaker_failures=2, breaker_cooldown_s=10.0, retries=0)

    async def go() -> list[str | None]:
        errors = [(await pool.call(request(), Ledger())).error for _ in range(3)]
        now[0] += 9.9
        errors.append((await pool.call(request(), Ledger())).error)
        now[0] += 0.2
        return [*errors, *[(await pool.call(request(), Ledger())).error for _ in range(2)]]

    errors = asyncio.run(go())
    assert errors[:2] == ["503", "503"]
    assert all("left alone" in str(e) for e in errors[2:4])
    assert errors[4:] == [None, None]
    assert len(ill.asked) == 4


def test_refusals_do_not_open_the_breaker() -> None:
    pool = scripted_pool(Scripted(*[NEVER] * 5, "four"), breaker_failures=2, retries=0)
    assert [call(pool).error for _ in range(6)][-1] is None


def test_at_most_so_many_calls_at_once() -> None:
    slow = Scripted(*[0.01, "x"] * 20)
    pool = scripted_pool(slow, concurrency=3)

    async def go() -> None:
        await asyncio.gather(*(pool.call(request(), Ledger()) for _ in range(20)))

    asyncio.run(go())
    assert slow.most == 3
    assert len(slow.asked) == 20


def test_a_rate_limit_makes_calls_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "WINDOW_S", 0.1)
    pool = scripted_pool(Scripted(), requests_per_minute=2)

    async def go() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(pool.call(request(), Ledger()) for _ in range(5)))
        return time.perf_counter() - began

    assert asyncio.run(go()) >= 0.2  # 2 + 2 + 1


def test_a_token_limit_lets_one_large_call_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "WINDOW_S", 0.1)
    pool = scripted_pool(Scripted(), tokens_per_minute=1)

    async def go() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(pool.call(request(), Ledger()) for _ in range(3)))
        return time.perf_counter() - began

    assert 0.2 <= asyncio.run(go()) < 20


def test_a_hedge_takes_the_faster_of_two_calls_and_pays_for_both() -> None:
    slow = Scripted()
    pool = scripted_pool(slow, hedge_s=0.02)

    async def go() -> Reply:
        calls = iter([60.0, 0.0])
        real = slow.complete

        async def complete(ask: Any) -> Completion:
            await asyncio.sleep(next(calls))
            return await real(ask)

        slow.complete = complete  # type: ignore[method-assign]
        return await pool.call(request(), Ledger(1.0))

    began = time.perf_counter()
    reply = asyncio.run(go())
    assert time.perf_counter() - began < 20
    assert reply.error is None
    assert len(reply.attempts) == 2
    assert "hedge" in str(reply.attempts[0].error)
    assert reply.cost_usd == pytest.approx(sum(a.cost_usd for a in reply.attempts))


def test_a_hedge_keeps_to_the_limit_of_calls_at_once() -> None:
    provider = Scripted(0.2, "four")
    reply = call(scripted_pool(provider, hedge_s=0.01, concurrency=1))
    assert (reply.text, provider.most, len(provider.asked)) == ("four", 1, 1)


@pytest.mark.parametrize("limit", [{"requests_per_minute": 1}, {"tokens_per_minute": 1}])
def test_a_hedge_keeps_to_the_rate_limit(limit: dict[str, int]) -> None:
    provider = Scripted(0.2, "four")
    reply = call(scripted_pool(provider, hedge_s=0.01, **limit))
    assert (reply.text, len(provider.asked)) == ("four", 1)


@pytest.mark.parametrize("limit", [{}, {"requests_per_minute": 10_000}])
def test_a_pool_serves_one_loop_after_another(limit: dict[str, int]) -> None:
    """Calls that wait for their turn belong to the loop they wait in."""
    pool = scripted_pool(Scripted(*[0.005, "x"] * 12), concurrency=1, **limit)

    async def go() -> list[str | None]:
        return [r.error for r in await asyncio.gather(*(pool.call(request(), Ledger()) for _ in range(4)))]

    assert [asyncio.run(go()) for _ in range(3)] == [[None] * 4] * 3
    assert len(pool.members["m0"].endpoint._gate._slots._by_loop) == 1  # loops that have ended are let go


# ---- the budget ----


def test_what_does_not_fit_is_never_asked() -> None:
    provider = Scripted("four")
    with pytest.raises(BudgetExceeded, match="m0 may cost"):
        call(scripted_pool(provider), Ledger(1e-6))
    assert not provider.asked


def test_a_retry_that_does_not_fit_is_not_made() -> None:
    most = (most_tokens_in(MESSAGES, {}) * 1.0 + 100 * 2.0) / 1e6
    provider = Scripted(SOON, "four")
    ledger = Ledger(most * 1.01)
    reply = call(scripted_pool(provider), ledger)
    assert "does not fit the budget" in (reply.error or "")
    assert len(provider.asked) == 1
    assert ledger.spent_usd == reply.cost_usd > 0


def test_a_reply_is_shortened_only_where_that_is_allowed() -> None:
    prompt = most_tokens_in(MESSAGES, {}) / 1e6
    room = prompt + 20 * 2 / 1e6
    provider = Scripted("four")
    reply = call(scripted_pool(provider), Ledger(room), least_tokens=10)
    assert reply.error is None
    assert provider.asked[0].max_tokens == 20
    with pytest.raises(BudgetExceeded):
        call(scripted_pool(Scripted("four")), Ledger(room))
    with pytest.raises(BudgetExceeded):
        call(scripted_pool(Scripted("four")), Ledger(room), least_tokens=21)


def test_a_bill_above_the_bound_is_charged_up_to_it_and_closes_the_ledger() -> None:
    ledger = Ledger(0.01)
    reply = call(scripted_pool(Scripted(Completion("four", Usage(10, 10**9)))), ledger)
    assert ledger.closed
    assert ledger.spent_usd <= 0.01
    assert reply.overrun_usd == pytest.approx(2000, rel=0.01)
    with pytest.raises(BudgetExceeded):
        call(scripted_pool(Scripted("four")), ledger)


def test_without_a_cap_every_bill_is_charged_in_full() -> None:
    reply = call(scripted_pool(Scripted(Completion("four", Usage(10, 10**9)))))
    assert reply.cost_usd == pytest.approx(2000, rel=0.01)
    assert "more than it was asked for" in reply.attempts[0].note


def test_a_large_bill_is_exact_to_the_last_pico_dollar() -> None:
    """In floating point the sum of this one, 100.000036 USD at 0.1 and 0.4, comes out a pico-dollar higher."""
    pool = scripted_pool(Scripted(Completion("four", Usage(10**9, 90, 7))))
    member = pool.members["m0"]
    pool = Pool({"m0": replace(member, card=replace(member.card, usd_per_mtok_in=0.1, usd_per_mtok_out=0.4))})
    ledger = Ledger()
    call(pool, ledger)
    assert ledger.spent == 100_000_036_000_000


def test_a_model_without_prices_is_told_and_nothing_stays_reserved() -> None:
    pool = scripted_pool(Scripted("four"))
    member = pool.members["m0"]
    pool = Pool({"m0": replace(member, card=replace(member.card, usd_per_mtok_in=None))})
    ledger = Ledger()
    with pytest.raises(PoolError, match=r"m0 has no prices.*Expected usd_per_mtok_in"):
        call(pool, ledger)
    assert ledger.reserved == 0


@pytest.mark.parametrize("usage", [None, Usage(0, 0), Usage(10, 0)])
def test_usage_that_is_missing_or_can_not_be_is_counted_and_marked(usage: Usage | None) -> None:
    reply = call(scripted_pool(Scripted(Completion("four words are here", usage))))
    assert reply.usage.estimated
    assert reply.usage.tokens_out == 4
    assert reply.cost_usd > 0
    assert "estimated" in reply.attempts[0].note


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'm0'"):
        asyncio.run(scripted_pool(Scripted()).call(replace(request(), model="m00"), Ledger()))


def test_an_unrecorded_branch_is_not_a_failure_to_be_retried() -> None:
    ledger = Ledger(1.0)
    provider = Scripted(UnrecordedBranch("never recorded"))
    with pytest.raises(UnrecordedBranch):
        call(scripted_pool(provider), ledger)
    assert ledger.spent == ledger.reserved == 0
    assert len(provider.asked) == 1


def test_a_cancelled_call_stops_and_is_charged() -> None:
    ledger = Ledger(1.0)
    provider = Scripted(30, "late")

    async def go() -> None:
        task = asyncio.ensure_future(scripted_pool(provider).call(request(), ledger))
        await asyncio.sleep(0.02)
        assert provider.inside == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert provider.inside == 0

    asyncio.run(go())
    assert ledger.reserved == 0
    assert ledger.spent > 0


# ---- streams ----


def test_a_stream_gives_its_pieces_and_then_the_whole() -> None:
    pieces: list[Delta | None] = []
    reply = asyncio.run(scripted_pool(Scripted("four")).call(request(), Ledger(), pieces.append))
    assert "".join(p.text for p in pieces if p is not None) == reply.text == "four"
    assert reply.first_token_s is not None


def test_the_first_token_is_of_the_reply_and_not_of_what_was_void() -> None:
    class Cut(Scripted):
        async def stream(self, ask: Any) -> AsyncIterator[Delta | Completion]:
            self.asked.append(ask)
            yield Delta("f")
            if len(self.asked) == 1:
                raise ProviderError("cut", "cut", retryable=True)
            await asyncio.sleep(0.05)
            yield Delta("our")
            yield Completion("four", Usage(10, 5))

    pool = scripted_pool(Cut(), backoff_s=0.2)
    pieces: list[Delta | None] = []
    reply = asyncio.run(pool.call(request(), Ledger(), pieces.append))
    assert pieces == [Delta("f"), None, Delta("f"), Delta("our")]
    assert reply.first_token_s is not None
    assert 0.1 <= reply.first_token_s < reply.latency_s  # after the wait for the second try


# ---- the cache ----


def test_a_reply_is_kept_and_costs_nothing_the_second_time(tmp_path: Path) -> None:
    provider = Scripted(Completion("four", Usage(10, 5), message={"tool_calls": [{"id": "1"}]}), "five")
    pool = replace(scripted_pool(provider), cache=ResponseCache(tmp_path / "c.sqlite"))

    async def go() -> tuple[Reply, Reply, Reply, Reply]:
        made = [await pool.call(request(), Ledger()) for _ in range(2)]
        other = await pool.call(request(options={"seed": 1}), Ledger())
        sampled = await pool.call(request(options={"temperature": 0.7}), Ledger())
        for _ in range(2):  # the upstream's own default, which may sample
            assert not (await pool.call(request(options={"temperature": None}), Ledger())).cached
        await pool.aclose()
        return made[0], made[1], other, sampled

    first, second, other, sampled = asyncio.run(go())
    assert (second.text, second.message, second.usage) == (first.text, first.message, first.usage)
    assert second.cached
    assert second.cost_usd == 0 < first.cost_usd
    assert not other.cached
    assert not sampled.cached
    assert len(provider.asked) == 5


def test_samples_are_kept_only_if_asked_for(tmp_path: Path) -> None:
    for sampled, asked in ((False, 2), (True, 1)):
        provider = Scripted()
        pool = replace(scripted_pool(provider), cache=ResponseCache(tmp_path / f"{sampled}.sqlite", sampled))

        async def go(pool: Pool = pool) -> None:
            for _ in range(2):
                await pool.call(request(sample=1), Ledger())
            await pool.aclose()

        asyncio.run(go())
        assert len(provider.asked) == asked


def test_a_damaged_cache_says_so(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"not a database at all, but long enough to look like one" * 20)
    pool = replace(scripted_pool(Scripted()), cache=ResponseCache(tmp_path / "c.sqlite"))
    with pytest.raises(Exception, match="can not be opened"):
        call(pool)


def test_a_reply_that_can_not_be_kept_is_a_reply_all_the_same(tmp_path: Path) -> None:
    """It has been paid for. The trace says that it was not kept."""
    cache = ResponseCache(tmp_path / "c.sqlite")
    pool = replace(scripted_pool(Scripted("four", "five")), cache=cache)

    async def go() -> tuple[Reply, Reply]:
        first = await pool.call(request(), Ledger())
        assert cache._db is not None
        cache._db.execute("drop table replies")
        second = await pool.call(request(), Ledger())
        await pool.aclose()
        return first, second

    first, second = asyncio.run(go())
    assert (first.text, first.attempts[0].note) == ("four", "")
    assert (second.text, second.error, second.cached) == ("five", None, False)
    assert second.cost_usd > 0
    assert "not kept" in second.attempts[0].note
    assert "no such table" in second.attempts[0].note


def test_a_damaged_entry_is_asked_for_again(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "c.sqlite")
    pool = replace(scripted_pool(Scripted("four", "five")), cache=cache)

    async def go() -> list[Reply]:
        replies = [await pool.call(request(), Ledger())]
        assert cache._db is not None
        cache._db.execute("update replies set reply = ?", (b'{"text": ',))
        replies += [await pool.call(request(), Ledger()) for _ in range(2)]
        await pool.aclose()
        return replies

    assert [(r.text, r.cached) for r in asyncio.run(go())] == [("four", False), ("five", False), ("five", True)]
