"""Replies of the OpenAI chat protocol: recorded ones, odd ones, hostile ones."""

from __future__ import annotations

import copy
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from routewright.errors import ProviderError
from routewright.pools.providers.base import Ask, Completion, Delta
from routewright.pools.providers.sse import Events
from routewright.pools.providers.wire import Assembler, Chunk, Piece, chat_body, completion_of, read_chunk, read_whole
from routewright.types import Usage

WIRE = Path(__file__).parent / "wire"


def whole(body: Any) -> Completion:
    return completion_of(read_whole(json.dumps(body).encode(), "here"), "here")


def reply(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}


def assembled(*deltas: dict[str, Any], finish: Any = "stop") -> tuple[list[Delta], Completion]:
    assembler = Assembler()
    shown = [assembler.add(Chunk([Piece(delta)])) for delta in deltas]
    assembler.add(Chunk([Piece({}, finish)]))
    return [delta for delta in shown if delta], assembler.completion()


def test_recorded_tool_calls() -> None:
    body = json.loads((WIRE / "openai_tools.json").read_text())
    done = whole(body)
    assert done.message == body["choices"][0]["message"]  # as it came
    assert (done.text, done.finish, done.served_by) == ("", "tool_calls", "gpt-4o-2024-08-06")
    assert done.usage == Usage(2048, 17, 1920)


def test_recorded_stream_of_tool_calls_says_the_same() -> None:
    expected = whole(json.loads((WIRE / "openai_tools.json").read_text()))
    parser, assembler = Events(), Assembler()
    events = [*parser.feed((WIRE / "openai_tools.sse").read_bytes()), *parser.end()]
    assert events[-1] == b"[DONE]"
    shown = [assembler.add(read_chunk(data, "here")) for data in events[:-1]]
    done = assembler.completion()
    assert (done.usage, done.finish, done.text) == (expected.usage, expected.finish, "")
    assert done.message is not None
    assert expected.message is not None
    assert done.message["tool_calls"] == expected.message["tool_calls"]
    pieces = [delta.raw["tool_calls"][0] for delta in shown if delta and delta.raw]
    assert [piece["index"] for piece in pieces] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("content", "text", "kept"),
    [
        ("plain", "plain", False),
        (None, "", False),
        ("", "", False),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", True),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}], "b", True),
        ([], "", False),
    ],
)
def test_content(content: Any, text: str, kept: bool) -> None:
    done = whole(reply({"role": "assistant", "content": content}))
    assert done.text == text
    assert (done.message is not None) == kept


@pytest.mark.parametrize(
    "more", [{"refusal": "I can not"}, {"reasoning_content": "hm"}, {"annotations": [{"type": "x"}]}]
)
def test_a_message_that_holds_more_is_kept(more: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": "a", **more}
    assert whole(reply(message)).message == message


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("function_call", "tool_calls"),
     (None, "stop"), ("eos", "stop"), (7, "stop"), (["length"], "stop")],
)  # fmt: skip
def test_finish(reason: Any, finish: str) -> None:
    assert whole(reply({"content": "a"}, reason)).finish == finish


def test_all_choices_are_kept() -> None:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": f"answer {i}"}, "finish_reason": "stop"}
        for i in range(3)
    ]
    done = whole({"choices": choices})
    assert done.text == "answer 0"
    assert done.message is not None
    assert done.message["content"] == "answer 0"
    assert [choice["message"]["content"] for choice in done.message["choices"]] == ["answer 0", "answer 1", "answer 2"]

    assembler = Assembler()
    for word in ("answer ", "{}"):
        for i in (2, 0, 1):
            assembler.add(Chunk([Piece({"content": word.format(i)}, index=i)]))
    streamed = assembler.completion()
    assert streamed.message is not None
    assert streamed.text == "answer 0"
    assert [choice["message"]["content"] for choice in streamed.message["choices"]] == [
        "answer 0",
        "answer 1",
        "answer 2",
    ]


