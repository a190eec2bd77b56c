"""Budgets and rates that gateways share through a real Redis: never passed, whoever dies and whatever Redis forgets."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from routewright.errors import ConfigError, StoreError
from routewright.gateway.faults import Fault
from routewright.gateway.leases import Lease
from routewright.gateway.limits import Quota
from routewright.gateway.settings import KeyEntry, SharedEntry, check_settings
from routewright.gateway.shared import Shared
from routewright.pools.budget import PICO, SharedLedger, pico
from routewright.stores.base import Store, build_store
from tests.extras import needs
from tests.servers import Server, free_port, redis
from tests.stores.records import record

needs("redis", "redis")

DAY = "2026-01-02"
USD = 1.0
WORST, COST = pico(0.01), 0.002


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis() as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: Server) -> None:
    server.stop()
    server.start()


class Gateway:
    """A gateway's shared part, and requests that cost `COST` and may cost `WORST`."""

    def __init__(self, url: str, store: Store, **options: Any) -> None:
        self.shared = Shared(SharedEntry.model_validate({"url": url, "settle_s": 0.3, **options}))
        self.store = store
        self.usd = USD

    async def open(self) -> Gateway:
        await self.shared.open(self.store, lambda: None)
        return self

    @property
    def lease(self) -> Lease:
        return self.shared.leases.of("team", DAY, 0.0, 4e9, self.usd)

    async def request(self, pause_s: float = 0.0, worst: int = WORST, usd: float = COST) -> bool:
        ledger = SharedLedger(float("inf"), [self.lease])
        hold = ledger.reserve_pico(worst)
        while hold is None and await ledger.refill(worst):
            hold = ledger.reserve_pico(worst)
        if hold is None:
            return False
        try:
            await asyncio.sleep(pause_s)
        finally:
            hold.settle(usd)
            ledger.ended()
            self.store.record(record(key="team", cost_usd=ledger.spent_usd, at=time.time()))
        return True

    def kill(self) -> None:
        """As `kill -9` would: nothing is given back."""
        assert self.shared._task is not None
        self.shared._task.cancel()
        self.shared._task = None


Play = Callable[..., Awaitable[Any]]


def played(server: Server, n: int, play: Play, **options: Any) -> Any:
    async def go() -> Any:
        async with gateways(server, n, **options) as made:
            return await play(*made)

    return asyncio.run(go())


@asynccontextmanager
async def gateways(server: Server, n: int, **options: Any) -> Any:
    store = build_store("memory", {"records": 1_000_000})
    made = [Gateway(server.url, store, **options) for _ in range(n)]
    try:
        for gateway in made:
            await gateway.open()
        yield made
    finally:
        for gateway in made:
            await gateway.shared.aclose()


async def until(true: Callable[[], Any], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.01)


def granted(server: Server) -> int:
    import redis as client

    with client.Redis.from_url(server.url) as link:
        return int(link.hget("{routewright}:" + f"budget:{DAY}:team", "granted") or 0)  # type: ignore[arg-type]


def held(*made: Gateway) -> int:
    return sum(g.lease.spent + g.lease.reserved for g in made)


def test_many_at_once_never_pass_the_budget_and_use_nearly_all_of_it(server: Server) -> None:
    async def play(*made: Gateway) -> list[bool]:
        async def client(gateway: Gateway) -> list[bool]:
            done = []
            for _ in range(30):
                done.append(await gateway.request(0.001))
                assert held(*made) <= pico(USD)
            return done

        return [x for one in await asyncio.gather(*(client(made[i % 3]) for i in range(36))) for x in one]

    async def and_then(*made: Gateway) -> None:
        done = await play(*made)
        spent = held(*made)
        assert spent == sum(done) * pico(COST) <= pico(USD)
        assert not all(done)
        assert spent > pico(USD) - WORST - 2 * pico(COST), "what is left does not hold one more worst case"
        assert granted(server) <= pico(USD)

    played(server, 3, and_then)


