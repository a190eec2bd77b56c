"""The OpenAI chat protocol: a request's body, and replies, whole or in chunks, as a `Completion`.

Not here: how the bytes come (`http.py`, or a library in this process). Called by `openai.py`, `local.py` and
`litellm.py`. Fields that nobody asked for are passed over; a reply's `message` is kept as it came.

`Completion.message` is set where a reply holds more than a role and a text: tool calls, a refusal, reasoning. For a
request with `n` > 1, or for log probabilities, it is the first choice's message, and `message["choices"]` lists all of
them as `{"index", "message", "finish_reason", "logprobs"}`. Text and deltas are the first choice's; a delta that holds more
than that (another choice, log probabilities) has the upstream's own choices beside it.

Source: the OpenAI API reference, chat completions, objects `chat.completion` and `chat.completion.chunk`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar

import msgspec

from routewright.errors import ProviderError
from routewright.pools.providers.base import Ask, Completion, Delta
from routewright.types import Usage

_OURS = ("max_tokens", "max_completion_tokens", "stream", "stream_options")  # never taken from the options
CHOICES = "choices"  # key of `Completion.message` that holds all choices where there are several
_FINISH = {"length": "length", "max_tokens": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}
_FINISH["content_filter"] = "content_filter"
_NEW = 64  # what a further choice or tool call counts, so that empty ones are bounded as well


class Choice(msgspec.Struct):
    """One answer of a whole reply."""

    message: dict[str, Any] | None = None
    finish_reason: Any = None
    index: Any = 0
    logprobs: Any = None


class Whole(msgspec.Struct):
    """A reply that was not streamed."""

    choices: list[Choice] | None = None
    model: Any = None
    usage: Any = None
    error: Any = None


class Piece(msgspec.Struct):
    """One answer's part of a chunk."""

    delta: dict[str, Any] | None = None
    finish_reason: Any = None
    index: Any = 0
    logprobs: Any = None


class Chunk(msgspec.Struct):
    """One event of a stream."""

    choices: list[Piece] | None = None
    model: Any = None
    usage: Any = None
    error: Any = None


T = TypeVar("T")
_WHOLE = msgspec.json.Decoder(Whole)
_CHUNK = msgspec.json.Decoder(Chunk)


def chat_body(
    ask: Ask, stream: bool, limit: str = "max_tokens", greedy: bool = True, stream_usage: bool = True
) -> dict[str, Any]:
    """A request: its options untouched but for what the call itself says.

    Where the options name no temperature, the greedy answer (`sample` 0) is asked for with temperature 0 if `greedy`,
    and a further sample with temperature 1 and its number as the seed, so that samples differ. A temperature of None is
    the upstream's own default: none is sent.
    """
    body = {key: value for key, value in ask.options.items() if key not in _OURS}
    body.update({"model": ask.model, "messages": ask.messages, limit: ask.max_tokens})
    if ask.stop:
        body["stop"] = list(ask.stop)
    if body.get("temperature") is None:
        given = "temperature" in body
        body.pop("temperature", None)
        if ask.sample:
            body.update(temperature=1.0, seed=ask.sample)
        elif greedy and not given:
            body["temperature"] = 0
    if stream:
        body["stream"] = True
        if stream_usage:
            body["stream_options"] = {"include_usage": True}
    return body


def read_whole(data: bytes, where: str) -> Whole:
    """Decode a reply; `ProviderError` of kind malformed if it is none."""
    try:
        return decode(_WHOLE, data)
    except (ValueError, RecursionError) as error:
        raise malformed(where, f"the reply is no chat completion ({error})", data) from None