def test_log_probabilities_are_joined_and_shown() -> None:
    def sure(word: str) -> dict[str, Any]:
        return {"content": [{"token": word, "logprob": -0.5}], "refusal": None}

    assembler = Assembler()
    shown = [assembler.add(Chunk([Piece({"content": word}, logprobs=sure(word))])) for word in ("a", "b")]
    shown.append(assembler.add(Chunk([Piece({"content": "other"}, "stop", index=1)])))
    shown.append(assembler.add(Chunk([Piece({}, "stop")])))
    assert [None if one is None else (one.text, len(one.choices)) for one in shown] == [
        ("a", 1),
        ("b", 1),
        ("", 1),
        None,
    ]
    assert shown[2] is not None
    assert shown[2].choices[0]["finish_reason"] == "stop"
    done = assembler.completion()
    assert (done.text, done.message is not None) == ("ab", True)
    first, second = done.message["choices"]  # type: ignore[index]
    assert [t["token"] for t in first["logprobs"]["content"]] == ["a", "b"]
    assert "logprobs" not in second
    one = whole({"choices": [{"message": {"content": "a"}, "finish_reason": "stop", "logprobs": sure("a")}]})
    assert one.message is not None
    assert one.message["choices"][0]["logprobs"] == sure("a")
    assert assembler.size > 2, "what is held is counted"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": 10**15, "completion_tokens": 4}, Usage(10**15, 4)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}, Usage(3, 4, 2)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(3, 4, 0)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": None}, Usage(3, 4)),
        ({"prompt_tokens": -3, "completion_tokens": 4}, None),
        ({"prompt_tokens": 3.5, "completion_tokens": 4}, None),
        ({"prompt_tokens": "3", "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({"prompt_tokens": 3}, None),
        ([3, 4], None),
        (None, None),
    ],
)
def test_usage(usage: Any, expected: Usage | None) -> None:
    assert whole(reply({"content": "a"}, usage=usage)).usage == expected


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"text"', b"{}", b'{"choices": []}', b'{"choices": null}', b"\xff",
                                  b'{"choices": [{}]}', b'{"choices": [{"message": null}]}', b'{"choices": ["a"]}', b"[" * 5000])  # fmt: skip
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(ProviderError, match="OpenAI chat protocol") as caught:
        completion_of(read_whole(data, "here"), "here")
    assert (caught.value.kind, caught.value.retryable, caught.value.reached) == ("malformed", True, True)


def test_tool_calls_without_an_index_or_in_odd_pieces() -> None:
    first, second = {"id": "a", "function": {"name": "f", "arguments": "{"}}, {"id": "b", "function": {"name": "g"}}
    _, done = assembled(
        {"tool_calls": [first]},
        {"tool_calls": [{"function": {"arguments": "}"}}]},
        {"tool_calls": [second]},
        {"tool_calls": [{"id": "b", "function": {"name": "g", "arguments": {"x": 1}}}]},  # not a string, name again
        {"tool_calls": ["nonsense", {"function": None}]},
    )
    assert done.message is not None
    calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in done.message["tool_calls"]]
    assert calls == [("a", "f", "{}"), ("b", "g", '{"x":1}')]


def test_strings_grow_and_lists_are_joined() -> None:
    shown, done = assembled(
        {"role": "assistant", "content": ""},
        {"reasoning_content": "first, "},
        {"reasoning_content": "second"},
        {"content": "a", "annotations": [1]},
        {"content": "b", "annotations": [2]},
    )
    assert done.message == {
        "role": "assistant",
        "content": "ab",
        "reasoning_content": "first, second",
        "annotations": [1, 2],
    }
    assert [delta.text for delta in shown] == ["", "", "a", "b"]
    assert shown[0].raw == {"reasoning_content": "first, "}


