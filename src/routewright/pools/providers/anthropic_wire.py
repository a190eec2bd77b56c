"""Between the OpenAI chat protocol, which the rest of the house speaks, and Anthropic's Messages API.

Not here: HTTP (`http.py`). Called by `anthropic.py`.

Requests: system messages become `system`; tool results become blocks of a user message, and neighbours of one role are
joined, as the API wants tool results together and first. `stop`, `tools`, `tool_choice`, `parallel_tool_calls`,
`temperature` (at most 1) and `user` are translated. `response_format` has no counterpart here: it becomes an
instruction at the end of `system`, which a model may disregard. Options without a counterpart (`DROPPED`) are left
out; any other goes through untouched (`thinking`, `top_k`, `top_p` ...). Parts other than text and images are refused.

Replies become OpenAI chunks and choices. Thinking comes as `reasoning_content` in deltas, and with its signature as
`thinking_blocks` in the message; a message that carries these is sent back with them.

Source: the Claude API reference, Messages and streaming Messages, version 2023-06-01.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from routewright.pools.providers.base import Ask
from routewright.pools.providers.wire import Choice, Chunk, Piece, Whole, is_count

DROPPED = frozenset(
    [
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "n",
        "seed",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "frequency_penalty",
        "presence_penalty",
        "store",
        "reasoning_effort",
        "verbosity",
        "prediction",
        "modalities",
        "audio",
        "web_search_options",
    ]
)
_TRANSLATED = frozenset(
    ["stop", "tools", "tool_choice", "parallel_tool_calls", "temperature", "response_format", "user"]
)
_FINISH = {"max_tokens": "length", "model_context_window_exceeded": "length", "tool_use": "tool_calls"}
_FINISH["refusal"] = "content_filter"
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
STATUS = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
}


class CannotTranslate(Exception):
    """Something in a request has no counterpart."""


def body_of(ask: Ask, stream: bool, greedy: bool) -> dict[str, Any]:
    """The request as it is sent; `CannotTranslate` says what can not be."""
    options = ask.options
    if (options.get("n") or 1) != 1:
        raise CannotTranslate(f"n = {options['n']!r}: one reply a call is all there is. Ask again instead")
    system, messages = _conversation(ask.messages)
    body = {key: value for key, value in options.items() if key not in DROPPED | _TRANSLATED}
    body.update(model=ask.model, messages=messages, max_tokens=ask.max_tokens)
    if wanted := _format(options.get("response_format")):
        system.append({"type": "text", "text": wanted})
    if system:
        plain = all(set(block) == {"type", "text"} for block in system)
        body["system"] = "\n\n".join(block["text"] for block in system) if plain else system
    if stop := ask.stop or options.get("stop"):
        body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if options.get("user") is not None:
        body["metadata"] = {"user_id": options["user"]}
    body.update(_tools(options))
    temperature = options.get("temperature")
    if temperature is not None:
        body["temperature"] = min(temperature, 1.0)
    elif not ask.sample and "temperature" in options:
        pass  # None: the upstream's own default
    elif greedy and body.get("top_p") is None and not body.get("thinking"):  # the API refuses it beside these
        body["temperature"] = 1.0 if ask.sample else 0.0
    if stream:
        body["stream"] = True
    return body


def _format(wanted: Any) -> str:
    if not isinstance(wanted, Mapping) or wanted.get("type") in (None, "text"):
        return ""
    said = "Answer with one JSON object and nothing else: no text around it, no code fence."
    schema = wanted.get("json_schema", {}).get("schema")
    return f"{said} It has to satisfy this JSON schema: {msgspec.json.encode(schema).decode()}" if schema else said


def _tools(options: Mapping[str, Any]) -> dict[str, Any]:
    if not options.get("tools"):
        return {}
    tools = []
    for tool in options["tools"]:
        function = tool.get("function")
        if not isinstance(function, Mapping):
            tools.append(tool)  # one of the API's own: through untouched
            continue
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        known = {"name": function.get("name"), "description": function.get("description"), "input_schema": schema}
        tools.append({key: value for key, value in known.items() if value is not None})
    choice = options.get("tool_choice")
    chosen: dict[str, Any] = {}
    if isinstance(choice, Mapping):
        chosen = {"type": "tool", "name": choice.get("function", choice).get("name")}
    elif choice is not None:
        if choice not in _CHOICES:
            raise CannotTranslate(f"tool_choice = {choice!r}: expected one of {', '.join(_CHOICES)}, or a function")
        chosen = {"type": _CHOICES[choice]}
    if options.get("parallel_tool_calls") is False and chosen.get("type") != "none":
        chosen = {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    return {"tools": tools, **({"tool_choice": chosen} if chosen else {})}


def _conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system's blocks, and the turns of user and assistant."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system += _blocks(message.get("content"))
            continue
        if role not in ("user", "assistant", "tool"):
            raise CannotTranslate(f"a message of the role {role!r}: expected system, user, assistant or tool")
        blocks = _result(message) if role == "tool" else _blocks(message.get("content"))
        if role == "assistant":
            calls = [_tool_use(call) for call in message.get("tool_calls") or ()]
            blocks = [*(message.get("thinking_blocks") or ()), *blocks, *calls]
        role = "assistant" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    for turn in turns:
        if len(turn["content"]) == 1 and set(turn["content"][0]) == {"type", "text"}:
            turn["content"] = turn["content"][0]["text"]
    return system, turns


def _blocks(content: Any) -> list[dict[str, Any]]:
    """A message's content as blocks. Empty texts are left out: the API refuses them."""
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [block for part in content if (block := _block(part)) is not None]