def read_chunk(data: bytes, where: str) -> Chunk:
    """Decode an event of a stream; `ProviderError` of kind malformed if it is none."""
    try:
        return decode(_CHUNK, data)
    except (ValueError, RecursionError) as error:
        raise malformed(where, f"an event of the stream is no chunk of a chat completion ({error})", data) from None


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode JSON. Half a surrogate pair, which has no place in UTF-8, becomes a question mark instead of an error."""
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        if "surrogate" not in str(error):
            raise
        return decoder.decode(json.dumps(json.loads(data), ensure_ascii=False).encode("utf-8", "replace"))


def malformed(where: str, said: str, data: bytes = b"") -> ProviderError:
    """What came was no reply. The next try may get one."""
    size = f" in {len(data)} bytes" if data else ""
    return ProviderError(f"{where}: {said}{size}. Expected the OpenAI chat protocol.", "malformed", retryable=True)


def completion_of(whole: Whole, where: str) -> Completion:
    """A whole reply; `ProviderError` of kind malformed if it has no choices."""
    first = whole.choices[0] if whole.choices else Choice()
    message = first.message
    if not whole.choices or message is None:
        raise malformed(where, "the reply has no choices")
    more: dict[str, Any] | None = message if has_more(message) else None
    if len(whole.choices) > 1 or first.logprobs is not None:
        choices = [
            _choice(c.index if is_count(c.index) else 0, c.message, c.finish_reason, c.logprobs) for c in whole.choices
        ]
        more = {**message, CHOICES: choices}
    text = text_of(message.get("content"))
    return Completion(text, usage_of(whole.usage), finish_of(first.finish_reason, message), more, name_of(whole.model))


def _choice(index: int, message: Mapping[str, Any] | None, finish: Any, logprobs: Any) -> dict[str, Any]:
    """One of several choices; log probabilities only where there are any."""
    made = {"index": index, "message": message, "finish_reason": finish}
    return made if logprobs is None else {**made, "logprobs": logprobs}


def has_more(message: Mapping[str, Any]) -> bool:
    """Whether a message holds anything but a role and a text."""
    content = message.get("content")
    return bool(content and not isinstance(content, str)) or any(
        value not in (None, "", [], {}) for key, value in message.items() if key not in ("role", "content")
    )


def text_of(content: Any) -> str:
    """The text of a message: its string, or the texts of its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, Mapping) and part.get("type", "text") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def finish_of(reason: Any, message: Mapping[str, Any]) -> str:
    """stop, length, tool_calls or content_filter; a reason of the upstream's own counts as stop."""
    if isinstance(reason, str) and reason in _FINISH:
        return _FINISH[reason]
    return "tool_calls" if reason is None and message.get("tool_calls") else "stop"


def name_of(model: Any) -> str:
    """The model's name in a reply, "" where there is none."""
    return model if isinstance(model, str) else ""


def usage_of(value: Any) -> Usage | None:
    """Usage as the upstream reports it; None where it is missing or no count of tokens."""
    if not isinstance(value, Mapping):
        return None
    tokens_in, tokens_out = value.get("prompt_tokens"), value.get("completion_tokens")
    if not is_count(tokens_in) or not is_count(tokens_out):
        return None
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    return Usage(tokens_in, tokens_out, cached if is_count(cached) and cached <= tokens_in else 0)


def is_count(value: Any) -> TypeGuard[int]:
    """Whether this is a number of tokens: an int, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Assembler:
    """Puts the chunks of a stream together, in time linear in their number.

        for data in events:
            delta = assembler.add(read_chunk(data, where))    # a Delta, or None where the chunk holds nothing to show
        done = assembler.completion()

    `finished` says whether a finish reason came, `size` how much was collected, characters.
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._usage: Usage | None = None
        self._model = ""
        self.size = 0
        self.finished = False

    def add(self, chunk: Chunk) -> Delta | None:
        """Take a chunk in."""
        shown, text_too, more = None, "", False
        self._model = name_of(chunk.model) or self._model
        self._usage = usage_of(chunk.usage) or self._usage  # some report a running count; the last one is the whole
        for piece in chunk.choices or ():
            index = piece.index if is_count(piece.index) else 0
            if index not in self._held:
                self._held[index] = _Held()
                self.size += _NEW
            if piece.finish_reason is not None:
                self._held[index].finish = piece.finish_reason
                self.finished = True
            if piece.delta:
                text, size = self._held[index].add(piece.delta)
                self.size += size
                if index == 0 and (text or has_more(piece.delta)):
                    shown, text_too = Delta(text, piece.delta if has_more(piece.delta) else None), text
            if piece.logprobs is not None:
                self.size += self._held[index].add_logprobs(piece.logprobs)
            more |= index > 0 or piece.logprobs is not None
        if more:
            raw = tuple(
                {"index": p.index, "delta": p.delta or {}, "logprobs": p.logprobs, "finish_reason": p.finish_reason}
                for p in chunk.choices or ()
            )
            return Delta(text_too, None if shown is None else shown.raw, raw)
        return shown

    @property
    def started(self) -> bool:
        """Whether any choice came."""
        return bool(self._held)

    def completion(self) -> Completion:
        """What has come so far."""
        first = self._held.get(0) or _Held()
        message = first.message()
        more: dict[str, Any] | None = message if has_more(message) else None
        if len(self._held) > 1 or first.logprobs is not None:
            held = sorted(self._held.items())
            more = {**message, CHOICES: [_choice(i, one.message(), one.finish, one.logprobs) for i, one in held]}
        return Completion("".join(first.text), self._usage, finish_of(first.finish, message), more, self._model)


