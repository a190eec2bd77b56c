"""A request of the Messages API as it is declared, and its translation to the chat form that the house speaks.

Not here: the answer (`messages.py`, `messages_frames.py`). What is declared is what is served; anything else is refused.

Passed over, because the answer is a right one without it: `cache_control`, thinking of earlier turns, `thinking` that is
disabled or adaptive, `service_tier`, `citations` of earlier answers. Everything else is translated:

    system, messages of the role system   ->  messages of the role system
    image                                 ->  image_url; base64 as a data URL
    tool_use                              ->  tool_calls of a message of the assistant
    tool_result                           ->  a message of the role tool, before the rest of its turn; of an error "Error: " first
    tools, tool_choice, disable_parallel_tool_use, stop_sequences, metadata.user_id, output_config  ->  the chat API's own

Source: the Claude API reference, `POST /v1/messages`, version 2023-06-01.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from routewright.gateway.dialects.reading import (
    Count,
    Name,
    Share,
    Typed,
    as_call,
    as_content,
    as_function,
    as_image,
    as_schema,
    not_too_many,
)
from routewright.gateway.faults import bad


class Text(Typed, frozen=True, tag_field="type", tag="text"):
    text: str
    cache_control: Any = None
    citations: Any = None


class Base64(Typed, frozen=True, tag_field="type", tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class Link(Typed, frozen=True, tag_field="type", tag="url"):
    url: str


class Image(Typed, frozen=True, tag_field="type", tag="image"):
    source: Base64 | Link
    cache_control: Any = None


class ToolUse(Typed, frozen=True, tag_field="type", tag="tool_use"):
    id: Name
    name: Name
    input: dict[str, Any]
    cache_control: Any = None
    caller: Any = None
    toolset_name: None = None


class ToolResult(Typed, frozen=True, tag_field="type", tag="tool_result"):
    tool_use_id: Name
    content: str | list[Text | Image] | None = None
    is_error: bool | None = None
    cache_control: Any = None
    toolset_name: None = None


class Thinking(Typed, frozen=True, tag_field="type", tag="thinking"):
    thinking: str
    signature: str = ""


class RedactedThinking(Typed, frozen=True, tag_field="type", tag="redacted_thinking"):
    data: str


class PlainText(Typed, frozen=True):
    type: Literal["text"]
    text: str
    cache_control: Any = None
    citations: Any = None


class UserTurn(Typed, frozen=True, tag_field="role", tag="user"):
    content: str | list[Text | Image | ToolResult]


class AssistantTurn(Typed, frozen=True, tag_field="role", tag="assistant"):
    content: str | list[Text | ToolUse | Thinking | RedactedThinking]


class SystemTurn(Typed, frozen=True, tag_field="role", tag="system"):
    content: str | list[PlainText]


class Tool(Typed, frozen=True):
    name: Name
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: Any = None
    eager_input_streaming: bool | None = None


class ChooseAuto(Typed, frozen=True, tag_field="type", tag="auto"):
    disable_parallel_tool_use: bool | None = None


class ChooseAny(Typed, frozen=True, tag_field="type", tag="any"):
    disable_parallel_tool_use: bool | None = None


class ChooseTool(Typed, frozen=True, tag_field="type", tag="tool"):
    name: Name
    disable_parallel_tool_use: bool | None = None


class ChooseNone(Typed, frozen=True, tag_field="type", tag="none"):
    pass


class ThinkingDisabled(Typed, frozen=True, tag_field="type", tag="disabled"):
    pass


class ThinkingAdaptive(Typed, frozen=True, tag_field="type", tag="adaptive"):
    display: Any = None


class JsonSchema(Typed, frozen=True):
    schema: dict[str, Any]
    type: Literal["json_schema"]


class OutputConfig(Typed, frozen=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonSchema | None = None


class Metadata(Typed, frozen=True):
    user_id: str | None = None


class CountRequest(Typed, frozen=True):
    """The body of `POST /v1/messages/count_tokens`."""

    model: Name
    messages: list[UserTurn | AssistantTurn | SystemTurn]
    system: str | list[PlainText] | None = None
    tools: list[Tool] | None = None
    tool_choice: ChooseAuto | ChooseAny | ChooseTool | ChooseNone | None = None
    thinking: ThinkingDisabled | ThinkingAdaptive | None = None
    output_config: OutputConfig | None = None
    cache_control: Any = None


class MessagesRequest(CountRequest, frozen=True, kw_only=True):
    """The body of `POST /v1/messages`."""

    max_tokens: Count
    stream: bool | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    stop_sequences: list[str] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard"] | None = None
    container: None = None
    context_management: None = None
    diagnostics: None = None
    inference_geo: None = None
    mcp_servers: None = None
    routing: Any = None


def conversation(given: CountRequest, most: int) -> tuple[dict[str, Any], ...]:
    """The messages in the chat form."""
    not_too_many(given.messages, most, "messages")
    out: list[dict[str, Any]] = []
    if given.system:
        out.append({"role": "system", "content": _joined(given.system)})
    for turn in given.messages:
        if isinstance(turn, UserTurn):
            out += _user(turn)
        elif isinstance(turn, AssistantTurn):
            out.append(_assistant(turn))
        else:
            out.append({"role": "system", "content": _joined(turn.content)})
    return tuple(out)


def _joined(content: str | list[PlainText]) -> str:
    return content if isinstance(content, str) else "\n\n".join(part.text for part in content)


def _assistant(turn: AssistantTurn) -> dict[str, Any]:
    if isinstance(turn.content, str):
        return {"role": "assistant", "content": turn.content}
    text = "".join(block.text for block in turn.content if isinstance(block, Text))
    used = [block for block in turn.content if isinstance(block, ToolUse)]
    if not used:
        return {"role": "assistant", "content": text}
    calls = [as_call(block.id, block.name, msgspec.json.encode(block.input).decode()) for block in used]
    return {"role": "assistant", "content": text or None, "tool_calls": calls}


def _user(turn: UserTurn) -> list[dict[str, Any]]:
    if isinstance(turn.content, str):
        return [{"role": "user", "content": turn.content}]
    out = [_result(block) for block in turn.content if isinstance(block, ToolResult)]
    parts = [_part(block) for block in turn.content if not isinstance(block, ToolResult)]
    if parts or not out:
        out.append({"role": "user", "content": as_content(parts)})
    return out


def _part(block: Text | Image) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    source = block.source
    return as_image(source.url if isinstance(source, Link) else f"data:{source.media_type};base64,{source.data}")


def _result(block: ToolResult) -> dict[str, Any]:
    given = block.content
    parts = [{"type": "text", "text": given}] if isinstance(given, str) else [_part(part) for part in given or ()]
    if block.is_error:  # the chat API has no field for it
        parts.insert(0, {"type": "text", "text": "Error: "})
        if len(parts) == 2 and parts[1]["type"] == "text":
            parts = [{"type": "text", "text": "Error: " + parts[1]["text"]}]
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": as_content(parts)}


def options(given: CountRequest) -> dict[str, Any]:
    """The fields of the chat API that the request amounts to."""
    told: dict[str, Any] = {}
    if given.tools:
        told["tools"] = [as_function(t.name, t.description, t.input_schema, t.strict) for t in given.tools]
    told.update(_choice(given))
    config = given.output_config
    if config is not None and config.format is not None:
        told["response_format"] = as_schema("answer", config.format.schema, strict=True)
    if config is not None:
        told["reasoning_effort"] = config.effort
    if isinstance(given, MessagesRequest):
        told.update(max_tokens=given.max_tokens, temperature=given.temperature, top_p=given.top_p, top_k=given.top_k)
        told["stop"] = given.stop_sequences or None
        told["user"] = given.metadata.user_id if given.metadata is not None else None
    return {name: value for name, value in told.items() if value is not None}


def _choice(given: CountRequest) -> dict[str, Any]:
    choice = given.tool_choice
    if choice is None or (not given.tools and isinstance(choice, (ChooseAuto, ChooseNone))):
        return {}
    if not given.tools:
        raise bad("tool_choice has no tools to choose from. Expected tools beside it.", "tool_choice")
    if isinstance(choice, ChooseNone):
        return {"tool_choice": "none"}
    told: dict[str, Any] = {"tool_choice": "required" if isinstance(choice, ChooseAny) else "auto"}
    if isinstance(choice, ChooseTool):
        told["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    if choice.disable_parallel_tool_use:
        told["parallel_tool_calls"] = False
    return told
