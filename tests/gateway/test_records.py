"""What is kept and logged of requests: never a text that was not asked for, never a key."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from routewright.episodes.trace import replay
from routewright.errors import ConfigError
from routewright.gateway.records import Recorder, redactor
from routewright.policies.base import build_policy
from routewright.stores.base import build_store
from tests.gateway.test_chat import posted
from tests.gateway.test_limits import TEAM, entry
from tests.gateway.world import Running, Upstream, eventually, gateway, listening, pool_at, whole

SECRET = "the-moon-is-made-of-cheese"
ASK: list[Any] = [{"role": "system", "content": SECRET}, {"role": "user", "content": f"Is it true that {SECRET}?"}]


def hide(text: str) -> str:
    """A redaction hook."""
    return text.replace(SECRET, "[hidden]")


def fail(text: str) -> str:
    """A redaction hook that fails."""
    raise ValueError(text)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    up = Upstream(
        {
            "echo": lambda b: whole("You said " + json.dumps(b["messages"])),
            "strict": lambda b: (400, {"error": {"message": "bad: " + json.dumps(b["messages"])}}),
        }
    )
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


def served(upstream: Upstream, path: Path, recorder: Recorder, **values: Any) -> Any:
    pool = pool_at(upstream.url, "echo", "strict", retries=0)  # type: ignore[attr-defined]
    coordinators = {
        "auto": "single",
        "mixed": build_policy("mixture", {"proposers": ["echo", "strict"], "aggregator": "echo"}),
    }
    return gateway(pool, coordinators, values, build_store("sqlite", {"path": str(path)}), recorder)


def everything(path: Path) -> str:
    """All that is in the store's files, log and WAL as well."""
    with sqlite3.connect(path) as db:
        rows = db.execute("select * from decisions").fetchall() + db.execute("select * from feedback").fetchall()
    return repr(rows) + "".join(f.read_bytes().decode("latin-1") for f in path.parent.glob(path.name + "*"))


def test_no_text_and_no_key_is_kept_or_logged(
    upstream: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.sqlite"
    with caplog.at_level(logging.DEBUG), served(upstream, path, Recorder(), keys=[entry("team", TEAM)]) as gate:
        client = gate.client(TEAM).chat.completions
        traces = []
        for model in ("echo", "auto", "mixed"):
            done = client.create(model=model, messages=ASK, user="ann@example.org", stop=["cheese-stop"])
            traces.append(done.model_extra["routing"]["trace_id"])  # type: ignore[index]
        with pytest.raises(Exception, match="bad"):
            client.create(model="strict", messages=ASK)
        said = {"trace_id": traces[0], "score": 1, "comment": f"{SECRET}!"}
        assert posted(gate.url + "/v1/feedback", said, {"Authorization": f"Bearer {TEAM}"})[0] == 200
        posted(
            gate.url + "/v1/chat/completions", {"model": SECRET, "messages": ASK}, {"Authorization": f"Bearer {TEAM}"}
        )
        shown = [look(gate, trace_id) for trace_id in traces]
        kept = [gate.record(trace_id) for trace_id in traces]
    for text in (everything(path), caplog.text, json.dumps(shown)):
        assert SECRET not in text
        assert TEAM not in text
        assert "ann@example.org" not in text
        assert "cheese" not in text
    assert f"request {traces[0]} key=team model=echo answered_by=echo status=200" in caplog.text
    for record, trace in zip(kept, shown, strict=True):
        episode = replay(record.trace.split(b"\n"))
        assert episode.cost_usd == record.cost_usd == trace["cost_usd"] > 0
        assert [e["event"] for e in trace["events"]][:2] == ["begin", "step"]


def look(gate: Running, trace_id: str) -> Any:
    import urllib.request

    request = urllib.request.Request(f"{gate.url}/v1/traces/{trace_id}", headers={"Authorization": f"Bearer {TEAM}"})
    return json.load(urllib.request.urlopen(request))


def test_texts_are_kept_where_asked_for_and_redacted(upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    with served(upstream, path, Recorder(True, redactor("tests.gateway.test_records:hide"))) as gate:
        done = gate.client().chat.completions.create(model="mixed", messages=ASK)
        trace_id = done.model_extra["routing"]["trace_id"]  # type: ignore[index]
        record = gate.record(trace_id)
        said = {"trace_id": trace_id, "score": 0.5, "comment": f"No, {SECRET}"}
        assert posted(gate.url + "/v1/feedback", said)[0] == 200
        ((judged, feedback),) = asyncio.run(gate.service.store.judged())
    assert record.query == "[hidden]\n\nIs it true that [hidden]?"
    assert "[hidden]" in record.response
    assert feedback.comment == "No, [hidden]"
    assert judged == record
    assert SECRET not in everything(path)


def test_a_hook_that_fails_keeps_nothing(upstream: Upstream, tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "kept.sqlite"
    with served(upstream, path, Recorder(True, redactor("tests.gateway.test_records:fail"))) as gate:
        assert gate.client().chat.completions.create(model="echo", messages=ASK).choices
        assert eventually(lambda: gate.service.metrics.in_flight._value.get() == 0) is True
    assert SECRET not in everything(path) + caplog.text


@pytest.mark.parametrize("name", ["nowhere:f", "json:nothing", "json", ":f", "json:__name__"])
def test_a_hook_that_can_not_be_used_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.redact"):
        redactor(name)


FEEDBACK = [
    b"{",
    [],
    {},
    {"trace_id": "0" * 32},
    {"trace_id": "0" * 32, "score": 2},
    {"trace_id": "0" * 32, "score": "good"},
    {"trace_id": "../x", "score": 1},
    {"trace_id": "0" * 32, "score": 1, "colour": "red"},
    {"trace_id": "0" * 32, "score": 1, "name": "x" * 65},
]


def test_feedback_that_is_none_is_refused(upstream: Upstream, tmp_path: Path) -> None:
    with served(upstream, tmp_path / "kept.sqlite", Recorder()) as gate:
        for body in FEEDBACK:
            status, said = posted(gate.url + "/v1/feedback", body)
            assert (status, said["error"]["type"]) == (400, "invalid_request_error"), body
        assert posted(gate.url + "/v1/feedback", {"trace_id": "0" * 32, "score": 1})[0] == 404
        assert posted(gate.url + "/v1/feedback", b"x" * 70000)[0] == 413


def test_a_store_in_trouble_stops_no_request(upstream: Upstream, tmp_path: Path) -> None:
    import urllib.request

    path = tmp_path / "kept.sqlite"
    with served(upstream, path, Recorder()) as gate:
        with sqlite3.connect(path) as db:
            db.execute("drop table decisions")
        done = gate.client().chat.completions.create(model="echo", messages=ASK)
        trace_id = done.model_extra["routing"]["trace_id"]  # type: ignore[index]
        eventually(lambda: gate.service.store.lost == 1)
        status, said = posted(gate.url + "/v1/feedback", {"trace_id": trace_id, "score": 1})
        assert (status, said["error"]["code"]) == (503, "store_error")
        assert json.load(urllib.request.urlopen(gate.url + "/readyz"))["store"] == "in trouble"
        metrics = urllib.request.urlopen(gate.url + "/metrics").read().decode()
        assert "routewright_records_lost 1.0" in metrics