def test_a_plain_stream_has_no_message() -> None:
    shown, done = assembled({"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, finish="length")
    assert (done.text, done.message, done.finish) == ("ab", None, "length")
    assert shown == [Delta("a"), Delta("b")]


def test_assembling_takes_linear_time() -> None:
    """Ten times the chunks took 9 to 11 times as long where this was written; adding strings up would take 100 times."""

    def seconds(n: int) -> float:
        assembler = Assembler()
        start = time.process_time()
        for _ in range(n):
            assembler.add(Chunk([Piece({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 50}}]})]))
        assert assembler.size >= 50 * n
        assembler.completion()
        return time.process_time() - start

    short = min(seconds(3_000) for _ in range(3))
    assert min(seconds(30_000) for _ in range(3)) < 40 * short


def test_hostile_chunks_end_in_a_completion_or_a_provider_error() -> None:
    """Every value of a recorded stream is replaced by every kind of nonsense, one at a time and in pairs."""
    parser = Events()
    events = parser.feed((WIRE / "openai_tools.sse").read_bytes())[:-1]
    nonsense: list[Any] = [None, 0, -1, 1e300, True, "", "x", [], [None], {}, {"a": {}}, [[]], [{"index": -5}]]
    rng = random.Random(0)
    kinds = []
    for _ in range(1500):
        assembler = Assembler()
        try:
            for data in events:
                changed = json.loads(data)
                for _ in range(rng.choice((0, 1, 2))):
                    replace(changed, rng, nonsense)
                assembler.add(read_chunk(json.dumps(changed).encode(), "here"))
            json.dumps(assembler.completion().message)
            kinds.append("whole")
        except ProviderError as error:
            kinds.append(error.kind)
    assert set(kinds) == {"whole", "malformed"}


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    done = completion_of(
        read_whole(b'{"choices": [{"message": {"content": "a\\ud83d b \\ud83d\\ude00"}}]}', "here"), "here"
    )
    assert done.text == "a? b 😀"
    chunk = read_chunk(b'{"choices": [{"delta": {"content": "\\ude00"}}]}', "here")
    assert Assembler().add(chunk) == Delta("?")


def replace(value: Any, rng: random.Random, nonsense: list[Any]) -> None:
    """Put nonsense somewhere below `value`."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if not isinstance(value[key], dict | list) or not value[key] or rng.random() < 0.2:
            value[key] = copy.deepcopy(rng.choice(nonsense))
            return
        value = value[key]


def test_body_says_what_the_call_says() -> None:
    options = {
        "max_tokens": 1,
        "max_completion_tokens": 2,
        "stream": True,
        "stream_options": {},
        "top_p": 0.5,
        "stop": "x",
    }
    ask = Ask("m", ({"role": "user", "content": "q"},), 7, options, ("END",))
    body = {"model": "m", "messages": ask.messages, "max_tokens": 7, "top_p": 0.5, "stop": ["END"], "temperature": 0}
    assert chat_body(ask, stream=False) == body
    assert chat_body(ask, True) == {**body, "stream": True, "stream_options": {"include_usage": True}}
    assert chat_body(ask, True, stream_usage=False) == {**body, "stream": True}
    assert "max_tokens" not in chat_body(ask, False, "max_completion_tokens")
    assert "temperature" not in chat_body(ask, False, greedy=False)


def test_samples_differ() -> None:
    def body(sample: int, **options: Any) -> dict[str, Any]:
        made = chat_body(Ask("m", (), 7, options, sample=sample), False)
        return {key: made[key] for key in ("temperature", "seed") if key in made}

    assert body(0) == {"temperature": 0}
    assert body(0, temperature=None) == {}, "the upstream's own default"
    assert body(2, temperature=None) == {"temperature": 1.0, "seed": 2}
    assert body(2) == {"temperature": 1.0, "seed": 2}
    assert body(2, seed=9) == {"temperature": 1.0, "seed": 2}
    assert body(2, temperature=0.3, seed=9) == {"temperature": 0.3, "seed": 9}
