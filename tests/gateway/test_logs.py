"""The log: one form for all of it, and no text of a request, no reply and no key in any line, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import openai
import pytest

from routewright.gateway.logs import JSONLines, Lines, logging_to_stderr, way
from routewright.policies.base import build_policy
from tests.gateway.test_serve import process
from tests.gateway.world import Upstream, gateway, listening, pool_at, whole

PROMPT, REPLY, KEY = "xyzzy-the-prompt-of-nobody", "plugh-the-reply-of-nobody", "frotz-the-key-of-nobody-1234"
MESSAGES: list[Any] = [{"role": "user", "content": PROMPT}]


def replies() -> dict[str, Any]:
    return {
        "small": lambda body: whole(f"{REPLY} {PROMPT}"),
        "bad": lambda body: (503, {"error": {"message": f"can not do {PROMPT}"}}),
        "mad": lambda body: (400, {"error": {"message": f"what is {PROMPT}?"}}),
        "odd": lambda body: {"choices": PROMPT},
    }


class Raises:
    """What a policy that fails says."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        try:
            raise KeyError(PROMPT)
        except KeyError as error:
            raise ValueError(f"can not decide {PROMPT}") from error


def played(url: str) -> None:
    """Every way a request can go."""
    client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60)
    for model in ("small", "bad", "mad", "odd", "auto", "failing", "unknown-" + PROMPT):
        for stream in (False, True):
            try:
                done = client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
                if stream:
                    list(done)
            except openai.APIError:
                pass
    stranger = openai.OpenAI(base_url=url, api_key=KEY + "-wrong", max_retries=0, timeout=60)
    with pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="small", messages=MESSAGES)
    for body in (PROMPT, json.dumps({"model": "small", "messages": PROMPT}), "[" * 5000 + PROMPT):
        request = urllib.request.Request(url + "/chat/completions", body.encode(), {"authorization": f"Bearer {KEY}"})
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_quotes_anybody(
    form: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KEY_OF_NOBODY", KEY)
    failing = build_policy("single")
    monkeypatch.setattr(failing, "decide", Raises(), raising=False)
    upstream = Upstream(replies())
    values = {"keys": [{"name": "nobody", "env": "KEY_OF_NOBODY"}]}
    with logging_to_stderr(form), listening(upstream.app) as up:
        pool = pool_at(up, "small", "bad", "mad", "odd", retries=0)
        with gateway(pool, {"auto": "single", "failing": failing}, values) as running:
            played(running.url + "/v1")
            assert running.last().fallback == "single failed (ValueError)", "the fallback was taken"
    out, err = capfd.readouterr()
    assert "ValueError" in err, "the log says what broke"
    for secret in (PROMPT, REPLY, KEY):
        assert secret not in out + err
    lines = [line for line in err.splitlines() if "request" in line and "status" in line]
    assert len(lines) >= 10
    if form == "json":
        told = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        assert len(told) == len([line for line in err.splitlines() if line.strip()])


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="signals")
def test_a_process_logs_json_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_NOBODY", KEY)
    upstream = Upstream(replies())
    with listening(upstream.app) as up:
        models = "".join(
            f'[[models]]\nname = "{m}"\nprovider = "up"\nusd_per_mtok_in = 1\nusd_per_mtok_out = 2\n'
            for m in ("small", "bad", "mad", "odd")
        )
        provider = f'[providers.up]\nkind = "openai"\nbase_url = "{up}/v1"\nretries = 0\n'
        (tmp_path / "pool.toml").write_text(models + provider)
        (tmp_path / "serve.toml").write_text(
            'port = 0\npool = "pool.toml"\nlog_format = "json"\n[coordinators.auto]\npolicy = "single"\n'
            '[[keys]]\nname = "nobody"\nenv = "KEY_OF_NOBODY"\n'
        )
        with process(tmp_path, "serve.toml") as (child, url):
            played(url)
            child.send_signal(signal.SIGTERM)
            out, err = child.communicate(timeout=60)
    for secret in (PROMPT, REPLY, KEY):
        assert secret not in out + err
    told = [json.loads(line) for line in err.splitlines()]
    (done, *_) = (line for line in told if line.get("model") == "small" and line["status"] == 200)
    assert len(done["request"]) == 32
    assert (done["level"], done["key"], done["answered_by"], done["policy"]) == ("info", "nobody", "small", "direct")
    assert done["cost_usd"] == pytest.approx(2e-5)
    assert done["seconds"] > 0
    assert (done["prompt_tokens"], done["completion_tokens"], done["streamed"]) == (10, 5, False)
    assert any(line.get("model") == "bad" and line["status"] >= 500 for line in told)


def caught() -> BaseException:
    try:
        Raises()()
    except ValueError as error:
        return error
    raise AssertionError


def test_of_an_error_there_is_the_way_and_not_the_message() -> None:
    error = caught()
    told = way(error)
    assert PROMPT not in told
    assert "builtins.ValueError\nafter\n" in told
    assert told.endswith("builtins.KeyError")
    assert 'test_logs.py", line' in told
    error.__cause__ = error
    assert way(error).count("builtins.ValueError") == 1, "no circle is walked twice"
    assert way(None) == ""


def test_a_request_is_one_line_whatever_names_there_are(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "routewright.gateway"),
        gateway(pool_at("http://127.0.0.1:1", "a\r\nb\x1b[2J")) as g,
    ):
        client = openai.OpenAI(base_url=g.url + "/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model="a\r\nb\x1b[2J", messages=MESSAGES)
        g.last()
    (line,) = (r.getMessage() for r in caplog.records if r.getMessage().startswith("request "))
    assert line.isprintable()
    assert " model=a??b?[2J " in line


def test_lines_stay_lines() -> None:
    record = logging.LogRecord("routewright.gateway", 20, "f", 1, "model %s", ("a\nb\r2026 INFO forged",), None)
    text = Lines().format(record)
    assert text.splitlines()[1].startswith("  b")
    assert "\r" not in text
    assert json.loads(JSONLines().format(record))["message"] == "model a\nb\r2026 INFO forged"
    assert "\n" not in JSONLines().format(record)
    record.args = ("half \ud800",)
    assert json.loads(JSONLines().format(record))["message"] == "model half \ud800"


def test_asyncio_s_own_lines_end_before_the_error_s_text(capfd: pytest.CaptureFixture[str]) -> None:
    async def lost() -> None:
        async def fails() -> None:
            raise ValueError(PROMPT)

        task = asyncio.ensure_future(fails())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    with logging_to_stderr():
        asyncio.run(lost())
        import gc

        gc.collect()
    err = capfd.readouterr().err
    assert "Task exception was never retrieved" in err
    assert "builtins.ValueError" in err
    assert PROMPT not in err


def test_the_log_is_as_it_was_afterwards() -> None:
    before = logging.getLogger().handlers[:], logging.getLogger("routewright").level
    with logging_to_stderr("json"):
        assert logging.getLogger().handlers != before[0]
    assert (logging.getLogger().handlers, logging.getLogger("routewright").level) == before
