"""The OpenAI provider against an upstream that fails in every way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from routewright.errors import ConfigError, PoolError, ProviderError
from routewright.pools.providers.base import Ask, Completion, Delta, Provider, build_provider
from routewright.types import Usage
from tests.pools.providers.upstream import (
    EXPIRED,
    NO_SUCH_HOST,
    Canned,
    Upstream,
    closed_port,
    pieces_of,
)

SECRET = "sk-very-secret-0123456789"
KINDS = ["openai", "anthropic"]


def ask(model: str = "good", text: str = "hello", **more: Any) -> Ask:
    return Ask(model, ({"role": "user", "content": text},), more.pop("max_tokens", 50), **more)


def run(
    body: Callable[[Upstream, Provider], Awaitable[Any]], kind: str = "openai", tls: bool = False, **options: Any
) -> Any:
    """Run `body` with an upstream and a provider that asks it; everything is closed afterwards."""

    async def main() -> Any:
        async with Upstream(tls=tls) as up:
            options.setdefault("base_url", up.base_url)
            provider = build_provider(kind, options, "there")
            try:
                return await body(up, provider)
            finally:
                await provider.aclose()

    return asyncio.run(main())


async def failing(call: Coroutine[Any, Any, Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await call
    return caught.value


FAULTS = {  # behaviour: kind, retryable, reached; of a whole reply, and of a stream where that differs
    "hang": ("timeout", True, True),
    "stall": ("timeout", True, True),
    "reset": ("cut", True, True),
    "cut": ("cut", True, True),
    "malformed": ("malformed", True, True),
    "empty": ("malformed", True, True),
    "error_inside": ("server", True, True),
    "big": ("malformed", False, True),
    "rate_limit": ("rate_limit", True, False),
    "server_error": ("server", True, True),
    "overloaded": ("server", True, False),
    "conflict": ("server", True, False),
    "unauthorized": ("refused", False, False),
    "not_found": ("refused", False, False),
    "bad_request": ("refused", False, False),
    "too_long": ("too_long", False, False),
    "redirect": ("refused", False, False),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("behaviour", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_faults(kind: str, behaviour: str, stream: bool) -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        asked = ask(behaviour, "one two three four")
        error = await failing(pieces_of(provider.stream(asked)) if stream else provider.complete(asked))
        assert (error.kind, error.retryable, error.reached) == FAULTS[behaviour]
        assert str(error).startswith(f"there ({provider.address}): ")
        assert SECRET not in str(error)
        assert up.calls() == 1  # one attempt
        halves = ("stall", "cut", "error_inside")
        if stream and behaviour in halves:
            assert isinstance(error.partial, Completion)
            assert "You said: one two three four".startswith(error.partial.text)
            assert error.partial.text.startswith("You said:")
            assert error.partial.usage is None
        elif behaviour != "big":
            assert error.partial is None
        if behaviour == "rate_limit":
            assert (error.retry_after_s, error.status) == (2.0, 429)

    silent = {"first_s": 0.6, "idle_s": 0.5} if behaviour in ("hang", "stall") else {}
    run(body, kind, **silent)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_ends_in_good_order_but_too_early_is_cut(kind: str) -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        error = await failing(pieces_of(provider.stream(ask("early_end", "one two three"))))
        assert (error.kind, error.retryable, error.reached) == ("cut", True, True)
        assert error.partial.text.startswith("You said:")

    run(body, kind)


@pytest.mark.parametrize(
    ("options", "retryable", "said"),
    [
        ({"base_url": closed_port()}, True, "could not connect"),
        ({"base_url": NO_SUCH_HOST}, True, "has no address"),
    ],
    ids=["refused", "no such host"],
)
def test_no_connection(options: dict[str, Any], retryable: bool, said: str) -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        error = await failing(provider.complete(ask()))
        assert (error.kind, error.retryable, error.reached) == ("connect", retryable, False)
        assert said in str(error)

    run(body, **options)


def test_a_connection_that_takes_too_long() -> None:
    """A listener that accepts nobody and whose queue is full: the kernel leaves further connections without an answer."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            waiter = waiting.enter_context(socket.socket())
            waiter.setblocking(False)
            waiter.connect_ex(("127.0.0.1", port))

        async def body(up: Upstream, provider: Provider) -> None:
            error = await failing(provider.complete(ask()))
            assert (error.kind, error.retryable, error.reached) == ("connect", True, False)
            assert "connect_s = 0.1 s" in str(error)

        run(body, base_url=f"http://127.0.0.1:{port}", connect_s=0.1)


