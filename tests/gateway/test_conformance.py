"""The official clients, unchanged, in every dialect, streamed and not, against a served gateway with a real upstream.

What each says in its own way has to come to the same request upstream, and back to the same answer.
"""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pydantic
import pytest

from routewright.gateway.dialects.table import DIALECTS as TABLE
from routewright.policies.base import build_policy
from tests.gateway.speakers import PNG, SCHEMA, SPEAKERS, Heard, Want, functions
from tests.gateway.test_stream import TOOL_CHUNKS
from tests.gateway.world import (
    USAGE_CHUNK,
    Running,
    Upstream,
    chunk,
    eventually,
    gateway,
    listening,
    pool_at,
    whole,
)

CALLS = [("c1", "Paris"), ("c2", "Bern")]
DIALECTS = pytest.mark.parametrize("dialect", SPEAKERS)
WAYS = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def call(i: int, part: str = "") -> dict[str, Any]:
    """A tool call, or a first piece of it."""
    name, city = CALLS[i]
    arguments = json.dumps({"city": city})
    head = {
        "id": name,
        "type": "function",
        "function": {"name": "weather", "arguments": arguments[:4] if part else arguments},
    }
    return head if not part else {"index": i, **head}


def calling(body: Any, several: bool = False, text: str = "") -> Any:
    """Says that it wants to call a tool, or two."""
    which = range(2 if several else 1)
    if not body.get("stream"):
        message = {"role": "assistant", "content": text or None, "tool_calls": [call(i) for i in which]}
        return whole(message, finish_reason="tool_calls")
    out = [chunk({"role": "assistant", "content": text or None})]
    for i in which:
        out.append(chunk({"tool_calls": [call(i, "first")]}))
        rest = json.dumps({"city": CALLS[i][1]})[4:]
        out += [
            chunk({"tool_calls": [{"index": i, "function": {"arguments": piece}}]}) for piece in (rest[:3], rest[3:])
        ]
    return [*out, chunk({}, "tool_calls"), USAGE_CHUNK]


def says(text: str, finish: str = "stop", **more: Any) -> Any:
    def reply(body: Any) -> Any:
        if body.get("stream"):
            return [chunk({"content": text, **more}), chunk({}, finish), USAGE_CHUNK]
        return whole({"role": "assistant", "content": text, **more}, finish_reason=finish)

    return reply


def failing(status: int) -> Any:
    return lambda body: (status, {"error": {"message": f"upstream says {status}"}})


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    up = Upstream(
        {
            "caller": calling,
            "callers": lambda b: calling(b, several=True),
            "talker": lambda b: calling(b, several=True, text="Let me see."),
            "unstreamed": lambda b: calling({}, text="At once."),  # a whole reply although a stream was asked for
            "json": says('{"city": "Paris"}'),
            "cut": says("one two", "length"),
            "filter": says("", "content_filter", refusal="I will not."),
            "thinker": says("So: four.", reasoning_content="They count the letters."),
            "cached": lambda b: (
                whole("x") | {"usage": {**whole("x")["usage"], "prompt_tokens_details": {"cached_tokens": 4}}}
            ),
            "odd": says('a\u2028b \x00 "data: x"\ndata: y\r\n\r\nevent: z\n\n: c'),
            "scrawl": lambda b: whole(
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{no"}}
                    ],
                }
            ),
            "mixed": lambda b: [
                chunk({"tool_calls": [call(0, "x")]}),
                chunk({"tool_calls": [call(1, "x")]}),
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": "late"}}]}),
                chunk({}, "tool_calls"),
            ],
            "strict": failing(400),
            "busy": failing(429),
            "down": failing(500),
            "broken": lambda b: [chunk({"content": "half"}), 0.05, None],
            "slow": lambda b: [
                chunk({"content": "first"}),
                *[x for _ in range(600) for x in (0.05, chunk({"content": "."}))],
            ],
            "wait": lambda b: [30.0, chunk({"content": "late"})] if b.get("stream") else [30.0],
            "tooled": lambda b: TOOL_CHUNKS,
        }
    )
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