def _block(part: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = part.get("type")
    if kind == "text":
        return dict(part) if part.get("text") else None  # with cache_control, where someone set it
    if kind != "image_url":
        raise CannotTranslate(f"a part of the type {kind!r}: expected text or image_url")
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if not isinstance(url, str):
        raise CannotTranslate("an image without a URL")
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    head, comma, data = url.removeprefix("data:").partition(",")
    if not comma or not head.endswith(";base64"):
        raise CannotTranslate("an image whose data URL is not base64: expected data:image/...;base64,...")
    media = head.split(";")[0]
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def _result(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    block = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
    return [{**block, "content": content if isinstance(content, str) else _blocks(content)}]


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    try:
        given = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError):
        given = None
    if not isinstance(given, dict):
        raise CannotTranslate(f"a call of the tool {function.get('name')!r} whose arguments are no JSON object")
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given}


def usage_as_openai(usage: Any) -> dict[str, Any] | None:
    """Usage in the other form: `prompt_tokens` is the whole prompt, read from the cache, written to it, or neither."""
    if not isinstance(usage, Mapping):
        return None
    parts = [usage.get(f"{name}input_tokens") for name in ("", "cache_read_", "cache_creation_")]
    fresh, read, written = (0 if part is None and i else part for i, part in enumerate(parts))
    if not (is_count(fresh) and is_count(read) and is_count(written)):
        return None
    details = {"cached_tokens": read}
    out = usage.get("output_tokens")
    return {"prompt_tokens": fresh + read + written, "completion_tokens": out, "prompt_tokens_details": details}


def finish_as_openai(reason: Any) -> str | None:
    """The reason a reply ended, in the other protocol's words."""
    return None if reason is None else _FINISH.get(str(reason), "stop")


def whole_as_openai(reply: Mapping[str, Any]) -> Whole:
    """A whole reply. One without a list of content has no choice in it."""
    whole = Whole(model=reply.get("model"), usage=usage_as_openai(reply.get("usage")))
    content = reply.get("content")
    if not isinstance(content, list):
        return whole
    blocks = [block for block in content if isinstance(block, dict)]
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls := [block for block in blocks if block.get("type") == "tool_use"]:
        message["content"] = text or None
        message["tool_calls"] = [_call(block, msgspec.json.encode(block.get("input", {})).decode()) for block in calls]
    if thought := [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]:
        message["thinking_blocks"] = thought
    whole.choices = [Choice(message, finish_as_openai(reply.get("stop_reason")))]
    return whole


def _call(block: Mapping[str, Any], arguments: str, index: int | None = None) -> dict[str, Any]:
    function = {"name": block.get("name"), "arguments": arguments}
    call = {"id": block.get("id"), "type": "function", "function": function}
    return call if index is None else {"index": index, **call}


class Translator:
    """Turns the events of a stream into OpenAI chunks. `ended` says whether the last event came."""

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._calls: dict[Any, int] = {}  # a block's index -> its number among the tool calls
        self._empty: set[Any] = set()  # calls that have no arguments yet
        self._thoughts: dict[Any, dict[str, Any]] = {}
        self.ended = False

    def chunks(self, event: Mapping[str, Any]) -> Iterator[Chunk]:
        """The chunks that an event amounts to, mostly one."""
        kind, index = event.get("type"), event.get("index")
        if kind == "message_start":
            start = event.get("message") or {}
            self._usage = dict(start.get("usage") or {})
            yield Chunk([Piece({"role": "assistant"})], start.get("model"))
        elif kind == "content_block_start":
            yield from self._start(index, event.get("content_block") or {})
        elif kind == "content_block_delta":
            yield from self._delta(index, event.get("delta") or {})
        elif kind == "content_block_stop":
            if index in self._empty:
                yield Chunk([Piece({"tool_calls": [{"index": self._calls[index], "function": {"arguments": "{}"}}]})])
            if index in self._thoughts:
                yield Chunk([Piece({"thinking_blocks": [self._thoughts.pop(index)]})])
        elif kind == "message_delta":
            # Counts of the start are of a reply just begun; only these are of the whole.
            self._usage.update({k: v for k, v in (event.get("usage") or {}).items() if v is not None})
            finish = finish_as_openai((event.get("delta") or {}).get("stop_reason"))
            said = usage_as_openai(self._usage) if event.get("usage") else None
            yield Chunk([Piece({}, finish)], usage=said)
        elif kind == "message_stop":
            self.ended = True

    def _start(self, index: Any, block: Mapping[str, Any]) -> Iterator[Chunk]:
        if block.get("type") == "tool_use":
            self._calls[index] = len(self._calls)
            self._empty.add(index)
            yield Chunk([Piece({"tool_calls": [_call(block, "", self._calls[index])]})])
        elif block.get("type") in ("thinking", "redacted_thinking"):
            self._thoughts[index] = dict(block)
        elif block.get("text"):
            yield Chunk([Piece({"content": block["text"]})])

    def _delta(self, index: Any, delta: Mapping[str, Any]) -> Iterator[Chunk]:
        if (text := delta.get("text")) and delta.get("type") == "text_delta":
            yield Chunk([Piece({"content": text})])
        elif (piece := delta.get("partial_json")) and index in self._calls:
            self._empty.discard(index)
            yield Chunk([Piece({"tool_calls": [{"index": self._calls[index], "function": {"arguments": piece}}]})])
        elif index in self._thoughts:
            for name in ("thinking", "signature"):
                if more := delta.get(name):
                    self._thoughts[index][name] = self._thoughts[index].get(name, "") + more
            if delta.get("thinking"):
                yield Chunk([Piece({"reasoning_content": delta["thinking"]})])
