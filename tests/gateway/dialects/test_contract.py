"""What every dialect does: the cases are the table's. Bytes that are no request are a `Fault` of status 400, never more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routewright.gateway.asked import Asked, Routing
from routewright.gateway.dialects.base import Dialect, Frames
from routewright.gateway.dialects.table import DIALECTS
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served
from routewright.pools.providers.base import Delta
from routewright.types import Call, Decision, Episode, Query, Reply, Step, Usage
from tests.gateway.dialects.streams import events, routing_of, text_of

NAMES = list(DIALECTS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "model",
    "messages",
    "stream",
    "stream_options",
    "n",
    "max_tokens",
    "temperature",
    "routing",
    "tools",
    "input",
)


def dialect(name: str) -> Dialect:
    return DIALECTS.load(name)()


def served(text: str = "one two") -> Served:
    reply = Reply(text, "small", Usage(3, 2), 1e-5, 0.1)
    step = Step(Decision(Call("small"), ("small",), 1.0), reply)
    episode = Episode(Query("hi"), (step,), text, None, 1e-5, 0.1, 0.01, chosen=0, trace_id="0" * 32)
    return Served(Asked("auto", Query("hi"), Routing()), "auto", "single", episode)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(body=st.binary(max_size=64) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_bytes_that_are_no_request_are_refused(name: str, body: bytes) -> None:
    with pytest.raises(Fault) as caught:
        dialect(name).read(body, {})
    assert caught.value.status == 400


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(fields=st.dictionaries(st.sampled_from(FIELDS), VALUES), message=VALUES)
def test_any_object_is_a_request_or_a_fault(name: str, fields: dict[str, Any], message: Any) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}, message], **fields}
    refused: Fault | None = None
    try:
        asked = dialect(name).read(json.dumps(body).encode(), {})
    except Fault as fault:
        refused = fault
    if refused is not None:
        assert refused.status == 400
        assert json.loads(dialect(name).error(refused))
    else:
        assert asked.model
        assert asked.needs is not None


@pytest.mark.parametrize("name", NAMES)
def test_errors_and_answers_are_json(name: str) -> None:
    one = dialect(name)
    assert one.path.startswith("/v1/")
    assert "no such thing" in json.dumps(json.loads(one.error(Fault(404, "no such thing"))))
    body = json.loads(one.whole(served()))
    assert "one two" in json.dumps(body)
    assert body["routing"]["trace_id"] == "0" * 32


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(pieces=st.lists(st.text(max_size=12), max_size=6), streamed=st.integers(0, 6))
def test_a_stream_holds_the_whole_answer_however_much_of_it_was_streamed(
    name: str, pieces: list[str], streamed: int
) -> None:
    one = served("".join(pieces))
    frames = dialect(name).frames(one.asked, "0" * 32)
    assert not frames.began
    data = b"".join(frames.delta(Delta(piece)) for piece in pieces[:streamed])
    assert frames.began == bool(pieces[:streamed])
    data += Frames.comment("a line\nof two") + frames.end(one)
    assert text_of(events(data)) == "".join(pieces)
    assert routing_of(events(data))["trace_id"] == "0" * 32


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_in_a_stream_is_an_event(name: str) -> None:
    frames = dialect(name).frames(served().asked, "0" * 32)
    frames.delta(Delta("one"))
    assert "it broke" in str(events(frames.fault(Fault(502, "it broke"))))


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_is_not_what_was_streamed_is_a_defect(name: str) -> None:
    frames = dialect(name).frames(served().asked, "0" * 32)
    frames.delta(Delta("three"))
    with pytest.raises(Fault, match="not what was streamed"):
        frames.end(served())