MODELS = (
    *(
        "plain",
        "second",
        "caller",
        "callers",
        "talker",
        "unstreamed",
        "json",
        "cut",
        "filter",
        "thinker",
        "cached",
        "odd",
    ),
    *("scrawl", "mixed", "strict", "busy", "down", "broken", "slow", "wait", "tooled"),
)


@pytest.fixture(scope="module")
def served(upstream: Upstream) -> Iterator[Running]:
    pool = pool_at(upstream.url, *MODELS, retries=0)  # type: ignore[attr-defined]
    voters = build_policy("vote", {"models": ["plain", "second"]})
    with gateway(pool, {"auto": "single", "twice": "self_refine", "voters": voters}) as running:
        yield running


def heard(served: Running, dialect: str, streamed: bool, model: str = "plain", **want: Any) -> Heard:
    return SPEAKERS[dialect](served.url).ask(model, Want(**want), streamed)


@WAYS
@DIALECTS
@pytest.mark.parametrize("model", ["plain", "auto", "twice", "voters"])
def test_chat(served: Running, dialect: str, streamed: bool, model: str) -> None:
    """What was done is told alike in every dialect: usage of all steps, by model, cost, trace."""
    said = heard(served, dialect, streamed, model)
    steps = 2 if model in ("twice", "voters") else 1
    assert (said.text, said.calls, said.finish) == ("one two three", [], "stop")
    assert said.tokens == (10 * steps, 5 * steps)
    assert said.routing["models"] == (["plain", "second"] if model == "voters" else ["plain"] * steps)
    assert said.routing["coordinator"] == (None if model == "plain" else model)
    record = served.record(said.routing["trace_id"])
    assert (record.streamed, record.cost_usd, record.status) == (streamed, said.routing["cost_usd"], 200)
    assert said.routing["cost_usd"] == pytest.approx(20e-6 * steps)


@WAYS
@DIALECTS
def test_the_same_request_goes_upstream(served: Running, upstream: Upstream, dialect: str, streamed: bool) -> None:
    """System, several turns, results of tools, a choice of tool, a limit: nothing is lost on the way."""
    turns = (
        ("user", "Weather?"),
        ("assistant", "Where?"),
        ("user", "Paris and Bern."),
        ("call", "c1", '{"city":"Paris"}'),
        ("call", "c2", '{"city":"Bern"}'),
        ("result", "c1", "rain"),
        ("result", "c2", "sun"),
    )
    want = {"text": "", "system": "Be brief.", "turns": turns, "tool": True, "must": "weather", "one_at_a_time": True}
    heard(served, dialect, streamed, limit=40, **want)
    sent = dict(upstream.bodies[-1])
    assert sent.pop("stream", False) == streamed
    sent.pop("stream_options", None)

    def function(i: int) -> dict[str, Any]:
        arguments = json.dumps({"city": CALLS[i][1]}, separators=(",", ":"))
        return {"id": CALLS[i][0], "type": "function", "function": {"name": "weather", "arguments": arguments}}

    assert sent == {
        "model": "plain",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "Where?"},
            {"role": "user", "content": "Paris and Bern."},
            {"role": "assistant", "content": None, "tool_calls": [function(0), function(1)]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "tool", "tool_call_id": "c2", "content": "sun"},
        ],
        "tools": functions(flat=False),
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "max_tokens": 40,
    }


@WAYS
@DIALECTS
@pytest.mark.parametrize(
    ("model", "text", "calls"),
    [("caller", "", 1), ("callers", "", 2), ("talker", "Let me see.", 2), ("unstreamed", "At once.", 1)],
)
def test_tools(served: Running, dialect: str, streamed: bool, model: str, text: str, calls: int) -> None:
    said = heard(served, dialect, streamed, model, tool=True, must="any")
    assert said.calls == [(name, "weather", {"city": city}) for name, city in CALLS[:calls]]
    assert (said.text, said.finish) == (text, "tools")