def test_a_certificate_that_has_expired() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        error = await failing(provider.complete(ask()))
        assert (error.kind, error.retryable, error.reached) == ("connect", False, False)
        assert "certificate has expired" in str(error)
        assert up.calls() == 0

    run(body, tls=True, ca_file=str(EXPIRED))


def test_a_certificate_nobody_knows_and_how_to_ignore_it() -> None:
    async def refused(up: Upstream, provider: Provider) -> None:
        error = await failing(provider.complete(ask()))
        assert (error.kind, error.retryable, error.reached) == ("connect", False, False)
        assert "certificate" in str(error)

    async def taken(up: Upstream, provider: Provider) -> None:
        assert (await provider.complete(ask())).text == "You said: hello"

    run(refused, tls=True)
    run(taken, tls=True, verify_tls=False)


def test_no_tls_where_it_is_expected() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        other = build_provider("openai", {"base_url": up.base_url.replace("http:", "https:")})
        error = await failing(other.complete(ask()))
        await other.aclose()
        assert (error.kind, error.retryable, error.reached) == ("connect", False, False)

    run(body)


def test_a_ca_file_that_is_not_there() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        with pytest.raises(PoolError, match=r"ca_file = '/no/such.pem'"):
            await provider.complete(ask())

    run(body, ca_file="/no/such.pem")


