"""Reloading the configuration of a real gateway: under traffic, of what may change and what may not, and of broken files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from routewright.gateway.app import app_of, build_service
from routewright.gateway.connection import connections_of
from routewright.gateway.reload import Reloader
from routewright.gateway.settings import read_settings
from routewright.pools.config import as_toml
from routewright.router import fit
from tests.episodes.worlds import random_outcomes
from tests.gateway.world import ASK, Running, Upstream, chunk, eventually, listening

KEYS = {name: f"{name}-0123456789abcdef" for name in ("boss", "team", "poor", "new")}
PRICES = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 2, "output_tokens": 100}


def slowly(body: Any) -> Any:
    """A stream of a quarter of a second, or a whole reply."""
    words = [x for i in range(5) for x in (0.05, chunk({"content": f" {i}"}))]
    if body.get("stream"):
        return [*words, chunk({}, "stop")]
    return {"choices": [{"message": {"content": " 0 1 2 3 4"}}], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream({"slow": slowly})
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


class Files:
    """A serve file and its pool file, written anew as a test likes."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.folder, self.url = folder, upstream.url  # type: ignore[attr-defined]
        self.path = folder / "serve.toml"

    def pool(self, *models: str, concurrency: int = 64, cache: bool = False) -> None:
        provider = {"kind": "openai", "base_url": self.url + "/v1", "concurrency": concurrency, "backoff_s": 0.0}
        entries = [{"name": m, "provider": "up", **PRICES} for m in models]
        made: dict[str, Any] = {"providers": {"up": provider}, "models": entries}
        if cache:
            made["cache"] = {"path": str(self.folder / "cache.sqlite")}
        self.write("pool.toml", as_toml(made))

    def serve(self, *lines: str, keys: dict[str, str] | None = None, port: int = 0) -> None:
        """`keys` maps names to further lines of their section."""
        text = [f"port = {port}", 'pool = "pool.toml"', *lines]
        for name, more in (keys or {}).items():
            digest = hashlib.sha256(KEYS[name].encode()).hexdigest()
            text += ["[[keys]]", f'name = "{name}"', f'sha256 = "{digest}"', more]
        self.write("serve.toml", "\n".join(text))

    def write(self, name: str, text: str) -> None:
        """Whole or not at all, as deployments do it."""
        (self.folder / "new").write_text(text)
        os.replace(self.folder / "new", self.folder / name)


@pytest.fixture
def files(tmp_path: Path, upstream: Upstream) -> Files:
    return Files(tmp_path, upstream)


@contextmanager
def running(files: Files) -> Iterator[Running]:
    settings = read_settings(files.path)
    service = build_service(settings, files.folder)
    service.reloader = Reloader(service, settings, files.folder, lambda: read_settings(files.path))
    with listening(app_of(service, settings), connections_of(service)) as url:
        yield Running(service, url)


