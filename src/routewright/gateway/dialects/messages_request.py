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

from typing import Any, Literal, TypeAlias

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


Block: TypeAlias = Text | Image | ToolUse | ToolResult | Thinking | RedactedThinking


class Turn(Typed, frozen=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


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
    messages: list[Turn]
    system: str | list[Text] | None = None
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
    routing: Any = None


def conversation(given: CountRequest, most: int) -> tuple[dict[str, Any], ...]:
    """The messages in the chat form."""
    not_too_many(given.messages, most, "messages")
    out: list[dict[str, Any]] = []
    if given.system:
        system = given.system if isinstance(given.system, str) else "\n\n".join(part.text for part in given.system)
        out.append({"role": "system", "content": system})
    for i, turn in enumerate(given.messages):
        if isinstance(turn.content, str):
            out.append({"role": turn.role, "content": turn.content})
        elif turn.role == "assistant":
            out.append(_assistant(turn.content, f"messages[{i}]"))
        else:
            out += _user(turn.role, turn.content, f"messages[{i}]")
    return tuple(out)


def _assistant(blocks: list[Block], where: str) -> dict[str, Any]:
    text, calls = [], []
    for block in blocks:
        if isinstance(block, Text):
            text.append(block.text)
        elif isinstance(block, ToolUse):
            calls.append(as_call(block.id, block.name, msgspec.json.encode(block.input).decode()))
        elif isinstance(block, (Image, ToolResult)):
            raise bad(
                f"{where} is the assistant's and holds an image or a tool result. Expected text and calls.", where
            )
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text)}
    if calls:
        message.update(content="".join(text) or None, tool_calls=calls)
    return message


def _user(role: str, blocks: list[Block], where: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for block in blocks:
        if isinstance(block, (Text, Image)):
            parts.append(_part(block))
        elif isinstance(block, ToolResult) and role == "user":
            results.append(_result(block))
        else:
            raise bad(f"{where} is of the role {role} and holds a {_tag(block)} block, which is the other's.", where)
    if parts or not results:
        results.append({"role": role, "content": as_content(parts)})
    return results


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


def _tag(block: Block) -> str:
    return str(block.__struct_config__.tag)


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
    if choice is None:
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
