"""A collection's behaviour: every cell once, the cap, failures, fair shares, resuming. No network; scripted replies."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from routewright.collect.journal import Journal
from routewright.collect.plan import Plan, make_plan
from routewright.collect.queries import Asked
from routewright.collect.run import check, collect, prepare
from routewright.collect.settings import Settings
from routewright.errors import PoolError, ProviderError, RoutewrightError, TableError
from routewright.pools.budget import PICO
from routewright.pools.config import check_pool
from routewright.pools.providers.base import Ask, Completion
from routewright.types import Query, Usage

from .world import Scripted, go, install, kept, plan_of, pool_config

ONE_USD = 10 * 1.0 / 1e6 + 5 * 2.0 / 1e6  # what `Scripted` reports, at the prices of `pool_config`


def test_every_cell_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Scripted()
    install(monkeypatch, provider)
    plan = plan_of(7, "a", "b", samples=3)
    ended = go(plan, tmp_path / "j")
    assert (ended.progress.rows, ended.progress.total, ended.missing) == (42, 42, ())
    assert set(provider.cells.values()) == {1}
    assert len(provider.cells) == 42
    rows = kept(plan, tmp_path / "j")
    assert [row.cell for row in rows] == list(range(42))
    assert {(row.score, row.cost_usd, row.latency_s, row.failed) for row in rows} == {(1.0, ONE_USD, 0.25, False)}
    assert ended.progress.spent_usd == pytest.approx(42 * ONE_USD)


def test_a_second_run_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted())
    plan = plan_of(5)
    go(plan, tmp_path / "j")
    provider = Scripted()
    install(monkeypatch, provider)
    assert go(plan, tmp_path / "j").progress.rows == 10
    assert not provider.calls


async def cancelled(plan: Plan, path: Path, rows: int) -> None:
    """A run that is cancelled when the journal has so many rows."""
    reached = asyncio.Event()
    with Journal.open(path, plan.facts()) as journal:
        prepare(plan, journal)
        run = asyncio.ensure_future(collect(plan, journal, lambda now: reached.set() if now.rows == rows else None))
        await asyncio.wait_for(reached.wait(), 120)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


def test_cancelled_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled in mid-flight again and again: no row lost or doubled; calls in flight count as spent."""
    plan = plan_of(30, "a", "b")
    path = tmp_path / "j"
    before = 0
    for _ in range(3):
        install(monkeypatch, Scripted(lambda ask, nth: asyncio.sleep(0.002 if nth < 6 else 600)))
        asyncio.run(cancelled(plan, path, before + 10))
        with Journal.open(path, plan.facts()) as journal:
            rows, _ = journal.counts()
            assert rows == before + 10
            before = rows
            lost = journal.settle_lost()
            assert lost.calls > 0
            assert journal.spent_pico() == round((rows * ONE_USD + lost.usd) * PICO)
    install(monkeypatch, Scripted())
    assert go(plan, path).progress.rows == 60
    assert [row.cell for row in kept(plan, path)] == list(range(60))