@pytest.mark.parametrize(
    ("behaviour", "usage"),
    [("good", Usage(1, 3)), ("no_usage", None), ("zero_usage", Usage(0, 0)), ("huge_usage", Usage(10**9, 10**9)),
     ("negative_usage", None)],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_usage_is_what_the_upstream_says(kind: str, behaviour: str, usage: Usage | None) -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        assert (await provider.complete(ask(behaviour))).usage == usage
        assert (await pieces_of(provider.stream(ask(behaviour))))[-1].usage == usage

    run(body, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_that_answered_is_named(kind: str) -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        assert (await provider.complete(ask("wrong_model"))).served_by == "quite-another-model"
        assert (await pieces_of(provider.stream(ask("wrong_model"))))[-1].served_by == "quite-another-model"

    run(body, kind)


def test_request_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", SECRET + "\n")

    async def body(up: Upstream, provider: Provider) -> None:
        options = {"tools": [{"type": "function"}], "top_p": 0.5, "vendor_thing": {"a": [1]}}
        await provider.complete(ask("m", options=options, stop=("END",), max_tokens=9))
        seen = up.requests[0]
        assert seen.path == "/v1/chat/completions"
        assert seen.headers["Authorization"] == f"Bearer {SECRET}"
        assert seen.headers["X-Team"] == "blue"
        assert seen.body == {
            **options,
            "model": "m",
            "messages": [{"role": "user", "content": "hello"}],
            "max_completion_tokens": 9,
            "stop": ["END"],
            "temperature": 0,
        }

    run(body, api_key_env="A_KEY", headers={"X-Team": "blue"}, max_tokens_field="max_completion_tokens")


def test_no_key_is_sent_where_none_is_named() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        await provider.complete(ask())
        assert "Authorization" not in up.requests[0].headers

    run(body)


@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "schlüssel"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_key_is_named_not_shown(kind: str, value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("A_KEY", raising=False)
    else:
        monkeypatch.setenv("A_KEY", value)

    async def body(up: Upstream, provider: Provider) -> None:
        for call in (provider.complete(ask()), pieces_of(provider.stream(ask()))):
            error = await failing(call)
            assert (error.kind, error.retryable, error.reached) == ("refused", False, False)
            assert "A_KEY" in str(error)
            assert "lines" not in str(error)
        assert up.calls() == 0

    run(body, kind, api_key_env="A_KEY")


async def outcome(call: Awaitable[Any]) -> str:
    """All that is printed of a call's failure."""
    try:
        await call
    except ProviderError as error:
        return "".join(traceback.format_exception(error))
    return "none"


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_ever_shown(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a message, a traceback, or a printed configuration: a key in the environment, the URL, or a header."""
    monkeypatch.setenv("A_KEY", "env-" + SECRET)

    async def body(up: Upstream, provider: Provider) -> None:
        address = up.base_url.replace("http://", "http://user:url-" + SECRET + "@") + "?api-key=query-" + SECRET
        options = {"api_key_env": "A_KEY", "headers": {"X-Key": "head-" + SECRET}, "first_s": 0.2, "idle_s": 0.2}
        other = build_provider(kind, {"base_url": address, **options}, "there")
        dead = build_provider(kind, {"base_url": address.replace(str(up.port), "1"), **options}, "there")
        behaviours = ["hang", "reset", "cut", "malformed", "unauthorized", "redirect", "good"]
        echo = json.dumps({"error": {"message": f"bad key env-{SECRET} head-{SECRET} query-{SECRET} url-{SECRET}"}})
        for one, behaviour in [*((other, b) for b in behaviours), (dead, "good"), (other, "canned")]:
            if behaviour == "canned":
                up.script(Canned((echo.encode(),), 400), Canned((echo.encode(),), 400))
            for call in (one.complete(ask(behaviour)), pieces_of(one.stream(ask(behaviour)))):
                said = await outcome(call)
                assert SECRET not in said
                assert ("***" in said) == (behaviour in ("canned", "unauthorized") and one is other)
                assert (said == "none") == (behaviour == "good" and one is other)
        assert up.requests[0].query == {"api-key": "query-" + SECRET}  # it was sent
        assert up.requests[0].headers["X-Key"] == "head-" + SECRET
        for text in (repr(other), repr(other.config.headers and other), other.address, other.name):
            assert SECRET not in text
        assert "head-" not in repr(other.config)
        await other.aclose()
        await dead.aclose()

    run(body, kind)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host/v1", "http://", "http://[bad"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        build_provider("openai", {"base_url": url})


def test_a_slow_reply_is_read_to_its_end() -> None:
    """A byte at a time, each sooner than `idle_s`: silence counts, not the sum."""

    async def body(up: Upstream, provider: Provider) -> None:
        events = b'data: {"choices": [{"delta": {"content": "ab"}}]}\r\n\r\ndata: [DONE]\r\n\r\n'
        up.script(Canned.stream(events, size=1, gap_s=0.03))  # some 80 bytes: 2.4 seconds
        pieces = await pieces_of(provider.stream(ask()))
        assert pieces[:-1] == [Delta("ab")]
        assert pieces[-1].text == "ab"

    run(body, idle_s=1.5, first_s=1.5)


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_events_may_be_cut_anywhere(size: int) -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        events = (
            ': hello\r\n\r\ndata: {"choices": [{"delta": {"content": "grün"}}],\r\ndata: "model": "m"}\r\n\r\n'
            'data: {"choices": [{"delta": {"content": " 🌍"}, "finish_reason": "stop"}]}\n\n'
            'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\ndata: [DONE]'
        )
        up.script(Canned.stream(events.encode(), size=size))
        done = (await pieces_of(provider.stream(ask())))[-1]
        assert (done.text, done.usage, done.served_by) == ("grün 🌍", Usage(1, 2), "m")

    run(body)


def test_a_finish_reason_without_done_is_an_end() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        up.script(Canned.stream(b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "length"}]}\n\n'))
        done = (await pieces_of(provider.stream(ask())))[-1]
        assert (done.text, done.finish) == ("a", "length")

    run(body)


def test_a_cut_event_is_a_cut_stream() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        up.script(Canned.stream(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: {"choices": [{"del'))
        error = await failing(pieces_of(provider.stream(ask())))
        assert (error.kind, error.partial.text) == ("cut", "a")

    run(body)


def test_an_upstream_that_does_not_stream() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        up.script(Canned((b'{"choices": [{"message": {"content": "all at once"}, "finish_reason": "stop"}]}',)))
        assert [piece.text for piece in await pieces_of(provider.stream(ask()))] == ["all at once", "all at once"]

    run(body)


def test_tool_calls_whole_and_streamed() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        whole = await provider.complete(ask("tools"))
        streamed = (await pieces_of(provider.stream(ask("tools"))))[-1]
        assert whole.finish == streamed.finish == "tool_calls"
        assert whole.message["tool_calls"] == streamed.message["tool_calls"]
        assert json.loads(whole.message["tool_calls"][0]["function"]["arguments"]) == {"name": "Zürich", "n": [1, 2]}

    run(body)


def test_reading_stops_at_the_limit_whatever_the_headers_say() -> None:
    bomb = gzip.compress(b'{"choices": "' + b"x" * 2_000_000)
    long = b'{"choices": [{"message": {"content": "' + b"x" * 3000 + b'"}}]}'
    replies = [
        Canned((long,)),  # chunked
        Canned((long,), headers={"Content-Length": str(len(long))}),
        Canned((bomb,), headers={"Content-Encoding": "gzip"}),
        Canned.stream(b"data: " + b"x" * 3000),  # an event without an end
        Canned.stream(b'data: {"choices": [{"delta": {"content": "xxxxxxxxxx"}}]}\n\n' * 300),
    ]

    async def body(up: Upstream, provider: Provider) -> None:
        for reply in replies:
            up.script(reply)
            streamed = reply.headers.get("Content-Type") == "text/event-stream"
            error = await failing(pieces_of(provider.stream(ask())) if streamed else provider.complete(ask()))
            assert (error.kind, error.retryable) == ("malformed", False)
            assert "max_reply_bytes = 2000" in str(error)

    run(body, max_reply_bytes=2000)


def test_a_wrong_content_length() -> None:
    """More promised than sent is a cut; the rest of what was sent beyond the promise is never read."""
    whole = b'{"choices": [{"message": {"content": "a"}}]}'

    async def body(up: Upstream, provider: Provider) -> None:
        up.script(Canned((whole,), headers={"Content-Length": str(len(whole) + 10)}, cut=True))
        assert (await failing(provider.complete(ask()))).kind == "cut"

    run(body)


def test_what_is_no_http() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        other = build_provider("openai", {"base_url": f"http://127.0.0.1:{port}"})
        error = await failing(other.complete(ask()))
        assert (error.kind, error.retryable, error.reached) == ("malformed", True, True)
        await other.aclose()
        server.close()
        await server.wait_closed()

    run(body)


@pytest.mark.parametrize("text", ["\ud800 half a pair", "\x00", "\u2028"])
def test_text_that_is_hard_to_write(text: str) -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        await provider.complete(ask(text=text))
        assert up.requests[0].last == text

    run(body)


def test_options_that_are_no_json() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        error = await failing(provider.complete(ask(options={"x": object()})))
        assert (error.kind, error.reached) == ("refused", False)
        assert "a object in it" in str(error)
        assert up.calls() == 0

    run(body)


def test_connections_are_kept_and_made_on_use() -> None:
    async def body(up: Upstream, provider: Provider) -> None:
        assert not provider._endpoint._by_loop
        ports = set()
        up.answer = lambda seen: "x"
        for stream in (False, True, False, True):
            await (pieces_of(provider.stream(ask())) if stream else provider.complete(ask()))
            (connections,) = provider._endpoint._by_loop.values()
            ports |= {id(one) for one in connections._idle}
            assert len(connections._idle) == 1, "the connection was not given back"
        assert len(ports) == 1

    run(body)


def test_a_provider_may_be_left_by_a_loop_that_ended() -> None:
    with Upstream.in_thread() as up:
        provider = build_provider("openai", {"base_url": up.base_url})
        texts = [asyncio.run(provider.complete(ask())).text for _ in range(3)]  # never closed in between
        asyncio.run(provider.aclose())
        assert texts == ["You said: hello"] * 3
        assert not provider._endpoint._by_loop


def test_one_refusal_then_good() -> None:
    """What a retry sees: nothing is left over from the failed attempt."""

    async def body(up: Upstream, provider: Provider) -> None:
        up.script("server_error", "good", model="m")
        up.script("rate_limit")
        assert (await failing(provider.complete(ask("m")))).kind == "server"
        assert (await provider.complete(ask("m"))).text == "You said: hello"
        assert (await failing(provider.complete(ask("n")))).kind == "rate_limit"
        assert (await provider.complete(ask("n"))).text == "You said: hello"
        assert [(seen.model, seen.behaviour) for seen in up.requests] == [
            ("m", "server_error"), ("m", "good"), ("n", "rate_limit"), ("n", "good"),
        ]  # fmt: skip

    run(body)