@WAYS
@DIALECTS
def test_json_schema(served: Running, upstream: Upstream, dialect: str, streamed: bool) -> None:
    said = heard(served, dialect, streamed, "json", schema=True)
    assert json.loads(said.text) == {"city": "Paris"}
    wanted = upstream.bodies[-1]["response_format"]
    assert wanted == {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


class City(pydantic.BaseModel):
    city: str


def test_parsed_answers(served: Running) -> None:
    """What the clients make of a schema is read back as an object."""
    client, ask = openai.OpenAI(base_url=served.url + "/v1", api_key="none"), [{"role": "user", "content": "Where?"}]
    made = client.responses.parse(model="json", input="Where?", text_format=City)
    assert made.output_parsed == City(city="Paris")
    client.responses.create(model="plain", input=[*ask, *made.output])  # type: ignore[list-item]
    chat = client.chat.completions.parse(model="json", messages=ask, response_format=City)  # type: ignore[arg-type]
    assert chat.choices[0].message.parsed == City(city="Paris")
    other = anthropic.Anthropic(base_url=served.url, api_key="none")
    read = other.messages.parse(model="json", messages=ask, max_tokens=50, output_format=City)  # type: ignore[arg-type]
    assert read.parsed_output == City(city="Paris")


@WAYS
def test_answers_go_back_as_the_client_holds_them(served: Running, upstream: Upstream, streamed: bool) -> None:
    """A conversation goes on with the client's own objects, calls of tools among them."""
    client = openai.OpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0)
    ask: Any = [{"role": "user", "content": "Where?"}]
    tools: Any = functions(flat=True)
    if streamed:
        with client.responses.stream(model="talker", input=ask, tools=tools) as stream:
            output: Any = stream.until_done().get_final_response().output
    else:
        output = client.responses.parse(model="talker", input=ask, tools=tools).output
    results: Any = [{"type": "function_call_output", "call_id": c, "output": "rain"} for c, _ in CALLS]
    client.responses.create(model="plain", input=[*ask, *output, *results], tools=tools)
    sent = upstream.bodies[-1]["messages"]
    other, tools = (
        anthropic.Anthropic(base_url=served.url, api_key="none"),
        [{"name": "weather", "input_schema": SCHEMA}],
    )
    if streamed:
        with other.messages.stream(model="talker", messages=ask, tools=tools, max_tokens=9) as said:
            content: Any = said.get_final_message().content
    else:
        content = other.messages.create(model="talker", messages=ask, tools=tools, max_tokens=9).content
    results = [{"type": "tool_result", "tool_use_id": c, "content": "rain"} for c, _ in CALLS]
    turns: Any = [*ask, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    other.messages.create(model="plain", messages=turns, tools=tools, max_tokens=9)
    for messages in (sent, upstream.bodies[-1]["messages"]):
        assert [m["role"] for m in messages] == ["user", "assistant", "tool", "tool"]
        assert messages[1]["content"] == "Let me see."
        calls = [(c["id"], json.loads(c["function"]["arguments"])) for c in messages[1]["tool_calls"]]
        assert calls == [(name, {"city": city}) for name, city in CALLS]


@WAYS
@DIALECTS
@pytest.mark.parametrize("image", ["data", "link"])
def test_images(served: Running, upstream: Upstream, dialect: str, streamed: bool, image: str) -> None:
    """They go upstream as they are; an address among them is never looked at from here."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        link = f"http://127.0.0.1:{listener.getsockname()[1]}/secret.png"
        heard(served, dialect, streamed, "auto", image="data" if image == "data" else link)
        with pytest.raises(BlockingIOError):
            listener.accept()
    url = f"data:image/png;base64,{PNG}" if image == "data" else link
    text = {"type": "text", "text": "How many vowels are in Zurich?"}
    assert upstream.bodies[-1]["messages"][0]["content"] == [text, {"type": "image_url", "image_url": {"url": url}}]


@WAYS
@DIALECTS
@pytest.mark.parametrize(
    ("model", "text", "finish"), [("cut", "one two", "length"), ("filter", "I will not.", "filter")]
)
def test_why_it_ended(served: Running, dialect: str, streamed: bool, model: str, text: str, finish: str) -> None:
    said = heard(served, dialect, streamed, model)
    assert (said.text, said.finish) == (text, finish)


@WAYS
@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_stop(served: Running, upstream: Upstream, dialect: str, streamed: bool) -> None:
    heard(served, dialect, streamed, stop=True)
    assert upstream.bodies[-1]["stop"] == ["END"]


@WAYS
@DIALECTS
def test_text_that_looks_like_a_stream(served: Running, dialect: str, streamed: bool) -> None:
    said = heard(served, dialect, streamed, "odd")
    assert said.text == 'a\u2028b \x00 "data: x"\ndata: y\r\n\r\nevent: z\n\n: c'


@WAYS
@DIALECTS
def test_reasoning_is_no_part_of_the_text(served: Running, dialect: str, streamed: bool) -> None:
    assert heard(served, dialect, streamed, "thinker").text == "So: four."


@WAYS
@DIALECTS
def test_routing_goes_in_and_comes_out(served: Running, dialect: str, streamed: bool) -> None:
    told = heard(served, dialect, streamed, "auto", routing={"allow": ["second"], "explain": True}).routing
    assert told["model"] == "second"
    assert [step["answered_by"] for step in told["steps"]] == ["second"]
    told = heard(served, dialect, streamed, "twice", tool=True).routing
    assert told["fallback"] == "self_refine does not support tools"


@DIALECTS
def test_steps_before_the_answer_are_comments(served: Running, dialect: str) -> None:
    """Which the clients pass over, as the tests above show; and no text of the request is in them."""
    one = TABLE.load(dialect)
    ask: Any = {"messages": [{"role": "user", "content": "Zurich?"}], "max_tokens": 9}
    if dialect == "responses":
        ask = {"input": "Zurich?"}
    body = json.dumps({"model": "twice", "stream": True, **ask}).encode()
    with urllib.request.urlopen(served.url + one.path, body) as answer:
        lines = answer.read().decode().split("\n\n")
    assert lines[0].startswith(": step plain (answer): ")
    assert "Zurich" not in "".join(line for line in lines if line.startswith(":"))


def test_tokens_from_a_cache_are_told(served: Running) -> None:
    client = anthropic.Anthropic(base_url=served.url, api_key="none")
    ask: Any = [{"role": "user", "content": "hi"}]
    usage = client.messages.create(model="cached", messages=ask, max_tokens=9).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (6, 4, 5)
    other = openai.OpenAI(base_url=served.url + "/v1", api_key="none").responses.create(model="cached", input="hi")
    assert other.usage is not None
    assert (other.usage.input_tokens, other.usage.input_tokens_details.cached_tokens) == (10, 4)


@DIALECTS
def test_a_client_that_goes_away_stops_the_upstream(served: Running, upstream: Upstream, dialect: str) -> None:
    before = upstream.left
    stream = SPEAKERS[dialect](served.url).first("slow")
    stream.close()
    eventually(lambda: upstream.left > before)
    eventually(lambda: served.last().answered_by == "slow" or served.last().models == ("slow",))
    assert (served.last().status, served.last().stopped) == (499, "cancelled")


@DIALECTS
def test_a_stream_that_breaks_off_is_an_error(served: Running, dialect: str) -> None:
    errors = SPEAKERS[dialect].errors
    stream = SPEAKERS[dialect](served.url).first("broken")
    with pytest.raises(errors.APIError, match="broke off"):
        list(stream)


def test_arguments_that_are_no_json(served: Running) -> None:
    """Chat and responses hand them on as the model wrote them; messages has no place for them."""
    client = openai.OpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0)
    made = client.responses.create(model="scrawl", input="hi")
    assert made.output[0].arguments == "{no"  # type: ignore[union-attr]
    with pytest.raises(anthropic.InternalServerError, match="no JSON object"):
        heard(served, "messages", False, "scrawl")


@pytest.mark.parametrize("dialect", ["responses", "messages"])
def test_tool_calls_that_come_interleaved(served: Running, dialect: str) -> None:
    with pytest.raises(SPEAKERS[dialect].errors.APIError, match="interleaved"):
        heard(served, dialect, True, "mixed", tool=True)