# -- the cap


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(budget=st.floats(0.0, 0.1), workers=st.integers(1, 16), seed=st.integers(0, 10**6))
def test_the_cap_holds(
    budget: float, workers: int, seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is billed, over three runs of one journal; a bill above its bound is capped there and ends the run."""

    def bill(ask: Ask, nth: int) -> Completion | ProviderError:
        luck = hash((seed, ask.query.query_id, ask.model)) % 10
        if luck == 0:
            return ProviderError("broken", "server", retryable=True)
        return Completion("0", Usage(50, 900 if luck < 9 else 5000))

    path = tmp_path_factory.mktemp("cap") / "j"
    with monkeypatch.context() as patch:
        install(patch, Scripted(bill))
        config = pool_config("a", "b", providers={"here": {"retries": 2, "concurrency": workers}})
        for share in (0.3, 0.6, 1.0):
            plan = plan_of(25, config=config, budget_usd=budget * share)
            ended = go(plan, path)
            assert ended.progress.spent_usd <= budget * share + 1e-12
            with Journal.open(path, plan.facts()) as journal:
                assert journal.spent_pico() <= budget * share * PICO + 1
                assert bool(ended.missing) == (journal.counts()[0] < plan.cells)


def test_the_cap_counts_earlier_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted())
    path = tmp_path / "j"
    config = pool_config("a", providers={"here": {"concurrency": 1}})
    one = 2e-3 + 1e-3  # upper bound of a call, rounded up: 1,024 tokens out, some 100 in
    first = go(plan_of(200, config=config, budget_usd=one), path)
    assert 0 < first.progress.rows < 200
    assert "cap of 0.003 USD" in first.missing[0]
    again = go(plan_of(200, config=config, budget_usd=one), path)
    assert again.progress.rows == first.progress.rows
    assert go(plan_of(200, config=config, budget_usd=1.0), path).missing == ()


def test_an_overrun_ends_a_capped_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted(lambda ask, nth: Completion("0", Usage(10, 10**6))))
    ended = go(plan_of(50, "a", budget_usd=1.0, concurrency=1), tmp_path / "j")
    assert ended.progress.rows == 1
    assert "billed 2 USD more than its call could cost" in ended.missing[0]


# -- failures


def test_a_failed_call_is_a_row_with_its_bill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = ProviderError("too long for me", "too_long", partial=Completion("", Usage(100, 0)))
    install(monkeypatch, Scripted(lambda ask, nth: bad if ask.query.query_id == "q3" else None))
    plan = plan_of(6, "a")
    ended = go(plan, tmp_path / "j")
    assert (ended.progress.rows, ended.progress.failed, ended.missing) == (6, 1, ())
    row = kept(plan, tmp_path / "j")[3]
    assert (row.score, row.failed, row.response, row.cost_usd) == (0.0, True, None, 100 / 1e6)
    assert row.note == "failed: too long for me"
    assert [a["error"] for a in json.loads(row.attempts)] == ["too long for me"]


def test_failed_rows_are_asked_again_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    bad = ProviderError("refused", "refused", status=400, partial=Completion("", Usage(100, 0)))
    install(monkeypatch, Scripted(lambda ask, nth: bad if ask.model == "b" else None))
    go(plan_of(4), path)
    provider = Scripted()
    install(monkeypatch, provider)
    assert go(plan_of(4), path).progress.failed == 4
    assert not provider.calls
    ended = go(plan_of(4, retry_failed=True), path)
    assert (ended.progress.failed, ended.progress.rows, dict(provider.calls)) == (0, 8, {"b": 4})
    assert ended.progress.spent_usd == pytest.approx(8 * ONE_USD + 4 * 100 / 1e6)


def test_an_outage_is_no_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`b` is down: some 20 calls, not 500; no row says that it failed; `a` is asked everything; later it goes on."""
    provider = Scripted(lambda ask, nth: ProviderError("down", "connect", reached=False) if ask.model == "b" else None)
    install(monkeypatch, provider)
    plan = plan_of(500, patience_s=0.0)
    ended = go(plan, tmp_path / "j")
    assert ended.progress.rows == 500
    assert 20 <= provider.calls["b"] <= 20 + 16
    assert "b could not be reached" in ended.missing[0]
    assert {row.failed for row in kept(plan, tmp_path / "j")} == {False}
    install(monkeypatch, Scripted())
    assert go(plan, tmp_path / "j").progress.rows == 1000


def test_a_model_that_recovers_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routewright.collect.health.FIRST_PAUSE_S", 0.05)
    provider = Scripted(lambda ask, nth: ProviderError("down", "timeout") if nth <= 26 else None)
    install(monkeypatch, provider)
    config = pool_config("a", providers={"here": {"concurrency": 4}})
    plan = plan_of(100, config=config)
    ended = go(plan, tmp_path / "j")
    assert (ended.progress.rows, ended.progress.failed, ended.missing) == (100, 0, ())
    assert provider.calls["a"] == 126
    assert ended.progress.spent_usd > 100 * ONE_USD  # what the failed ones cost is not forgotten


def test_an_open_breaker_marks_nothing_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routewright.collect.health.FIRST_PAUSE_S", 0.01)
    provider = Scripted(lambda ask, nth: ProviderError("down", "server") if nth <= 7 else None)
    install(monkeypatch, provider)
    here = {"breaker_failures": 5, "breaker_cooldown_s": 0.2, "concurrency": 2}
    plan = plan_of(200, config=pool_config("a", providers={"here": here}))
    ended = go(plan, tmp_path / "j")
    assert (ended.progress.rows, ended.progress.failed, ended.missing) == (200, 0, ())
    assert provider.calls["a"] <= 200 + 7


def test_a_deadline_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time-out is the caller's, not the provider's; it counts as an attempt that was made."""
    install(monkeypatch, Scripted(lambda ask, nth: asyncio.sleep(60) if ask.query.query_id == "q1" else None))
    plan = plan_of(6, config=pool_config("a", providers={"here": {"deadline_s": 0.05}}))
    ended = go(plan, tmp_path / "j")
    assert (ended.progress.rows, ended.progress.failed) == (6, 1)


def test_a_query_that_breaks_the_server_does_not_keep_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routewright.collect.health.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("routewright.collect.health.IN_A_ROW", 2)
    provider = Scripted(lambda ask, nth: ProviderError("crash", "cut") if ask.query.query_id in ("q0", "q1") else None)
    install(monkeypatch, provider)
    plan = plan_of(8, config=pool_config("a", providers={"here": {"concurrency": 1}}))
    ended = go(plan, tmp_path / "j")
    assert (ended.progress.rows, ended.progress.failed, ended.missing) == (8, 2, ())
    assert max(provider.cells.values()) <= 3


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_stops_a_model(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Scripted(lambda ask, nth: ProviderError("no", "refused", status=status, reached=False))
    install(monkeypatch, provider)
    ended = go(plan_of(300, "a", patience_s=0.0), tmp_path / "j")
    assert ended.progress.rows == 0
    assert provider.calls["a"] < 40
    assert ended.missing


def test_many_prompts_too_long_in_a_row_are_outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted(lambda ask, nth: ProviderError("too long", "too_long", reached=False)))
    ended = go(plan_of(60, "a"), tmp_path / "j")
    assert (ended.progress.rows, ended.progress.failed, ended.missing) == (60, 60, ())


def test_other_errors_come_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key raises at once; the journal keeps what was answered."""

    def act(ask: Ask, nth: int) -> None:
        if nth == 4:
            raise PoolError("HERE_KEY is not set")

    install(monkeypatch, Scripted(act))
    plan = plan_of(30, config=pool_config("a", providers={"here": {"concurrency": 1}}))
    with pytest.raises(PoolError, match="HERE_KEY"):
        go(plan, tmp_path / "j")
    assert len(kept(plan, tmp_path / "j")) == 3


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted(lambda ask, nth: "long " * 2000))
    plan = plan_of(60)
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        journal._db.execute("pragma max_page_count = 60")
        prepare(plan, journal)
        with pytest.raises(TableError, match=r"can not be written .*full"):
            asyncio.run(collect(plan, journal))
    rows = len(kept(plan, tmp_path / "j"))
    assert 0 < rows < 120
    assert go(plan, tmp_path / "j").progress.rows == 120