def reload(served: Running, key: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(served.url + "/v1/admin/reload", b"", method="POST")
    if key:
        request.add_header("Authorization", f"Bearer {KEYS[key]}")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def ask(served: Running, model: str, key: str = "", stream: bool = False) -> Any:
    client = served.client(KEYS[key] if key else "none")
    done = client.chat.completions.create(model=model, messages=ASK, stream=stream)  # type: ignore[call-overload]
    return "".join(c.choices[0].delta.content or "" for c in done if c.choices) if stream else done


AUTO = ("[coordinators.auto]", 'policy = "single"')


def test_no_request_is_lost_under_traffic(files: Files) -> None:
    """Streams and whole answers without a pause, while models, coordinators, keys and limits come and go."""
    files.pool("slow", "plain")
    files.serve(*AUTO, keys={"boss": 'role = "admin"', "team": ""})
    with running(files) as served:
        failed: list[str] = []
        done = [0, 0]
        stop = threading.Event()

        def traffic(stream: bool, model: str, key: str) -> None:
            client = served.client(KEYS[key])  # one connection, kept alive
            while not stop.is_set():
                try:
                    made = client.chat.completions.create(model=model, messages=ASK, stream=stream)  # type: ignore[call-overload]
                    parts = [c.choices[0].delta.content for c in made if c.choices] if stream else []
                    text = "".join(part or "" for part in parts) if stream else made.choices[0].message.content
                    if text != " 0 1 2 3 4":
                        failed.append(f"{model}: {text!r}")
                    done[stream] += 1
                except Exception as error:
                    failed.append(f"{model}: {error!r}")

        kinds = [(s, m, k) for s in (True, False) for m in ("slow", "auto") for k in ("team", "boss")]
        threads = [threading.Thread(target=traffic, args=kind) for kind in kinds]
        for thread in threads:
            thread.start()
        endpoint = served.service.endpoints[0]
        for i in range(15):
            extra = i % 3
            files.pool("slow", "plain", *(f"extra-{n}" for n in range(extra)), concurrency=64 + i % 2, cache=i % 5 == 4)
            more = ("[coordinators.other]", 'policy = "self_refine"') if extra else ()
            files.serve(*AUTO, *more, "[limits]", f"in_flight = {200 + i}", keys={"boss": 'role = "admin"', "team": ""})
            status, told = reload(served, "boss")
            assert status == 200, told
            assert told["models"][2:] == [f"extra-{n}" for n in range(extra)]
            assert ("other" in told["coordinators"]) == bool(extra)
            if extra:
                assert ask(served, "other", "team").model_extra["routing"]["policy"] == "self_refine"
                assert ask(served, "extra-0", "team").choices[0].message.content
            else:
                with pytest.raises(openai.NotFoundError):
                    ask(served, "extra-0", "team")
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not failed, failed[:3]
        assert min(done) > 20, done
        assert served.service.endpoints[0] is not endpoint
        assert eventually(lambda: len(served.service.generations) == 1), "old pools are let go"


def test_a_stream_ends_on_what_it_began_with_and_then_its_pool_is_closed(files: Files, upstream: Upstream) -> None:
    upstream.replies["slow"] = lambda body: [
        chunk({"content": "a"}),
        *[0.05] * 20,
        chunk({"content": "b"}),
        chunk({}, "stop"),
    ]
    try:
        files.pool("slow", "plain")
        files.serve(*AUTO)
        with running(files) as served:
            old = served.service.endpoints[0]
            closed: list[int] = []
            real = old.provider.aclose

            async def aclose() -> None:
                closed.append(served.service.generations[0].inside)
                await real()

            old.provider.aclose = aclose  # type: ignore[method-assign]
            stream = iter(served.client().chat.completions.create(model="slow", messages=ASK, stream=True))
            assert next(stream).choices[0].delta.content == "a"
            files.pool("plain", concurrency=3)
            assert reload(served)[0] == 200
            with pytest.raises(openai.NotFoundError):
                ask(served, "slow")
            assert ask(served, "plain").choices[0].message.content == "one two three"
            assert not closed, "a request is inside"
            rest = "".join(part.choices[0].delta.content or "" for part in stream)
            assert rest == "b"
            assert eventually(lambda: closed)
    finally:
        upstream.replies["slow"] = slowly


def test_endpoints_that_stay_keep_their_breakers_and_connections(files: Files) -> None:
    files.pool("plain")
    files.serve(*AUTO)
    with running(files) as served:
        before = served.service.endpoints[0]
        before.breaker.in_a_row = 2
        files.pool("plain", "more")
        assert reload(served)[0] == 200
        assert served.service.endpoints == [before]
        assert ask(served, "more").choices[0].message.content
        files.pool("plain", "more", concurrency=5)
        assert reload(served)[0] == 200
        assert served.service.endpoints[0].breaker.in_a_row == 0


# Keys


def test_keys_come_and_go_and_what_is_spent_stays_spent(files: Files) -> None:
    files.pool("plain")
    boss = {"boss": 'role = "admin"'}
    poor = "usd_per_day = 0.00205\nusd_per_month = 1\nrequests_per_minute = 100"
    files.serve(*AUTO, keys={**boss, "team": "requests_per_minute = 3", "poor": poor})
    with running(files) as served:
        for _ in range(3):
            ask(served, "plain", "team")
        with pytest.raises(openai.RateLimitError):
            ask(served, "plain", "team")
        for _ in range(5):
            ask(served, "plain", "poor")
        quota = served.service.keyring.keys[2].quota
        spent = [ledger.spent for ledger in quota.ledgers()]
        assert spent[0] > 0

        assert reload(served, "boss")[0] == 200
        with pytest.raises(openai.RateLimitError):  # the rate was used up before
            ask(served, "plain", "team")
        assert [ledger.spent for ledger in served.service.keyring.keys[2].quota.ledgers()] == spent

        files.serve(
            *AUTO, keys={**boss, "team": "requests_per_minute = 5", "poor": "usd_per_month = 0.0001", "new": ""}
        )
        assert reload(served, "boss")[0] == 200
        assert ask(served, "plain", "new").choices[0].message.content
        for _ in range(2):  # 5 a minute, of which 3 were used
            ask(served, "plain", "team")
        with pytest.raises(openai.RateLimitError):
            ask(served, "plain", "team")
        (month,) = served.service.keyring.keys[2].quota.ledgers()
        assert month.spent == spent[0]
        with pytest.raises(openai.RateLimitError, match=r"0\.0001 USD a month"):
            ask(served, "plain", "poor")

        files.serve(*AUTO, keys=boss)
        assert reload(served, "boss")[0] == 200
        for gone in ("team", "poor", "new"):
            with pytest.raises(openai.AuthenticationError):
                ask(served, "plain", gone)


def test_a_request_in_flight_is_charged_to_the_quota_that_stays(files: Files, upstream: Upstream) -> None:
    files.pool("slow")
    boss = {"boss": 'role = "admin"'}
    files.serve(*AUTO, keys={**boss, "poor": "usd_per_day = 1\ntokens_per_minute = 1000"})
    with running(files) as served:
        stream = iter(served.client(KEYS["poor"]).chat.completions.create(model="slow", messages=ASK, stream=True))
        next(stream)
        files.serve(*AUTO, keys={**boss, "poor": "usd_per_day = 2\ntokens_per_minute = 2000"})
        assert reload(served, "boss")[0] == 200
        quota = served.service.keyring.keys[1].quota
        assert quota.ledgers()[0].reserved > 0
        for _ in stream:
            pass
        ledger = eventually(lambda: quota.ledgers()[0].spent and quota.ledgers()[0])
        assert (ledger.reserved, ledger.cap) == (0, 2 * 10**12)
        assert eventually(lambda: quota.tokens.level < 2000)


def test_a_new_budget_knows_what_was_spent_before(files: Files) -> None:
    files.pool("plain")
    boss = {"boss": 'role = "admin"'}
    files.serve(*AUTO, keys={**boss, "poor": ""})
    with running(files) as served:
        cost = ask(served, "plain", "poor").model_extra["routing"]["cost_usd"]
        eventually(lambda: not served.service._ended)
        files.serve(*AUTO, keys={**boss, "poor": "usd_per_day = 1"})
        assert reload(served, "boss")[0] == 200
        assert served.service.keyring.keys[1].quota.ledgers()[0].spent_usd == pytest.approx(cost)


def test_only_admins_reload(files: Files) -> None:
    files.pool("plain")
    files.serve(*AUTO, keys={"boss": 'role = "admin"', "team": ""})
    with running(files) as served:
        assert reload(served)[0] == 401
        assert reload(served, "team")[0] == 403
        served.service.reloader = None
        assert reload(served, "boss") == (409, reload(served, "boss")[1])


# What changes nothing


def broken(files: Files) -> Iterator[tuple[str, Callable[[], None]]]:
    """(what is said, how the files are broken)"""
    yield "is not valid TOML", lambda: files.write("serve.toml", "port = [")
    yield "Unknown key 'prot'", lambda: files.serve("prot = 1")
    yield "pool.toml can not be read", lambda: (files.folder / "pool.toml").unlink()
    yield "is not valid TOML", lambda: files.write("pool.toml", "[[models")
    yield "Did you mean 'single'", lambda: files.serve("[coordinators.auto]", 'policy = "singel"')
    yield "is no model of the pool", lambda: files.serve(*AUTO, 'fallback = "nobody"')
    yield "is no folder", lambda: files.serve("[coordinators.auto]", 'path = "nowhere"')
    yield "can not be loaded", lambda: files.serve(*AUTO, "[store]", 'redact = "nowhere:f"')
    yield "is a coordinator and a model", lambda: files.serve("[coordinators.plain]", 'policy = "single"')
    yield "port can not be changed while the gateway runs", lambda: files.serve(*AUTO, port=1)
    yield "host can not be changed", lambda: files.serve('host = "::1"', *AUTO)
    yield (
        "store.kind, store.options can not",
        lambda: files.serve(*AUTO, "[store]", 'kind = "sqlite"', f'path = "{files.folder}/x.sqlite"'),
    )
    yield "store.retain_days can not", lambda: files.serve(*AUTO, "[store]", "retain_days = 1")
    yield "store.options can not", lambda: files.serve(*AUTO, "[store]", "records = 5")


@pytest.mark.parametrize("number", range(14))
def test_what_is_wrong_changes_nothing(files: Files, number: int, caplog: pytest.LogCaptureFixture) -> None:
    files.pool("plain")
    files.serve(*AUTO)
    with running(files) as served:
        before = served.service.setup
        said, how = list(broken(files))[number]
        how()
        status, error = reload(served)
        assert (status, error["code"]) == (400, "configuration")
        assert said in error["message"], error
        assert "All stays as it was" in error["message"]
        assert f"reload: all stays as it was. {error['message'].removeprefix('All stays as it was. ')}" in caplog.text
        assert served.service.setup is before
        assert ask(served, "auto").choices[0].message.content
        files.pool("plain", "more")
        files.serve(*AUTO)
        assert reload(served)[0] == 200, "once it is repaired, it works"
        assert ask(served, "more").choices[0].message.content


def test_a_broken_coordinator(files: Files) -> None:
    """One that works is not made worse; one that is new, or was broken before, is served by its fallback."""
    outcomes = random_outcomes(40, 2, seed=3)
    first, second = outcomes.models
    fit(outcomes, "knn").save(files.folder / "router")
    files.pool(first, second)
    entry = ("[coordinators.auto]", 'path = "router"', f'fallback = "{second}"')
    files.serve(*entry)
    facts = files.folder / "router" / "router.json"
    good = facts.read_text()
    with running(files) as served:
        assert "fallback" not in ask(served, "auto").model_extra["routing"]
        facts.write_text("{")
        status, error = reload(served)
        assert status == 400
        assert "is damaged" in error["message"]
        assert "The one that is served now is in order, and stays" in error["message"]
        assert "fallback" not in ask(served, "auto").model_extra["routing"]

        files.serve("[coordinators.other]", *entry[1:])
        assert reload(served)[1]["degraded"] == ["other"]
        told = ask(served, "other").model_extra["routing"]
        assert (told["model"], told["fallback"]) == (second, "the coordinator's files can not be used")
        assert json.load(urllib.request.urlopen(served.url + "/readyz"))["status"] == "degraded"

        assert reload(served)[1]["degraded"] == ["other"], "other changes may come meanwhile"
        facts.write_text(good)
        assert reload(served)[1]["degraded"] == []
        assert "fallback" not in ask(served, "other").model_extra["routing"]
        assert json.load(urllib.request.urlopen(served.url + "/readyz"))["status"] == "ready"


def test_limits_and_texts_change_as_well(files: Files) -> None:
    files.pool("plain")
    files.serve(*AUTO)
    with running(files) as served:
        files.serve(*AUTO, "[limits]", "messages = 1", "[store]", "prompts = true", "[sessions]", "most = 3")
        ask(served, "plain")
        assert reload(served)[0] == 200
        assert served.last().query is None, "what had ended is kept as it was told to be"
        with pytest.raises(openai.BadRequestError, match="Expected at most 1"):
            served.client().chat.completions.create(model="plain", messages=[*ASK, *ASK])
        assert ask(served, "plain").choices[0].message.content
        assert "Zurich" in eventually(lambda: served.last().query)
        assert served.service.sessions.settings.most == 3


def test_the_loop_is_not_held_while_files_are_read(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    from routewright.gateway import reload as module

    files.pool("plain")
    files.serve(*AUTO)
    with running(files) as served:
        begun, go_on, real = threading.Event(), threading.Event(), module.make_setup

        def slow(*given: Any) -> Any:
            begun.set()
            assert go_on.wait(30)
            return real(*given)

        monkeypatch.setattr(module, "make_setup", slow)
        work = threading.Thread(target=reload, args=(served,))
        work.start()
        assert begun.wait(10)
        ask(served, "auto")  # while it waits
        go_on.set()
        work.join()


# A process


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
def test_a_process_reloads_on_sighup(files: Files) -> None:
    files.pool("plain")
    files.serve(*AUTO)
    code = "from routewright.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "serve.toml", "--port", "0"]
    child = subprocess.Popen(command, cwd=files.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: list[str] = []
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        found = re.search(r"http://\S+", child.stdout.readline())
        assert found
        reader = threading.Thread(target=lambda: lines.extend(iter(child.stderr.readline, "")))  # type: ignore[union-attr]
        reader.start()
        client = openai.OpenAI(base_url=found[0], api_key="none", max_retries=0, timeout=60)
        files.pool("plain", "more")
        child.send_signal(signal.SIGHUP)
        eventually(lambda: any("reload: 2 models, 1 coordinators (0 on their fallback), 0 keys" in x for x in lines))
        assert client.chat.completions.create(model="more", messages=ASK).choices[0].message.content
        files.write("pool.toml", "[[models")
        child.send_signal(signal.SIGHUP)
        eventually(lambda: any("reload: all stays as it was. " in x and "not valid TOML" in x for x in lines))
        assert client.chat.completions.create(model="more", messages=ASK).choices[0].message.content
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
        reader.join(30)
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