def test_requests_do_not_wait_for_redis(server: Server) -> None:
    async def play(gateway: Gateway) -> tuple[int, int]:
        steps = 0
        call = gateway.shared.call

        async def counted(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            return await call(*arguments)

        gateway.shared.call = counted  # type: ignore[method-assign]
        gateway.usd = 100.0
        waited = 0
        for _ in range(2000):
            waited += not gateway.lease.covers(WORST)
            assert await gateway.request()
        return waited, steps

    waited, steps = played(server, 1, play)
    assert waited <= 2, "the first, and one more at most"
    assert steps < 60


def test_what_one_has_left_another_may_use(server: Server) -> None:
    async def play(one: Gateway, two: Gateway) -> None:
        assert await one.request(usd=0.0, worst=pico(0.9))
        assert one.lease.free > pico(0.4)
        began = time.monotonic()
        assert await two.request(worst=pico(0.7), usd=0.7)
        assert time.monotonic() - began < 2.0
        assert not await two.request(worst=pico(0.7))
        assert held(one, two) == pico(0.7)

    played(server, 2, play)


def test_a_lease_is_given_back_at_the_end(server: Server) -> None:
    async def play(one: Gateway, two: Gateway) -> None:
        assert await one.request(usd=0.001, worst=pico(0.5))
        await one.shared.aclose()
        assert granted(server) == one.lease.spent == pico(0.001)
        assert await two.request(usd=0.999, worst=pico(0.999))

    played(server, 2, play)


def test_what_a_killed_gateway_held_stays_taken(server: Server) -> None:
    async def play(one: Gateway, two: Gateway) -> None:
        assert await one.request(usd=0.1, worst=pico(0.3))
        one.kill()
        drawn = one.lease.cap
        while await two.request():
            pass
        assert two.lease.spent <= pico(USD) - drawn
        assert two.lease.spent > pico(USD) - drawn - WORST

    played(server, 2, play)


def test_while_redis_is_away_leases_are_spent_and_then_refuse(server: Server) -> None:
    async def play(one: Gateway, two: Gateway) -> None:
        for gateway in (one, two):
            assert await gateway.request(worst=pico(0.1))
        await asyncio.sleep(0.3)
        server.stop()
        await until(lambda: one.shared.away and two.shared.away)
        drawn = one.lease.cap
        done = 0
        while await one.request():
            done += 1
        assert done >= 1, "within the lease"
        assert one.lease.spent <= drawn
        quota = Quota(KeyEntry(name="team", env="X", usd_per_day=1), one.shared)
        assert (quota.exhausted().status, quota.exhausted().code) == (503, "budget_unknown")
        server.start()
        await until(lambda: not one.shared.away)
        while await one.request() or await two.request():
            assert held(one, two) <= pico(USD)
        assert pico(USD) - 2 * WORST < held(one, two) <= pico(USD)

    played(server, 2, play)


@pytest.mark.parametrize("how", ["restarted", "emptied", "kept on disk"])
def test_redis_may_forget_everything_or_the_last_second(how: str, server: Server) -> None:
    if how == "kept on disk":
        with redis("--appendonly", "yes") as keeping:
            forgetting(how, keeping)
    else:
        forgetting(how, server)


def forgetting(how: str, server: Server) -> None:
    """Redis goes and comes during traffic, three times."""

    async def play(*made: Gateway) -> None:
        stop, refused = False, 0

        async def client(gateway: Gateway, seed: int) -> None:
            nonlocal refused
            chance = random.Random(seed)
            while not stop:
                done = await gateway.request(chance.uniform(0, 0.01))
                refused += not done and gateway.shared.leases.known("team")  # there is no more, rather than no Redis
                assert held(*made) <= pico(USD)
                await asyncio.sleep(0.002)

        clients = [asyncio.ensure_future(client(g, i)) for i, g in enumerate(made * 2)]
        for _ in range(3):
            await until(lambda more=held(*made) + pico(0.05): held(*made) > more)
            if how != "emptied":
                server.stop()
                server.start()
            else:
                import redis as client_

                with client_.Redis.from_url(server.url) as link:
                    link.flushall()
        already = refused
        await until(lambda: refused > already + 12)
        stop = True
        await asyncio.gather(*clients)
        assert held(*made) > 0.8 * pico(USD), "what was spent in a roll call may count twice, no more"
        assert await made[0].store.spent_usd("team", 0.0) == pytest.approx(held(*made) / PICO, abs=1e-11)
        assert held(*made) <= pico(USD)
        assert granted(server) <= pico(USD)

    played(server, 3, play)


def test_what_the_store_has_lost_counts_as_held(server: Server) -> None:
    async def play(gateway: Gateway) -> None:
        assert await gateway.request(worst=pico(0.6), usd=0.6)
        gateway.store._records.clear()  # type: ignore[attr-defined]
        gateway.store.lose([record(cost_usd=0.6)])
        server.stop()
        server.start()
        await until(lambda epoch=gateway.shared.epoch: gateway.shared.epoch != epoch)
        assert not await gateway.request(worst=pico(0.5))
        assert await gateway.request(worst=pico(0.3))

    played(server, 1, play)


def test_who_misses_the_roll_call_costs_and_never_gains(server: Server) -> None:
    async def play(one: Gateway, two: Gateway) -> None:
        for gateway in (one, two):
            assert await gateway.request(worst=pico(0.2), usd=0.1)
        two.kill()  # hangs, rather: it comes back below
        server.stop()
        server.start()
        while await one.request():
            pass
        two.shared._task = asyncio.ensure_future(two.shared._keep())
        await until(lambda: two.shared.epoch == one.shared.epoch and not two.shared.away)
        assert two.lease.free == 0, "what nobody knew of is given up"
        while await one.request() or await two.request():
            pass
        assert held(one, two) <= pico(USD)

    played(server, 2, play)


def test_amounts_are_exact_beyond_what_a_double_holds(server: Server) -> None:
    async def play(gateway: Gateway) -> None:
        gateway.usd = 1_000_000.0
        odd = 123_456_789_012_345_677  # 123,456.79 USD, not a multiple of 16 pico-dollars
        hold = None
        while hold is None and await gateway.lease.refill(odd):
            hold = gateway.lease.reserve_pico(odd)
        assert hold is not None
        await gateway.shared.leases.turn(True)
        assert granted(server) == gateway.lease.cap
        assert gateway.lease.room == 10**6 * PICO - gateway.lease.cap

    played(server, 1, play)


def test_spending_before_is_taken_from_the_store(server: Server) -> None:
    async def play(gateway: Gateway) -> None:
        gateway.store.record(record(key="team", cost_usd=0.75, at=10.0))
        assert not await gateway.request(worst=pico(0.3))
        assert await gateway.request(worst=pico(0.25), usd=0.25)
        assert not await gateway.request(worst=1)

    played(server, 1, play)


def test_a_lower_budget_holds_at_once(server: Server) -> None:
    async def play(gateway: Gateway) -> None:
        assert await gateway.request(worst=pico(0.5), usd=0.5)
        gateway.usd = 0.4
        gateway.lease.room = 0
        assert not await gateway.request(worst=pico(0.3))

    played(server, 1, play, ahead=0.0)


def test_requests_a_minute_are_shared(server: Server) -> None:
    async def play(one: Gateway, two: Gateway) -> None:
        entry = KeyEntry(name="slow", env="X", requests_per_minute=10)
        quotas = [Quota(entry, g.shared) for g in (one, two)]

        async def ask(quota: Quota) -> None:
            if (later := quota.admit()) is not None:
                await later

        done = await asyncio.gather(*(ask(quotas[i % 2]) for i in range(40)), return_exceptions=True)
        assert done.count(None) == 10
        refused = [fault for fault in done if isinstance(fault, Fault)]
        assert {(fault.status, fault.code) for fault in refused} == {(429, "requests_per_minute")}
        assert all(0 < (fault.retry_after_s or 0) <= 6 for fault in refused)

    played(server, 2, play)


def test_tokens_a_minute_are_shared(server: Server) -> None:
    async def play(one: Gateway, two: Gateway) -> None:
        entry = KeyEntry(name="wordy", env="X", tokens_per_minute=100)
        quotas = [Quota(entry, g.shared) for g in (one, two)]
        for quota in quotas:
            later = quota.admit()
            assert later is not None
            await later
        quotas[0].used(150)
        await asyncio.sleep(0.3)
        await until(lambda: not quotas[0]._rate._untold)  # type: ignore[union-attr]
        quotas[1]._rate._fetched_at = 0.0  # type: ignore[union-attr]
        with pytest.raises(Fault) as caught:
            await quotas[1].admit()  # type: ignore[misc]
        assert caught.value.code == "tokens_per_minute"

    played(server, 2, play)


def test_rates_while_redis_is_away(server: Server) -> None:
    async def play(one: Gateway, two: Gateway) -> None:
        await until(lambda: one.shared.alive == 2)
        quota = Quota(KeyEntry(name="slow", env="X", requests_per_minute=10), one.shared)
        server.stop()
        await until(lambda: one.shared.away)
        for _ in range(5):  # its own part
            assert quota.admit() is None
        with pytest.raises(Fault):
            quota.admit()
        server.start()

    played(server, 2, play)


def test_redis_may_be_away_at_the_start(server: Server) -> None:
    server.stop()

    async def play(gateway: Gateway) -> None:
        assert gateway.shared.away
        assert not await gateway.request()
        server.start()
        await until(lambda: not gateway.shared.away)
        assert await gateway.request()

    played(server, 1, play)


def test_what_redis_refuses_refuses_the_start() -> None:
    async def go(url: str) -> None:
        await Gateway(url, build_store("memory")).open()

    with redis("--requirepass", "sesame-0123") as locked, pytest.raises(StoreError, match="refuses us"):
        asyncio.run(go(locked.url))


@pytest.mark.parametrize(
    ("shared", "said"),
    [
        ({}, "either url or url_env"),
        ({"url": "redis://:secret-word@b/0"}, "belongs into an environment variable"),
        ({"url": "http://b"}, "expected redis://"),
        ({"url": "redis://b"}, "needs a store that gateways share, got 'memory'"),
    ],
)
def test_settings_that_can_not_be(shared: dict[str, Any], said: str) -> None:
    keys = [{"name": "a", "env": "A", "usd_per_day": 1}]
    with pytest.raises(ConfigError, match=said):
        check_settings({"shared": shared, "keys": keys}, "here")


def test_the_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, said in (("", "is not set"), ("http://a:secret-word@b", "is no URL of Redis")):
        monkeypatch.setenv("RW_TEST_URL", value)
        with pytest.raises(ConfigError, match=said) as caught:
            Shared(SharedEntry(url_env="RW_TEST_URL"))
        assert "secret-word" not in str(caught.value)
    monkeypatch.setenv("RW_TEST_URL", f"redis://:x@127.0.0.1:{free_port()}/0")
    assert Shared(SharedEntry(url_env="RW_TEST_URL")).away
