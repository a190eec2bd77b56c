"""Streams of blocks, event by event: what is opened is closed before the next, and nothing comes out of turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from routewright.gateway.dialects.base import Frames
from routewright.gateway.dialects.table import DIALECTS
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served
from routewright.pools.providers.base import Delta
from tests.gateway.dialects.streams import calls_of, events
from tests.gateway.dialects.test_contract import served

BLOCKS = ["responses", "messages"]


def called(text: str, *calls: tuple[str, str], finish: str = "tool_calls", **more: Any) -> Served:
    """An answer with calls of tools: (id, arguments)."""
    made = [{"id": c, "type": "function", "function": {"name": "f", "arguments": a}} for c, a in calls]
    one = served(text)
    (step,) = one.episode.steps
    assert step.reply is not None
    message = {"role": "assistant", "content": text or None, **({"tool_calls": made} if made else {}), **more}
    reply = replace(step.reply, message=message, finish=finish)
    return replace(one, episode=replace(one.episode, steps=(replace(step, reply=reply),)))


def call(index: int | None, call_id: str = "", arguments: str = "", name: str = "") -> Delta:
    part: dict[str, Any] = {"index": index, "id": call_id or None, "function": {"name": name, "arguments": arguments}}
    return Delta("", {"tool_calls": [{k: v for k, v in part.items() if v is not None}]})


def frames(name: str) -> Frames:
    return DIALECTS.load(name)().frames(served().asked, "0" * 32)


def test_the_events_of_messages() -> None:
    one = frames("messages")
    data = (
        one.delta(Delta("Let me"))
        + one.delta(Delta(" see."))
        + one.delta(call(0, "a", "", "f"))
        + one.delta(call(0, "", "{}"))
    )
    found = events(data + one.end(called("Let me see.", ("a", "{}"), ("b", "{}"))))
    assert [(e["type"], e.get("index")) for e in found] == [
        ("message_start", None),
        ("ping", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert found[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert found[-2]["usage"]["output_tokens"] == 2


def test_the_events_of_responses() -> None:
    one = frames("responses")
    data = one.delta(Delta("Let me see.")) + one.delta(call(0, "a", "", "f")) + one.delta(call(0, "", "{}"))
    found = events(data + one.end(called("Let me see.", ("a", "{}"))))
    assert [(e["type"].removeprefix("response."), e.get("output_index")) for e in found] == [
        ("created", None),
        ("in_progress", None),
        ("output_item.added", 0),
        ("content_part.added", 0),
        ("output_text.delta", 0),
        ("output_text.done", 0),
        ("content_part.done", 0),
        ("output_item.done", 0),
        ("output_item.added", 1),
        ("function_call_arguments.delta", 1),
        ("function_call_arguments.done", 1),
        ("output_item.done", 1),
        ("completed", None),
    ]
    assert [e["sequence_number"] for e in found] == list(range(len(found)))
    assert found[-1]["response"]["output"] == [e["item"] for e in found if e["type"] == "response.output_item.done"]


def test_a_refusal_and_a_cut() -> None:
    found = events(frames("responses").end(called("", finish="content_filter", refusal="No.")))
    kinds = [e["type"].removeprefix("response.") for e in found]
    assert kinds[4:7] == ["refusal.delta", "refusal.done", "content_part.done"]
    assert (kinds[-1], found[-1]["response"]["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    found = events(frames("responses").end(called("one", finish="length")))
    assert found[-1]["response"]["output"][0]["status"] == "incomplete"


def test_a_fault_before_anything_begins_as_any_stream_does() -> None:
    """Comments may have been sent by then, and clients want to hear of a response before they hear that it failed."""
    found = events(frames("responses").fault(Fault(502, "it broke")))
    assert [e["type"] for e in found] == ["response.created", "response.in_progress", "response.failed", "error"]


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("told", [("a", '{"x":1}'), ("a", "")])
def test_a_call_that_is_not_what_was_streamed_is_a_defect(name: str, told: tuple[str, str]) -> None:
    one = frames(name)
    one.delta(call(0, "a", '{"x":2}', "f"))
    with pytest.raises(Fault, match="not what was streamed"):
        one.end(called("", told))


@pytest.mark.parametrize("name", BLOCKS)
def test_calls_that_an_upstream_does_not_number_or_name(name: str) -> None:
    """A new id is a new call where there are no numbers; numbers may begin anywhere; an id is made up where there is none."""
    one = frames(name)
    data = b"".join(one.delta(d) for d in (call(None, "a", "", "f"), call(None, "", "1"), call(None, "b", "2", "f")))
    assert calls_of(events(data + one.end(called("", ("a", "1"), ("b", "2"))))) == [("a", "f", "1"), ("b", "f", "2")]
    one = frames(name)
    data = b"".join(
        one.delta(d) for d in (call(3, "", "", "f"), call(3, "", "1"), call(7, "", "2", "f"), call(7, "", "2"))
    )
    (first, second) = calls_of(events(data + one.end(called("", ("", "1"), ("", "22")))))
    assert (first[1:], second[1:]) == (("f", "1"), ("f", "22"))
    assert first[0] != second[0]
    whole = DIALECTS.load(name)().whole(called("", ("", "{}"), ("", "{}"))).decode()
    assert first[0] in whole, "and it is the same in a whole answer"
    assert second[0] in whole
