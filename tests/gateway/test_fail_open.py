"""What may break around a policy costs no answer: a named model serves, in time, and header, metric and trace say why."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from routewright.coordinator import Coordinator
from routewright.errors import BudgetExceeded, PoolError, RouterError
from routewright.gateway import watch
from routewright.gateway.app import app_of, build_service
from routewright.gateway.settings import check_settings
from routewright.policies.base import Policy, Wish, build_policy
from routewright.pools.config import as_toml
from routewright.router import Router, fit
from routewright.stores.base import Feedback, Record, build_store
from routewright.stores.memory import Memory
from routewright.types import Answer, Call, Decision, Generate, Plan, Think
from tests.episodes.worlds import random_outcomes
from tests.gateway.test_serve import process
from tests.gateway.world import ASK, Running, Upstream, eventually, gateway, listening, pool_at

OUTCOMES = random_outcomes(40, 2, seed=3)
MODELS = OUTCOMES.models  # of the trained router, and of the pools here
SAFE = MODELS[1]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream()
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


class Odd(Policy):
    """A policy that does as it is told."""

    kind: ClassVar[str] = "odd"
    summary: ClassVar[str] = "test"

    def __init__(self, does: Callable[[], Any]) -> None:
        super().__init__()
        self.does = does

    def decide(self, states: Any, rng: Any) -> list[Wish]:
        return self.does()  # type: ignore[no-any-return]


def raising(error: BaseException) -> Callable[..., Any]:
    def raise_it(*_: Any) -> Any:
        raise error

    return raise_it


def odd(upstream: Upstream, policy: Policy | Coordinator, **limits: Any) -> Any:
    """A gateway whose coordinator `auto` is odd, with a fallback."""
    pool = pool_at(upstream.url, *MODELS)  # type: ignore[attr-defined]
    return gateway(pool, {"auto": policy}, {"limits": limits}, entries={"auto": {"fallback": SAFE}})


@pytest.fixture(scope="module")
def served_oddly(upstream: Upstream) -> Iterator[tuple[Running, Odd]]:
    """One gateway, and the policy that a test gives something to do."""
    policy = Odd(list)
    with odd(upstream, policy) as served:
        yield served, policy


def served_by_fallback(served: Running, why: str, model: str = "auto") -> dict[str, Any]:
    """Ask, whole and streamed: 200 by the fallback, and everything says why."""
    raw = served.client().chat.completions.with_raw_response.create(model=model, messages=ASK)
    told = raw.parse().model_extra["routing"]  # type: ignore[index]
    assert raw.parse().choices[0].message.content == "one two three"
    assert (told["model"], told["policy"]) == (SAFE, "single")
    assert why in told["fallback"], told["fallback"]
    assert raw.headers["x-routewright-fallback"] == told["fallback"]
    assert raw.headers["x-routewright-model"] == SAFE
    chunks = list(served.client().chat.completions.create(model=model, messages=ASK, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "one two three"
    assert "fallback" in chunks[-1].model_extra["routing"]
    record = served.record(told["trace_id"])
    assert (record.status, record.fallback) == (200, told["fallback"])
    assert fallbacks(served, model) >= 2
    return dict(told)


def fallbacks(served: Running, model: str) -> float:
    text = urllib.request.urlopen(served.url + "/metrics").read().decode()
    found = [line for line in text.splitlines() if line.startswith(f'routewright_fallbacks_total{{model="{model}"}}')]
    return float(found[0].split()[-1]) if found else 0.0


# A policy that raises, or says what makes no sense


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("secret words of the prompt"),
        RecursionError(),
        MemoryError(),
        ConnectionRefusedError("embeddings"),
        asyncio.CancelledError(),
        SystemExit(3),
        StopIteration(),
        PoolError("not about this request"),
        BudgetExceeded("not this one's"),
    ],
)
def test_whatever_a_policy_raises(
    served_oddly: tuple[Running, Odd], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    served, policy = served_oddly
    policy.does = raising(error)
    with caplog.at_level(logging.INFO, "routewright"):
        served_by_fallback(served, f"odd failed ({type(error).__name__})")
    assert "secret" not in caplog.text
    assert "vowels" not in caplog.text
    assert type(error).__name__ in caplog.text
    assert "raise_it" in caplog.text, "the log says where"


class Strange:
    """No decision at all."""

    action = None


def call(model: Any, **more: Any) -> list[Any]:
    return [Decision(Call(model, **more))]


@pytest.mark.parametrize(
    "wish",
    [
        None,
        [],
        (),
        [Strange()],
        [None],
        ["large"],
        [Call(MODELS[0])],
        call("gpt-nowhere"),
        call(None),
        call(7),
        [Decision("call")],  # type: ignore[arg-type]
        [Decision(Answer())],
        [Decision(Answer("text", ""))],
        [Decision(Think("for ever"))],
        [Decision(Plan(()))],
        [Decision(Plan((Call(MODELS[0], after=(0,)),)))],
        [Decision(Plan((Call("nobody"),)))],
        [Generate("nobody", "write")],
        call(MODELS[0], prompt=float("nan")),
    ],
)
def test_whatever_a_policy_says(served_oddly: tuple[Running, Odd], wish: Any) -> None:
    served, policy = served_oddly
    policy.does = lambda: wish
    served_by_fallback(served, "odd")


def test_a_probability_of_no_number(served_oddly: tuple[Running, Odd]) -> None:
    served, policy = served_oddly
    policy.does = lambda: [Decision(Call(MODELS[0]), (), float("nan"))]
    served_by_fallback(served, "odd failed (RoutewrightError)")


def test_a_policy_whose_model_the_request_rules_out(upstream: Upstream) -> None:
    """And one whose fallback it rules out: another model of what is left."""
    with odd(upstream, build_policy("single", {"model": MODELS[0]})) as served:
        for denied, left in ((MODELS[0], SAFE), (SAFE, MODELS[0])):
            done = served.client().chat.completions.create(
                model="auto", messages=ASK, extra_body={"routing": {"deny": [denied]}}
            )
            assert done.model_extra["routing"]["model"] == left  # type: ignore[index]
    with odd(upstream, Odd(raising(ValueError()))) as served:
        done = served.client().chat.completions.create(
            model="auto", messages=ASK, extra_body={"routing": {"deny": [SAFE]}}
        )
        assert done.model_extra["routing"]["model"] == MODELS[0]  # type: ignore[index]


# Trained files


def trained() -> Router:
    return fit(OUTCOMES, "knn")


def folder(upstream: Upstream, tmp_path: Path) -> Path:
    """A serve file whose coordinator is a trained router, and has a fallback."""
    trained().save(tmp_path / "router")
    prices = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 2}
    pool = {
        "providers": {"up": {"kind": "openai", "base_url": upstream.url + "/v1"}},  # type: ignore[attr-defined]
        "models": [{"name": m, "provider": "up", **prices} for m in MODELS],
    }
    (tmp_path / "pool.toml").write_text(as_toml(pool))
    return tmp_path / "router"


def settings(**entry: Any) -> Any:
    both = {"auto": {"path": "router", **entry}, "plain": {"policy": "single"}}
    return check_settings({"pool": "pool.toml", "coordinators": both}, "the test")


def break_it(router: Path, how: str) -> None:
    arrays = router / "router.safetensors"
    if how == "missing":
        for path in router.iterdir():
            path.unlink()
        router.rmdir()
    elif how == "cut":
        arrays.write_bytes(arrays.read_bytes()[:-100])
    elif how == "other bytes":
        data = bytearray(arrays.read_bytes())
        data[-50] ^= 1
        arrays.write_bytes(bytes(data))
    else:
        (router / "router.json").write_text({"no json": "{", "other pool": "{}"}[how])


BROKEN = ["missing", "cut", "other bytes", "no json", "other pool"]


@pytest.mark.parametrize("how", BROKEN)
def test_a_coordinator_whose_files_are_broken(
    upstream: Upstream, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    break_it(folder(upstream, tmp_path), how)
    with caplog.at_level(logging.ERROR, "routewright.gateway"):
        service = build_service(settings(fallback=SAFE), tmp_path)
    assert f"coordinator auto can not be used, {SAFE} serves instead" in caplog.text
    with listening(app_of(service, settings())) as url:
        served = Running(service, url)
        served_by_fallback(served, "files can not be used")
        served_by_fallback(served, "files can not be used", "auto:q99")  # what presets it had is not known
        ready = urllib.request.urlopen(url + "/readyz")
        assert (ready.status, json.load(ready)) == (
            200,
            {"status": "degraded", "store": "ok", "coordinators": "1 of 2 on the fallback"},
        )
        fine = served.client().chat.completions.create(model="plain", messages=ASK)
        assert "fallback" not in fine.model_extra["routing"]  # type: ignore[index]


def test_a_process_starts_with_broken_files(upstream: Upstream, tmp_path: Path, cli: Callable[..., Any]) -> None:
    break_it(folder(upstream, tmp_path), "cut")
    text = 'port = 0\npool = "pool.toml"\n[coordinators.auto]\npath = "router"\n'
    (tmp_path / "serve.toml").write_text(f'{text}fallback = "{SAFE}"\n')
    with process(tmp_path, "serve.toml") as (child, url):
        assert json.load(urllib.request.urlopen(url.removesuffix("/v1") + "/readyz"))["status"] == "degraded"
        child.terminate()
        assert child.wait(30) == 0
        assert "ERROR coordinator auto can not be used" in child.stderr.read()
    (tmp_path / "serve.toml").write_text(text)
    ran = cli("serve", tmp_path / "serve.toml")
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert "name a model that serves meanwhile: fallback" in ran.err


@pytest.mark.parametrize("how", BROKEN)
def test_without_a_fallback_it_does_not_start(upstream: Upstream, tmp_path: Path, how: str) -> None:
    break_it(folder(upstream, tmp_path), how)
    with pytest.raises(Exception, match=r"coordinators.auto: .*name a model that serves meanwhile: fallback"):
        build_service(settings(), tmp_path)


def test_a_router_of_another_pool_is_broken_too(upstream: Upstream, tmp_path: Path) -> None:
    folder(upstream, tmp_path)
    prices = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 2}
    (tmp_path / "pool.toml").write_text(as_toml({"models": [{"name": "other", "provider": "echo", **prices}]}))
    assert build_service(settings(fallback="other"), tmp_path).setup.broken == ["auto"]
    with pytest.raises(RouterError, match="was trained for"):
        build_service(settings(), tmp_path)


# Encoders and scorers


def test_an_encoder_that_is_gone(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its endpoint is down, on the loop or in a worker."""
    for slow in (False, True):
        router = trained()
        monkeypatch.setattr(router.encoder, "slow", slow, raising=False)
        monkeypatch.setattr(router.encoder, "encode", raising(ConnectionRefusedError("embeddings are down")))
        with odd(upstream, Coordinator(build_policy("single"), router)) as served:
            served_by_fallback(served, "single failed (ConnectionRefusedError)")


