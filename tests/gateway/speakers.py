"""The official clients, one a dialect, each used as its users use it, and what they hear in one form.

A test says what it wants once (`Want`), and asks it in every dialect, streamed or not.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import anthropic
import openai

PNG = "iVBORw0KGgo="  # no picture, and nobody here looks
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Want:
    """A request: earlier turns are (role, text), with ("call", id, arguments) and ("result", id, text) for the tool."""

    text: str = "How many vowels are in Zurich?"
    system: str = ""
    turns: tuple[tuple[str, ...], ...] = ()
    tool: bool = False
    must: str = ""  # "any" tool, or this one by its name
    one_at_a_time: bool = False
    schema: bool = False
    image: str = ""  # a URL, or "data"
    limit: int | None = None
    stop: bool = False  # where the dialect has it
    routing: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    """What a client was told."""

    text: str
    calls: list[tuple[str, str, Any]]
    finish: str
    tokens: tuple[int, int]
    routing: Any


class Speaker(ABC):
    """An official client."""

    name: ClassVar[str]
    errors: ClassVar[Any]
    ends: ClassVar[dict[str, str]]  # how an end is called -> stop, length, tools, filter

    def __init__(self, url: str, key: str = "none") -> None:
        self.url, self.key = url, key

    @abstractmethod
    def ask(self, model: str, want: Want, streamed: bool) -> Heard:
        """Ask, and read all of the answer."""

    @abstractmethod
    def first(self, model: str) -> Any:
        """Ask streamed, wait for the first text, and give the open stream."""

    def more(self, want: Want) -> dict[str, Any]:
        return {"extra_body": {"routing": want.routing}} if want.routing else {}


def functions(flat: bool) -> list[Any]:
    function = {"name": "weather", "description": "Of a city", "parameters": SCHEMA, "strict": True}
    return [{"type": "function", **function}] if flat else [{"type": "function", "function": function}]


class ChatSpeaker(Speaker):
    name = "chat"
    errors = openai
    ends: ClassVar = {"stop": "stop", "length": "length", "tool_calls": "tools", "content_filter": "filter"}

    def __init__(self, url: str, key: str = "none") -> None:
        super().__init__(url, key)
        self.client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=60)

    def ask(self, model: str, want: Want, streamed: bool) -> Heard:
        given = {"model": model, "messages": self.messages(want), **self.options(want), **self.more(want)}
        if streamed:
            with self.client.chat.completions.stream(**given, stream_options={"include_usage": True}) as stream:
                chunks = [event.chunk for event in stream if event.type == "chunk"]
                done = stream.current_completion_snapshot
            routing = next(c.model_extra["routing"] for c in reversed(chunks) if "routing" in c.model_extra)
        else:
            done = self.client.chat.completions.create(**given)
            routing = done.routing
        choice, usage = done.choices[0], done.usage
        calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or ()]
        text = choice.message.content or choice.message.refusal or ""
        tokens = (usage.prompt_tokens, usage.completion_tokens)
        return Heard(text, calls, self.ends[choice.finish_reason], tokens, routing)

    def first(self, model: str) -> Any:
        stream = self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        for chunk in stream:
            if chunk.choices[0].delta.content:
                return stream
        raise AssertionError("no text came")

    def messages(self, want: Want) -> list[Any]:
        out: list[Any] = [{"role": "system", "content": want.system}] if want.system else []
        for role, *said in want.turns:
            if role == "call":
                call = {"id": said[0], "type": "function", "function": {"name": "weather", "arguments": said[1]}}
                if out[-1]["role"] != "assistant":
                    out.append({"role": "assistant", "content": None})
                out[-1].setdefault("tool_calls", []).append(call)
            elif role == "result":
                out.append({"role": "tool", "tool_call_id": said[0], "content": said[1]})
            else:
                out.append({"role": role, "content": said[0]})
        if want.image:
            url = f"data:image/png;base64,{PNG}" if want.image == "data" else want.image
            picture = {"type": "image_url", "image_url": {"url": url}}
            out.append({"role": "user", "content": [{"type": "text", "text": want.text}, picture]})
        elif want.text:
            out.append({"role": "user", "content": want.text})
        return out

    def options(self, want: Want) -> dict[str, Any]:
        told: dict[str, Any] = {}
        if want.tool:
            told["tools"] = functions(flat=False)
        if want.must:
            named = {"type": "function", "function": {"name": want.must}}
            told["tool_choice"] = "required" if want.must == "any" else named
        if want.one_at_a_time:
            told["parallel_tool_calls"] = False
        if want.schema:
            told["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            }
        if want.limit:
            told["max_tokens"] = want.limit
        if want.stop:
            told["stop"] = ["END"]
        return told


class ResponsesSpeaker(Speaker):
    name = "responses"
    errors = openai

    def __init__(self, url: str, key: str = "none") -> None:
        super().__init__(url, key)
        self.client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=60)

    def ask(self, model: str, want: Want, streamed: bool) -> Heard:
        given = {"model": model, "input": self.input(want), **self.options(want), **self.more(want)}
        if streamed:
            with self.client.responses.stream(**given) as stream:
                events = list(stream)
            assert [e.sequence_number for e in events] == list(range(len(events)))
            done = events[-1].response
            if events[-1].type == "response.completed":
                assert stream.get_final_response().output == done.output
        else:
            done = self.client.responses.create(**given)
        assert done.store is False
        calls = [(c.call_id, c.name, json.loads(c.arguments)) for c in done.output if c.type == "function_call"]
        refused = [
            p.refusal for item in done.output if item.type == "message" for p in item.content if p.type == "refusal"
        ]
        why = done.incomplete_details.reason if done.incomplete_details is not None else None
        assert done.status == ("completed" if why is None else "incomplete")
        assert {item.status for item in done.output} <= {done.status, "completed"}
        finish = {"max_output_tokens": "length", "content_filter": "filter"}.get(why, "tools" if calls else "stop")
        tokens = (done.usage.input_tokens, done.usage.output_tokens)
        return Heard(done.output_text or "".join(refused), calls, finish, tokens, done.routing)

    def first(self, model: str) -> Any:
        stream = self.client.responses.create(model=model, input="hi", stream=True)
        for event in stream:
            if event.type == "response.output_text.delta":
                return stream
        raise AssertionError("no text came")

    def input(self, want: Want) -> Any:
        out: list[Any] = []
        for role, *said in want.turns:
            if role == "call":
                out.append({"type": "function_call", "call_id": said[0], "name": "weather", "arguments": said[1]})
            elif role == "result":
                out.append({"type": "function_call_output", "call_id": said[0], "output": said[1]})
            else:
                out.append({"role": role, "content": said[0]})
        if want.image:
            url = f"data:image/png;base64,{PNG}" if want.image == "data" else want.image
            parts = [{"type": "input_text", "text": want.text}, {"type": "input_image", "image_url": url}]
            out.append({"role": "user", "content": parts})
        elif want.text and not out:
            return want.text
        elif want.text:
            out.append({"role": "user", "content": want.text})
        return out

    def options(self, want: Want) -> dict[str, Any]:
        told: dict[str, Any] = {}
        if want.system:
            told["instructions"] = want.system
        if want.tool:
            told["tools"] = functions(flat=True)
        if want.must:
            told["tool_choice"] = "required" if want.must == "any" else {"type": "function", "name": want.must}
        if want.one_at_a_time:
            told["parallel_tool_calls"] = False
        if want.schema:
            told["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
        if want.limit:
            told["max_output_tokens"] = want.limit
        return told


class MessagesSpeaker(Speaker):
    name = "messages"
    errors = anthropic
    ends: ClassVar = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tools", "refusal": "filter"}

    def __init__(self, url: str, key: str = "none") -> None:
        super().__init__(url, key)
        self.client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=60)

    def ask(self, model: str, want: Want, streamed: bool) -> Heard:
        given = {"model": model, "messages": self.messages(want), **self.options(want), **self.more(want)}
        routing: Any = None
        if streamed:
            with self.client.messages.stream(**given) as stream:
                for event in stream:
                    if event.type == "message_delta":
                        routing = event.model_extra["routing"]
                done = stream.get_final_message()
        else:
            done = self.client.messages.create(**given)
            routing = done.routing
        calls = [(b.id, b.name, b.input) for b in done.content if b.type == "tool_use"]
        text = "".join(b.text for b in done.content if b.type == "text")
        tokens = (done.usage.input_tokens + done.usage.cache_read_input_tokens, done.usage.output_tokens)
        return Heard(text, calls, self.ends[done.stop_reason], tokens, routing)

    def first(self, model: str) -> Any:
        ask: Any = [{"role": "user", "content": "hi"}]
        stream = self.client.messages.create(model=model, messages=ask, max_tokens=900, stream=True)
        for event in stream:
            if event.type == "content_block_delta":
                return stream
        raise AssertionError("no text came")

    def messages(self, want: Want) -> list[Any]:
        out: list[Any] = []

        def add(role: str, block: dict[str, Any]) -> None:
            if out and out[-1]["role"] == role and isinstance(out[-1]["content"], list):
                out[-1]["content"].append(block)
            else:
                out.append({"role": role, "content": [block]})

        for role, *said in want.turns:
            if role == "call":
                add("assistant", {"type": "tool_use", "id": said[0], "name": "weather", "input": json.loads(said[1])})
            elif role == "result":
                add("user", {"type": "tool_result", "tool_use_id": said[0], "content": said[1]})
            else:
                out.append({"role": role, "content": said[0]})
        if want.image:
            source = {"type": "url", "url": want.image}
            if want.image == "data":
                source = {"type": "base64", "media_type": "image/png", "data": PNG}
            add("user", {"type": "text", "text": want.text})
            add("user", {"type": "image", "source": source})
        elif want.text:
            add("user", {"type": "text", "text": want.text})
        return out

    def options(self, want: Want) -> dict[str, Any]:
        told: dict[str, Any] = {"max_tokens": want.limit or 100}
        if want.system:
            told["system"] = [{"type": "text", "text": want.system, "cache_control": {"type": "ephemeral"}}]
        if want.tool:
            tool = {"name": "weather", "description": "Of a city", "input_schema": SCHEMA, "strict": True}
            told["tools"] = [tool]
        if want.must or want.one_at_a_time:
            kind = {"": "auto", "any": "any"}.get(want.must, "tool")
            told["tool_choice"] = {"type": kind, **({"name": want.must} if kind == "tool" else {})}
        if want.one_at_a_time:
            told["tool_choice"]["disable_parallel_tool_use"] = True
        if want.schema:
            told["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if want.stop:
            told["stop_sequences"] = ["END"]
        return told


SPEAKERS: dict[str, type[Speaker]] = {one.name: one for one in (ChatSpeaker, ResponsesSpeaker, MessagesSpeaker)}