class _Held:
    """What has come of one choice: its text, its tool calls, and whatever else a delta brought."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.calls: dict[int, _HeldCall] = {}
        self.words: dict[str, list[str]] = {}  # refusal, reasoning ...: strings that grow
        self.other: dict[str, Any] = {}
        self.logprobs: dict[str, Any] | None = None
        self.finish: Any = None

    def add(self, delta: Mapping[str, Any]) -> tuple[str, int]:
        """Take a delta in; returns its text and how much was added, characters."""
        text, size = "", 0
        for key, value in delta.items():
            if key == "content":
                text = text_of(value)
                self.text.append(text)
                size += len(text)
            elif key == "tool_calls" and isinstance(value, list):
                size += sum(self._add_call(call) for call in value if isinstance(call, Mapping))
            elif key == "role" or value is None:
                continue
            elif isinstance(value, str):
                self.words.setdefault(key, []).append(value)
                size += len(value)
            elif isinstance(value, list) and isinstance(self.other.get(key), list):
                self.other[key] += value
                size += _NEW * len(value)
            else:
                self.other[key] = value
                size += _NEW
        return text, size

    def add_logprobs(self, part: Any) -> int:
        """Join log probabilities, which come token by token in lists; returns how much was added, characters."""
        if not isinstance(part, Mapping):
            return 0
        self.logprobs = held = self.logprobs or {}
        size = 0
        for key, value in part.items():
            if isinstance(value, list) and isinstance(held.get(key), list):
                held[key].extend(value)
            elif value is not None or key not in held:
                held[key] = list(value) if isinstance(value, list) else value
            size += _NEW * len(value) if isinstance(value, list) else _NEW
        return size

    def _add_call(self, part: Mapping[str, Any]) -> int:
        index = part.get("index")
        if not is_count(index):  # some upstreams leave it out: a new id begins a new call
            known = [i for i, call in self.calls.items() if part.get("id") in (None, "", call.id)]
            index = known[-1] if known else len(self.calls)
        size = 0
        if index not in self.calls:
            self.calls[index] = _HeldCall()
            size = _NEW
        return size + self.calls[index].add(part)

    def message(self) -> dict[str, Any]:
        text = "".join(self.text)
        whole: dict[str, Any] = {"role": "assistant", "content": text if text or not self.calls else None}
        whole.update({key: "".join(parts) for key, parts in self.words.items()})
        whole.update(self.other)
        if self.calls:
            whole["tool_calls"] = [call.whole() for _, call in sorted(self.calls.items())]
        return whole


class _HeldCall:
    """What has come of one tool call."""

    def __init__(self) -> None:
        self.id = ""
        self.kind = "function"
        self.name = ""
        self.arguments: list[str] = []

    def add(self, part: Mapping[str, Any]) -> int:
        self.id = part.get("id") or self.id
        self.kind = part.get("type") or self.kind
        function = part.get("function")
        if not isinstance(function, Mapping):
            return 0
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str) and name != self.name:  # sent once, in pieces, or again with every piece
            self.name += name
        if arguments is not None:
            self.arguments.append(arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode())
        return len(self.arguments[-1]) if arguments is not None else 0

    def whole(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": self.kind, "function": function}