def test_a_scorer_that_forecasts_no_number(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    for what in ("quality", "cost_usd"):
        router = trained()
        real = router.scorer.forecast

        def broken(*given: Any, real: Any = real, what: str = what) -> Any:
            made = real(*given)
            getattr(made, what)[0, 0] = float("nan")
            return made

        monkeypatch.setattr(router.scorer, "forecast", broken)
        with odd(upstream, Coordinator(build_policy("single"), router)) as served:
            served_by_fallback(served, "single failed (RouterError)")


def test_tools_with_an_encoder_that_hangs(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """What serves where a policy supports less uses the same encoder, and has the same deadline."""
    hang = threading.Event()
    router = trained()
    monkeypatch.setattr(router.encoder, "slow", True, raising=False)
    monkeypatch.setattr(router.encoder, "encode", lambda texts: hang.wait(60))
    pool = pool_at(upstream.url, *MODELS)  # type: ignore[attr-defined]
    made = Coordinator(Odd(lambda: []), router, about={"best_single": SAFE})
    with gateway(pool, {"auto": made}, {"limits": {"prepare_s": 0.1}}) as served:
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        done = served.client().chat.completions.create(model="auto", messages=ASK, tools=[tool])  # type: ignore[list-item]
        told = done.model_extra["routing"]  # type: ignore[index]
        assert told["fallback"] == "odd does not support tools; single was not ready within 0.1 s"
        assert told["model"] == SAFE
    hang.set()


# Time


class Blocked(Odd):
    """It waits, in a worker, until the test is over."""

    blocking = True  # type: ignore[assignment]

    def prepare(self, queries: Any) -> None:
        pass


def test_a_decision_that_hangs_in_a_worker(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    hang = threading.Event()
    with odd(upstream, Blocked(lambda: hang.wait(60)), decide_s=0.2) as served:
        told = served_by_fallback(served, "odd did not decide within 0.2 s")
        assert told["latency_s"] < 1.5
        served_by_fallback(served, "odd did not decide within 0.2 s")  # and streamed, the third in a row is left alone
        began = time.monotonic()
        served_by_fallback(served, "odd is left alone after 3 decisions that took too long")
        assert time.monotonic() - began < 0.2 * 2, "nothing was waited for"
    assert (caplog.text.count("did not decide"), caplog.text.count("left alone")) == (3, 0), "not a line for each"
    hang.set()


def test_a_decision_that_holds_the_loop_does_it_once(upstream: Upstream) -> None:
    """It can not be interrupted there: what it says is taken, late; from then on it decides in a worker."""

    def decide() -> Any:
        time.sleep(1.0)
        return [Decision(Call(MODELS[0], final=True))]

    with odd(upstream, Odd(decide), decide_s=0.1) as served:
        first = served.client().chat.completions.create(model="auto", messages=ASK).model_extra["routing"]  # type: ignore[index]
        assert ("fallback" in first, first["model"]) == (False, MODELS[0])
        assert served.service.coordinators["auto"].policy.blocking
        worst = [0.0]

        def heartbeat() -> None:
            for _ in range(20):
                began = time.monotonic()
                urllib.request.urlopen(served.url + "/healthz").read()
                worst[0] = max(worst[0], time.monotonic() - began)

        beating = threading.Thread(target=heartbeat)
        beating.start()
        served_by_fallback(served, "odd did not decide within 0.1 s")
        beating.join()
        assert worst[0] < 0.8, "the loop was never held for as long as a decision takes"


def test_a_policy_that_recovers_serves_again(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_ALONE_S", 0.3)
    hang = threading.Event()
    policy = Blocked(lambda: hang.wait(60) and [Decision(Call(MODELS[0], final=True))])
    with odd(upstream, policy, decide_s=0.1) as served:
        for _ in range(2):
            served_by_fallback(served, "odd did not decide")
        hang.set()

        def answered() -> bool:
            told = served.client().chat.completions.create(model="auto", messages=ASK).model_extra["routing"]  # type: ignore[index]
            return "fallback" not in told

        assert eventually(answered)


# The store


class Raising(Memory):
    """A store that breaks every promise."""

    def record(self, record: Record) -> None:
        raise OSError("no space left")

    async def feedback(self, feedback: Feedback) -> bool:
        raise OSError("no space left")


def test_a_store_that_raises_costs_records_not_answers(upstream: Upstream) -> None:
    pool = pool_at(upstream.url, *MODELS)  # type: ignore[attr-defined]
    store = Raising()
    with gateway(pool, {"auto": "single"}, store=store) as served:
        for model in ("auto", MODELS[0]):
            assert served.client().chat.completions.create(model=model, messages=ASK).choices[0].message.content
        text = urllib.request.urlopen(served.url + "/metrics").read().decode()
        assert "routewright_records_lost 2.0" in text
        assert 'routewright_requests_total{model="auto",policy="single",status="200"} 1.0' in text


def test_a_store_that_is_lost_costs_records_not_answers(upstream: Upstream, tmp_path: Path) -> None:
    pool = pool_at(upstream.url, *MODELS)  # type: ignore[attr-defined]
    store = build_store("sqlite", {"path": str(tmp_path / "s.sqlite")})
    with gateway(pool, {"auto": "single"}, store=store) as served:
        first = served.client().chat.completions.create(model="auto", messages=ASK).model_extra["routing"]  # type: ignore[index]
        assert eventually(lambda: count(tmp_path / "s.sqlite") == 1)
        with sqlite3.connect(tmp_path / "s.sqlite") as other:
            other.execute("drop table decisions")
        for _ in range(3):
            assert served.client().chat.completions.create(model="auto", messages=ASK).choices[0].message.content
        ready = eventually(lambda: trouble(served))
        assert ready["status"] == "ready"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(served.url + "/v1/traces/" + first["trace_id"])
        assert caught.value.code == 503
        text = urllib.request.urlopen(served.url + "/metrics").read().decode()
        assert "routewright_records_lost 3.0" in text


def count(path: Path) -> int:
    with sqlite3.connect(path) as db:
        return int(db.execute("select count(*) from decisions").fetchone()[0])


def trouble(served: Running) -> Any:
    told = json.load(urllib.request.urlopen(served.url + "/readyz"))
    return told if told["store"] == "in trouble" else None
