"""What the dialects beside chat make of a request: translated, passed over on purpose, or refused with the field's name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routewright.gateway.asked import Asked
from routewright.gateway.dialects.table import DIALECTS
from routewright.gateway.faults import Fault
from routewright.pools.providers.anthropic_wire import body_of
from routewright.pools.providers.base import Ask

ASK = [{"role": "user", "content": "hi"}]
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def read(name: str, **given: Any) -> Asked:
    body: dict[str, Any] = {"model": "auto"}
    body.update({"messages": ASK, "max_tokens": 9} if name == "messages" else {"input": "hi"})
    sent = {key: value for key, value in {**body, **given}.items() if value != "left out"}
    return DIALECTS.load(name)().read(json.dumps(sent).encode(), {})


def turn(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("messages", {"max_tokens": "left out"}, "max_tokens"),
    ("messages", {"max_tokens": 0}, "max_tokens"),
    ("messages", {"temperature": 1.5}, "temperature"),
    ("messages", {"messages": []}, "messages"),
    ("messages", {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ("messages", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
    ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ("messages", {"tools": [{**TOOL, "type": "bash_20250124"}]}, "tools[0].type"),
    ("messages", {"tools": [{**TOOL, "input_examples": [{}]}]}, "tools[0]"),
    ("messages", {"tool_choice": {"type": "any"}}, "tool_choice"),
    ("messages", {"mcp_servers": []}, "mcp_servers"),
    ("messages", {"container": "c"}, "container"),
    ("messages", {"inference_geo": "eu"}, "inference_geo"),
    ("messages", {"n": 2}, ""),
    (
        "messages",
        turn({"type": "document", "source": {"type": "text", "data": "x"}}),
        "messages[0].content[0].type",
    ),
    ("messages", turn({"type": "image", "source": {"type": "file", "file_id": "f"}}), "source.type"),
    ("messages", turn({"type": "server_tool_use", "id": "s", "name": "x", "input": {}}), "content[0].type"),
    ("messages", turn({"type": "tool_use", "id": "s", "name": "x", "input": {}}), "content[0].type"),
    ("messages", turn(PIXEL, role="assistant"), "content[0].type"),
    ("messages", {"system": [PIXEL]}, "system[0]"),
    ("responses", {"input": []}, "input"),
    ("responses", {"input": [{"type": "reasoning", "summary": []}]}, "input"),
    ("responses", {"input": [{"role": "user", "content": "hi", "tone": "warm"}]}, "input[0]"),
    ("responses", {"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    ("responses", {"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type"),
    ("responses", {"input": [{"type": 7}]}, "input[0].type"),
    (
        "responses",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        "input[0].content",
    ),
    (
        "responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content",
    ),
    ("responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("responses", {"conversation": {"id": "c"}}, "conversation"),
    ("responses", {"prompt": {"id": "p"}}, "prompt"),
    ("responses", {"background": True}, "background"),
    ("responses", {"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ("responses", {"tools": [{"type": "custom", "name": "f"}]}, "tools[0].type"),
    ("responses", {"tool_choice": "required"}, "tool_choice"),
    ("responses", {"tool_choice": {"type": "function", "name": "g"}, "tools": [FUNCTION]}, "tool_choice"),
    ("responses", {"truncation": "auto"}, "truncation"),
    ("responses", {"include": ["message.output_text.logprobs"]}, "include[0]"),
    ("responses", {"reasoning": {"effort": "low", "summary": "auto"}}, "reasoning.summary"),
    ("responses", {"max_output_tokens": 0}, "max_output_tokens"),
    ("responses", {"top_logprobs": 3}, "top_logprobs"),
    ("responses", {"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
    ("responses", {"messages": ASK}, ""),
]


@pytest.mark.parametrize(("name", "given", "field"), REFUSED, ids=lambda x: str(x)[:60])
def test_what_can_not_be_honoured_is_refused(name: str, given: dict[str, Any], field: str) -> None:
    with pytest.raises(Fault) as caught:
        read(name, **given)
    assert caught.value.status == 400
    assert field in (caught.value.param or "")
    if not field:
        assert "unknown field" in caught.value.message
    assert len(caught.value.message) < 400


PASSED_OVER: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"thinking": {"type": "disabled"}}),
    ("messages", {"thinking": {"type": "adaptive"}}),
    ("messages", {"cache_control": {"type": "ephemeral"}}),
    ("messages", {"service_tier": "auto"}),
    ("messages", {"metadata": {}}),
    ("messages", {"container": None, "mcp_servers": None, "speed": "standard"}),
    ("responses", {"top_logprobs": 0, "moderation": None}),
    ("responses", {"store": True}),
    ("responses", {"background": False}),
    ("responses", {"include": ["reasoning.encrypted_content"]}),
    ("responses", {"truncation": "disabled"}),
    ("responses", {"metadata": {"a": "b"}}),
    ("responses", {"service_tier": "auto"}),
    ("responses", {"text": {"format": {"type": "text"}}}),
    ("responses", {"parallel_tool_calls": False}),
    ("responses", {"tool_choice": "auto"}),
]


@pytest.mark.parametrize(("name", "given"), PASSED_OVER, ids=lambda x: str(x)[:60])
def test_what_changes_nothing_is_passed_over(name: str, given: dict[str, Any]) -> None:
    assert read(name, **given).query == read(name).query


OPTIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("messages", {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
    ("messages", {"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}),
    ("messages", {"metadata": {"user_id": "u"}}, {"user": "u"}),
    ("messages", {"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
    ("messages", {"tools": [TOOL], "tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
    ("messages", {"tools": [TOOL], "tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
    (
        "messages",
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"tool_choice": "auto", "parallel_tool_calls": False},
    ),
    (
        "responses",
        {"max_output_tokens": 7, "temperature": 2, "top_p": 1},
        {"max_tokens": 7, "temperature": 2, "top_p": 1},
    ),
    ("responses", {"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
    ("responses", {"text": {"verbosity": "low"}}, {"verbosity": "low"}),
    ("responses", {"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    ("responses", {"user": "u", "service_tier": "flex"}, {"user": "u", "service_tier": "flex"}),
    ("responses", {"tools": [FUNCTION], "tool_choice": "required"}, {"tool_choice": "required"}),
]


@pytest.mark.parametrize(("name", "given", "expected"), OPTIONS, ids=lambda x: str(x)[:60])
def test_options_become_the_chat_apis_own(name: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    options = dict(read(name, **given).query.options)
    if "max_tokens" not in expected:
        options.pop("max_tokens", None)
    if tools := options.pop("tools", None):
        assert tools == [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert options == expected


def test_results_of_tools_with_blocks_and_errors() -> None:
    text = {"type": "text", "text": "It rains."}
    blocks: list[Any] = [
        {"type": "text", "text": "Here."},
        {"type": "tool_result", "tool_use_id": "a", "content": [text, PIXEL]},
        {"type": "tool_result", "tool_use_id": "b", "content": "no such city", "is_error": True},
        {"type": "tool_result", "tool_use_id": "c"},
        {"type": "tool_result", "tool_use_id": "d", "content": [PIXEL], "is_error": True},
    ]
    messages = read("messages", **turn(*blocks)).query.messages
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert [(m["role"], m.get("tool_call_id"), m["content"]) for m in messages] == [
        ("tool", "a", [text, image]),
        ("tool", "b", "Error: no such city"),
        ("tool", "c", ""),
        ("tool", "d", [{"type": "text", "text": "Error: "}, image]),
        ("user", None, "Here."),
    ]


def test_thinking_and_citations_of_earlier_turns_are_passed_over() -> None:
    blocks: list[Any] = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "Yes.", "citations": None},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 10**30}, "caller": {"type": "direct"}},
    ]
    (message,) = read("messages", **turn(*blocks, role="assistant")).query.messages
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": f'{{"a":{10**30}}}'}}
    assert message == {"role": "assistant", "content": "Yes.", "tool_calls": [call]}


def test_items_of_a_response_go_back_as_they_came() -> None:
    items: list[Any] = [
        {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"},
        {
            "type": "message",
            "id": "msg",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "Let me ", "annotations": []},
                {"type": "output_text", "text": "see.", "annotations": [], "logprobs": []},
            ],
        },
        {"type": "function_call", "id": "fc", "call_id": "a", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "one"}]},
        {"type": "function_call_output", "call_id": "b", "output": "two"},
        {"role": "developer", "content": [{"type": "input_text", "text": "Now."}]},
    ]
    messages = read("responses", input=items, instructions="Be brief.").query.messages
    assert [(m["role"], m["content"], len(m.get("tool_calls", ()))) for m in messages] == [
        ("system", "Be brief.", 0),
        ("assistant", "Let me see.", 2),
        ("tool", "one", 0),
        ("tool", "two", 0),
        ("system", "Now.", 0),
    ]


def test_a_message_that_is_refused_says_what_there_is() -> None:
    with pytest.raises(
        Fault, match=r"messages\[0\].content\[0\].type: Invalid value 'document' is not served"
    ) as caught:
        read("messages", **turn({"type": "document"}))
    assert "tool_result" in caught.value.message


def test_a_request_for_messages_reaches_an_upstream_of_messages_as_it_was() -> None:
    """There and back: through the chat form to the provider that speaks the same protocol."""
    request: dict[str, Any] = {
        "max_tokens": 9,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Where?"}, PIXEL]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": [1, None, "y"]}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "one"}, PIXEL]},
                    {"type": "tool_result", "tool_use_id": "b", "content": "two"},
                    {"type": "text", "text": "Well?"},
                ],
            },
        ],
        "tools": [{**TOOL, "description": "d"}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "metadata": {"user_id": "u"},
    }
    query = read("messages", **request).query
    ask = Ask("auto", query.messages, query.options["max_tokens"], query.options)
    assert body_of(ask, stream=False, greedy=False) == {"model": "auto", **request}