def test_a_paused_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routewright.collect.run.TICK_S", 0.01)
    monkeypatch.setattr("routewright.collect.health.FIRST_PAUSE_S", 0.2)
    install(monkeypatch, Scripted(lambda ask, nth: ProviderError("down", "timeout") if nth <= 20 else None))
    plan = plan_of(30, "a", concurrency=1)
    notes = []
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        prepare(plan, journal)
        asyncio.run(collect(plan, journal, lambda now: notes.append(now.note)))
    assert "a paused" in notes


# -- concurrency


def test_no_more_calls_and_tasks_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Scripted(lambda ask, nth: asyncio.sleep(0.001))
    install(monkeypatch, provider)
    here = {"concurrency": 6}
    go(plan_of(100, config=pool_config("a", "b", providers={"here": here})), tmp_path / "j")
    assert provider.most == 6
    assert provider.most_tasks <= 6 + 5
    provider.most = 0
    go(plan_of(50, config=pool_config("a", "b", providers={"here": here}), concurrency=3), tmp_path / "k")
    assert provider.most == 3


def test_a_models_own_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = running = 0

    async def act(ask: Ask) -> None:
        nonlocal most, running
        running += ask.model == "a"
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= ask.model == "a"

    install(monkeypatch, Scripted(lambda ask, nth: act(ask)))
    config = pool_config("a", "b")
    models = tuple(m.model_copy(update={"concurrency": 2}) if m.name == "a" else m for m in config.models)
    go(plan_of(40, config=config.model_copy(update={"models": models})), tmp_path / "j")
    assert most == 2


@pytest.mark.parametrize("apart", [True, False], ids=["another endpoint", "the same endpoint"])
def test_a_slow_model_holds_nobody_up(apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    nearly = asyncio.Event()

    async def act(ask: Ask) -> None:
        if ask.model == "slow":  # says nothing until the fast one has nearly all its answers
            await asyncio.wait_for(nearly.wait(), 120)
        order.append(ask.model)
        if order.count("fast") == 36:
            nearly.set()

    install(monkeypatch, Scripted(lambda ask, nth: act(ask)))
    config = pool_config("slow", "fast@there" if apart else "fast", providers={"here": {"concurrency": 4}, "there": {}})
    go(plan_of(40, config=config), tmp_path / "j")
    assert order[:36] == ["fast"] * 36
    assert order.count("slow") == order.count("fast") == 40


# -- what a row says


def test_fallbacks_are_off_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(ask: Ask, nth: int) -> ProviderError | None:
        return ProviderError("a is broken", "refused", status=400) if ask.model == "a" else None

    install(monkeypatch, Scripted(act))
    config = pool_config("a", "b")
    models = tuple(m.model_copy(update={"fallback": ("b",)}) if m.name == "a" else m for m in config.models)
    config = config.model_copy(update={"models": models})
    assert go(plan_of(3, config=config), tmp_path / "j").progress.failed == 3
    plan = plan_of(3, config=config, models=("a",), fallback=True)
    assert go(plan, tmp_path / "k").progress.failed == 0
    for row in kept(plan, tmp_path / "k"):
        assert row.note == "answered by b: a is broken"
        assert [(a["model"], a["error"]) for a in json.loads(row.attempts)] == [("a", "a is broken"), ("b", None)]


def test_hostile_replies_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted(lambda ask, nth: "\ud800 \x00 0"))
    plan = plan_of(1, "a")
    go(plan, tmp_path / "j")
    assert kept(plan, tmp_path / "j")[0].response == "? \x00 0"


