"""A request of the Responses API as it is declared, and its translation to the chat form that the house speaks.

Not here: the answer (`responses.py`, `responses_frames.py`). What is declared is what is served; anything else is refused.

Nothing is kept between requests: `previous_response_id`, `conversation`, stored prompts and `background` are refused, and so
are tools that a server would run. Passed over, because the answer is a right one without it: reasoning of earlier turns,
`store`, `include` of encrypted reasoning, ids and states of items, `max_tool_calls` (of tools that a server runs),
`stream_options`. `metadata` is answered and not sent on. Everything else is translated:

    instructions, roles system and developer    ->  messages of the role system
    input_text, output_text, input_image        ->  text and image_url
    function_call                               ->  tool_calls of a message of the assistant, neighbours together
    function_call_output                        ->  a message of the role tool
    text.format, text.verbosity, tools, tool_choice, max_output_tokens, reasoning.effort  ->  the chat API's own

Source: the OpenAI API reference, `POST /responses`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

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
    converted,
    not_too_many,
)
from routewright.gateway.faults import Fault, bad

EXPECTED = (
    "Served are items message, function_call, function_call_output and reasoning, parts input_text, output_text and "
    "input_image, and tools of the type function."
)


class InputText(Typed, frozen=True, tag_field="type", tag="input_text"):
    text: str


class OutputText(Typed, frozen=True, tag_field="type", tag="output_text"):
    text: str
    annotations: Any = None
    logprobs: Any = None


class Refusal(Typed, frozen=True, tag_field="type", tag="refusal"):
    refusal: str


class InputImage(Typed, frozen=True, tag_field="type", tag="input_image"):
    image_url: str
    detail: Literal["low", "high", "auto"] | None = None
    file_id: None = None


class Message(Typed, frozen=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputText | OutputText | Refusal | InputImage]
    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCall(Typed, frozen=True):
    call_id: Name
    name: Name
    arguments: str
    type: Literal["function_call"]
    id: str | None = None
    status: str | None = None
    namespace: None = None
    caller: Any = None


class FunctionCallOutput(Typed, frozen=True):
    call_id: Name
    output: str | list[InputText | InputImage]
    type: Literal["function_call_output"]
    id: str | None = None
    status: str | None = None
    name: str | None = None
    namespace: None = None
    caller: Any = None


class Reasoning(Typed, frozen=True):
    type: Literal["reasoning"]
    id: str | None = None
    summary: Any = None
    content: Any = None
    encrypted_content: Any = None
    status: str | None = None


KEPT = ("previous_response_id", "conversation", "prompt")  # fields that name something kept, which nothing is

Item: TypeAlias = Message | FunctionCall | FunctionCallOutput | Reasoning
_ITEMS: dict[Any, type[Item]] = {
    "message": Message,
    "function_call": FunctionCall,
    "function_call_output": FunctionCallOutput,
    "reasoning": Reasoning,
}


class Function(Typed, frozen=True):
    type: Literal["function"]
    name: Name
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ChooseFunction(Typed, frozen=True):
    type: Literal["function"]
    name: Name


class FormatText(Typed, frozen=True, tag_field="type", tag="text"):
    pass


class FormatJson(Typed, frozen=True, tag_field="type", tag="json_object"):
    pass


class FormatSchema(Typed, frozen=True, tag_field="type", tag="json_schema"):
    name: Name
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Typed, frozen=True):
    format: FormatText | FormatJson | FormatSchema | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Typed, frozen=True):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: None = None
    generate_summary: None = None


class StreamOptions(Typed, frozen=True):
    include_obfuscation: bool | None = None


class ResponsesRequest(Typed, frozen=True):
    """The body of `POST /v1/responses`. Items are declared above, and read one by one."""

    model: Name
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Function] | None = None
    tool_choice: Literal["auto", "none", "required"] | ChooseFunction | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Count | None = None
    text: TextConfig | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    reasoning: ReasoningConfig | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    background: bool | None = None
    include: list[Literal["reasoning.encrypted_content"]] | None = None
    truncation: Literal["disabled"] | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    top_logprobs: Literal[0] | None = None
    context_management: None = None
    moderation: None = None
    prompt_cache_options: None = None
    prompt_cache_retention: None = None
    routing: Any = None


def stateless(given: ResponsesRequest) -> None:
    """Refuse what would need something kept."""
    for name in KEPT:
        if getattr(given, name) is not None:
            raise _kept(f"{name} names something that is kept, and nothing is kept here. Send the whole input.", name)
    if given.background:
        raise _kept(
            "background = true is not served here: an answer comes with its request. Leave it out.", "background"
        )


def _kept(said: str, name: str) -> Fault:
    return bad(said, name, "unsupported")


def conversation(given: ResponsesRequest, most: int) -> tuple[dict[str, Any], ...]:
    """The messages in the chat form."""
    out: list[dict[str, Any]] = []
    if given.instructions:
        out.append({"role": "system", "content": given.instructions})
    if isinstance(given.input, str):
        return (*out, {"role": "user", "content": given.input})
    not_too_many(given.input, most, "input")
    for i, raw in enumerate(given.input):
        _add(out, _item(raw, f"input[{i}]"), f"input[{i}]")
    if not out:
        raise bad("input holds nothing but reasoning. Expected a message, or the output of a function.", "input")
    return tuple(out)


def _item(raw: dict[str, Any], where: str) -> Item:
    kind = raw.get("type", "message")
    declared = _ITEMS.get(kind) if isinstance(kind, str) else None
    if declared is None:
        shown = repr(kind[:40]) if isinstance(kind, str) else "no text"
        raise bad(f"{where}.type is {shown}, which is not served here. {EXPECTED}", f"{where}.type")
    return converted(raw, declared, where, EXPECTED)


def _add(out: list[dict[str, Any]], item: Item, where: str) -> None:
    if isinstance(item, Message):
        role = "system" if item.role == "developer" else item.role
        out.append({"role": role, "content": _content(item, where)})
    elif isinstance(item, FunctionCall):
        if not out or out[-1]["role"] != "assistant":
            out.append({"role": "assistant", "content": None})
        out[-1].setdefault("tool_calls", []).append(as_call(item.call_id, item.name, item.arguments))
    elif isinstance(item, FunctionCallOutput):
        parts = item.output if isinstance(item.output, str) else as_content([_part(part) for part in item.output])
        out.append({"role": "tool", "tool_call_id": item.call_id, "content": parts})


def _content(item: Message, where: str) -> Any:
    if isinstance(item.content, str):
        return item.content
    parts = [_part(part) for part in item.content]
    if item.role != "assistant":
        return as_content(parts)
    if any(part["type"] != "text" for part in parts):
        raise bad(f"{where} is the assistant's and holds an image. Expected text.", where)
    return "".join(part["text"] for part in parts)


def _part(part: InputText | OutputText | Refusal | InputImage) -> dict[str, Any]:
    if isinstance(part, InputImage):
        return as_image(part.image_url, part.detail)
    return {"type": "text", "text": part.refusal if isinstance(part, Refusal) else part.text}


def options(given: ResponsesRequest) -> dict[str, Any]:
    """The fields of the chat API that the request amounts to."""
    told: dict[str, Any] = {
        "tools": [as_function(t.name, t.description, t.parameters, t.strict) for t in given.tools or ()] or None,
        "tool_choice": _choice(given),
        "parallel_tool_calls": given.parallel_tool_calls if given.tools else None,
        "max_tokens": given.max_output_tokens,
        "temperature": given.temperature,
        "top_p": given.top_p,
        "reasoning_effort": given.reasoning.effort if given.reasoning is not None else None,
        "service_tier": None if given.service_tier == "auto" else given.service_tier,
        "user": given.user,
        "safety_identifier": given.safety_identifier,
        "prompt_cache_key": given.prompt_cache_key,
        **_format(given.text),
    }
    return {name: value for name, value in told.items() if value is not None}


def _choice(given: ResponsesRequest) -> Any:
    choice = given.tool_choice
    if isinstance(choice, ChooseFunction):
        if choice.name not in [tool.name for tool in given.tools or ()]:
            raise bad("tool_choice names a function that is not among tools.", "tool_choice")
        return {"type": "function", "function": {"name": choice.name}}
    if not given.tools:
        if choice == "required":
            raise bad("tool_choice = 'required' has no tools to choose from. Expected tools beside it.", "tool_choice")
        return None
    return choice


def _format(text: TextConfig | None) -> dict[str, Any]:
    if text is None:
        return {}
    wanted = text.format
    told: dict[str, Any] = {"verbosity": text.verbosity}
    if isinstance(wanted, FormatJson):
        told["response_format"] = {"type": "json_object"}
    elif isinstance(wanted, FormatSchema):
        told["response_format"] = as_schema(wanted.name, wanted.schema, wanted.strict, wanted.description)
    return told


def echoed(given: ResponsesRequest) -> dict[str, Any]:
    """What an answer repeats of its request."""
    built = msgspec.to_builtins
    return {
        "instructions": given.instructions,
        "max_output_tokens": given.max_output_tokens,
        "metadata": given.metadata or {},
        "parallel_tool_calls": given.parallel_tool_calls is not False,
        "reasoning": {"effort": given.reasoning.effort if given.reasoning is not None else None, "summary": None},
        "temperature": given.temperature,
        "text": {"format": {"type": "text"}, **(_told(given.text) if given.text is not None else {})},
        "tool_choice": built(given.tool_choice) if given.tool_choice is not None else "auto",
        "tools": [built(tool) for tool in given.tools or ()],
        "top_p": given.top_p,
        "user": given.user,
    }


def _told(text: TextConfig) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(text).items() if value is not None}
