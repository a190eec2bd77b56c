"""llama.cpp in this process, with a tiny random model."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from routewright.errors import ConfigError, MissingExtra, PoolError, ProviderError
from routewright.pools.providers.base import Ask, Completion, Delta, Provider, build_provider
from tests.extras import needs
from tests.pools.tiny_gguf import write_tiny_gguf

needs("xllamacpp", "local")
needs("gguf", "dev")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf", seed=1)


def ask(text: str = "hello", max_tokens: int = 12, **more: Any) -> Ask:
    return Ask("tiny", ({"role": "user", "content": text},), max_tokens, **more)


def run(body: Callable[[Provider], Awaitable[Any]], path: Path, **options: Any) -> Any:
    async def main() -> Any:
        provider = build_provider("local", {"path": str(path), "context_tokens": 512, **options})
        try:
            return await body(provider)
        finally:
            await provider.aclose()

    return asyncio.run(main())


def test_the_tiny_model_is_the_same_for_the_same_seed(tmp_path: Path, model: Path) -> None:
    assert write_tiny_gguf(tmp_path / "again.gguf", seed=1).read_bytes() == model.read_bytes()
    assert write_tiny_gguf(tmp_path / "other.gguf", seed=2).read_bytes() != model.read_bytes()
    assert model.stat().st_size < 2**20


def test_greedy_answers_repeat_and_samples_differ(model: Path) -> None:
    async def body(provider: Provider) -> None:
        first = await provider.complete(ask())
        assert (await provider.complete(ask())).text == first.text
        assert first.served_by == "tiny"
        assert first.usage is not None
        assert first.usage.tokens_out <= 12
        samples = [(await provider.complete(ask(sample=k))).text for k in (1, 2, 3)]
        assert len({first.text, *samples}) == 4
        assert (await provider.complete(ask(sample=2))).text == samples[1]

    run(body, model)


def test_seeds_make_different_models(model: Path, tmp_path: Path) -> None:
    async def text(provider: Provider) -> str:
        return (await provider.complete(ask())).text

    other = write_tiny_gguf(tmp_path / "other.gguf", seed=2)
    assert run(text, model) != run(text, other)


def test_two_models_live_side_by_side(model: Path, tmp_path: Path) -> None:
    """Freeing one leaves the other at work."""

    async def main() -> None:
        paths = (model, write_tiny_gguf(tmp_path / "other.gguf", seed=2))
        one, two = (build_provider("local", {"path": str(path), "context_tokens": 1024}) for path in paths)
        before = (await two.complete(ask())).text
        await one.complete(ask())
        long = asyncio.ensure_future(two.complete(ask(max_tokens=600)))
        await asyncio.sleep(0.01)
        await one.aclose()
        await long
        assert (await two.complete(ask())).text == before
        await two.aclose()

    asyncio.run(main())


def test_a_prompt_that_is_too_long(model: Path) -> None:
    async def body(provider: Provider) -> None:
        with pytest.raises(ProviderError) as caught:
            await provider.complete(ask("word " * 1000))
        error = caught.value
        assert (error.kind, error.retryable, error.reached) == ("too_long", False, False)

    run(body, model)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
            {},
            "image input is not supported",
        ),
        ("x", {"n": 2}, "but got 2"),
        ("x", {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "wat"}}}}, "wat"),
    ],
)
def test_what_llama_cpp_refuses(content: Any, options: dict[str, Any], said: str, model: Path) -> None:
    async def body(provider: Provider) -> None:
        with pytest.raises(ProviderError, match=said) as caught:
            await provider.complete(ask(content, options=options))
        error = caught.value
        assert (error.kind, error.retryable, error.reached) == ("refused", False, False)
        assert (await provider.complete(ask())).finish in ("stop", "length")

    run(body, model)


def test_json_comes_out_where_it_is_asked_for(model: Path) -> None:
    """A grammar binds even a model that knows nothing."""

    async def body(provider: Provider) -> None:
        schema = {
            "type": "object",
            "properties": {"a": {"type": "boolean"}},
            "required": ["a"],
            "additionalProperties": False,
        }
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        done = await provider.complete(ask(max_tokens=60, options={"response_format": wanted}))
        assert done.text.replace(" ", "").replace("\n", "").startswith('{"a":')

    run(body, model)


def test_a_template_of_ones_own(model: Path) -> None:
    async def tokens(provider: Provider) -> int:
        usage = (await provider.complete(ask())).usage
        assert usage is not None
        return usage.tokens_in

    assert run(tokens, model, chat_template="{{ messages[0]['content'] }}") < run(tokens, model)


def test_a_file_that_is_not_there_or_no_model(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x00" * 100)

    async def body(provider: Provider) -> None:
        for call in (provider.complete(ask()), provider.complete(ask())):  # and again
            with pytest.raises(PoolError, match="Expected a"):
                await call

    run(body, tmp_path / "none.gguf")
    run(body, broken)


def test_no_path_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="path"):
        build_provider("local")


def test_without_the_package(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    async def body(provider: Provider) -> None:
        with pytest.raises(MissingExtra, match=r"routewright\[local\]"):
            await provider.complete(ask())

    run(body, model)


class Counted:
    """llama.cpp's server, its events counted; after the fifth of a call it waits until `go_on`."""

    def __init__(self, server: Any) -> None:
        self.server, self.events, self.go_on = server, 0, threading.Event()

    def handle_chat_completions(self, body: bytes, take: Callable[[bytes], bool]) -> None:
        def counted(event: bytes) -> bool:
            self.events += 1
            if self.events == 5:
                assert self.go_on.wait(60)
            return take(event)

        self.events = 0
        self.server.handle_chat_completions(body, counted)


def test_leaving_a_stream_stops_the_model(model: Path) -> None:
    async def body(provider: Provider) -> None:
        await provider.complete(ask(max_tokens=1))
        counted = provider._server = Counted(provider._server)  # type: ignore[attr-defined]
        counted.go_on.set()
        long = ask(max_tokens=700, options={"ignore_eos": True})
        assert (await provider.complete(long)).text
        assert counted.events > 300  # some pieces are of several tokens
        counted.go_on.clear()
        async with aclosing(provider.stream(long)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                assert isinstance(piece, Delta)
                break
        counted.go_on.set()
        await asyncio.to_thread(provider._threads.shutdown)  # type: ignore[attr-defined]  # it ends, and soon:
        assert counted.events <= 6
        provider._threads = None  # type: ignore[attr-defined]
        assert (await provider.complete(ask(max_tokens=1))).usage is not None

    run(body, model, context_tokens=1024)


def test_closing_ends_what_runs_and_what_waits(model: Path) -> None:
    async def main() -> None:
        provider = build_provider("local", {"path": str(model), "context_tokens": 2048})
        calls = [
            asyncio.ensure_future(provider.complete(ask(max_tokens=1900, options={"ignore_eos": True})))
            for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        await provider.aclose()
        ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        assert {type(end) for end in ends} <= {ProviderError, Completion}
        assert any(isinstance(end, ProviderError) and end.kind == "connect" and not end.reached for end in ends)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("routewright-local")]

    asyncio.run(main())


def test_slots_run_at_once(model: Path) -> None:
    async def body(provider: Provider) -> None:
        alone = [(await provider.complete(ask(f"number {i}"))).text for i in range(6)]
        together = await asyncio.gather(*(provider.complete(ask(f"number {i}")) for i in range(6)))
        assert len(alone) == len(together)
        assert all(done.usage is not None and done.usage.tokens_out for done in together)

    run(body, model, slots=3)