def judged(n: int, **settings: Any) -> Any:
    queries = [Asked(Query(f"q {i}", f"{i}"), None, "judge") for i in range(n)]
    return make_plan(queries, pool_config("a", "judge"), Settings(models=("a",), judge="judge", **settings))


def test_a_judges_bill_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted(lambda ask, nth: '{"grade": 7}' if ask.role == "judge" else "an answer"))
    plan = judged(5)
    ended = go(plan, tmp_path / "j")
    rows = kept(plan, tmp_path / "j")
    assert {(row.score, row.cost_usd) for row in rows} == {(0.7, ONE_USD)}
    assert ended.progress.spent_usd == pytest.approx(10 * ONE_USD)


def test_a_judge_that_can_not_be_had_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Scripted(lambda ask, nth: "I would rather not." if ask.role == "judge" else "an answer")
    install(monkeypatch, provider)
    plan = judged(300)
    with pytest.raises(RoutewrightError, match="20 times in a row"):
        go(plan, tmp_path / "j")
    assert provider.calls["a"] < 60
    rows = kept(plan, tmp_path / "j")
    assert {row.failed for row in rows} == {True}
    assert {row.spent_pico for row in rows} == {round(3 * ONE_USD * PICO)}


def test_the_journal_and_the_ledger_agree_on_a_judge_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failed second verdict was charged is in the books of later runs, or their cap would be passed."""

    def act(ask: Ask, nth: int) -> Any:
        if ask.role != "judge":
            return "an answer"
        return "hm" if nth % 2 else ProviderError("gone", "server", reached=True)

    install(monkeypatch, Scripted(act))
    plan = judged(5, concurrency=1)
    ended = go(plan, tmp_path / "j")
    assert ended.progress.failed == 5
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        assert journal.spent_pico() == round(ended.progress.spent_usd * PICO)
        assert journal.spent_pico() > round(5 * 2 * ONE_USD * PICO)


def test_a_judge_within_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Scripted(lambda ask, nth: '{"grade": 7}' if ask.role == "judge" else "an answer"))
    for budget in (0.0, 0.003, 0.01, 0.03):
        plan = judged(40, budget_usd=budget)
        with Journal.open(tmp_path / "j", plan.facts()) as journal:
            prepare(plan, journal)
            asyncio.run(collect(plan, journal))
            assert journal.spent_pico() <= budget * PICO


# -- before it starts


@pytest.mark.parametrize("kind", ["openai", "anthropic", "litellm"])
def test_a_key_that_is_not_set_is_told_before_anything_is_asked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row would be a failure, and a table of zeros is no outcome."""
    monkeypatch.delenv("MY_KEY", raising=False)
    config = check_pool(
        {
            "providers": {"there": {"kind": kind, "api_key_env": "MY_KEY"}},
            "models": [{"name": "m", "provider": "there", "usd_per_mtok_in": 1.0, "usd_per_mtok_out": 2.0}],
        },
        "the test",
    )
    plan = plan_of(3, config=config)
    with pytest.raises(PoolError, match=r"there.*MY_KEY is not set\. Set it to the key, or change api_key_env"):
        check(plan)
    with pytest.raises(PoolError, match="MY_KEY"):
        go(plan, tmp_path / "j")
    with Journal.open(tmp_path / "j", plan.facts()) as journal:
        assert journal.counts() == (0, 0)
    monkeypatch.setenv("MY_KEY", "sk-1234567890")
    check(plan)


def test_a_file_that_is_not_there_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    here = {"kind": "local", "path": str(tmp_path / "no.gguf")}
    model = {"name": "m", "provider": "here", "usd_per_mtok_in": 0.0, "usd_per_mtok_out": 0.0}
    plan = plan_of(3, config=check_pool({"providers": {"here": here}, "models": [model]}, "the test"))
    with pytest.raises(PoolError, match=r"there is no file '.*no\.gguf'. Expected a GGUF file"):
        check(plan)
