"""What every provider of the table promises (`pools/providers/base.py`), and how each is set up to be asked.

A new provider needs a line in `SETUPS`. One whose module is not there yet is skipped, and so is one that needs a world
made for it and is tested with that world.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from routewright.config import Config
from routewright.errors import ConfigError
from routewright.pools.providers.base import Ask, Completion, Delta, Provider, build_provider
from routewright.pools.providers.table import PROVIDERS
from tests.extras import needs
from tests.pools.providers.fake_litellm import fake
from tests.pools.providers.upstream import Upstream
from tests.pools.tiny_gguf import write_tiny_gguf

Setup = Callable[[Path], AbstractContextManager[tuple[Provider, dict[str, Any]]]]
# They answer only queries of their own worlds, and are tested with those: tests/episodes/test_recorded.py, test_simulated.py.
OWN_WORLD = ("recorded", "simulated")


@contextmanager
def echo(folder: Path) -> Iterator[tuple[Provider, dict[str, Any]]]:
    yield build_provider("echo", {"delay_s": 0.03}), {"slow": "any"}


@contextmanager
def openai(folder: Path) -> Iterator[tuple[Provider, dict[str, Any]]]:
    with Upstream.in_thread() as up:
        yield build_provider("openai", {"base_url": up.base_url}), {"slow": "hang", "stall": "stall"}


@contextmanager
def anthropic(folder: Path) -> Iterator[tuple[Provider, dict[str, Any]]]:
    with Upstream.in_thread() as up:
        yield build_provider("anthropic", {"base_url": up.base_url}), {"slow": "hang", "stall": "stall"}


@contextmanager
def local(folder: Path) -> Iterator[tuple[Provider, dict[str, Any]]]:
    needs("xllamacpp", "local")
    needs("gguf", "dev")
    path = write_tiny_gguf(folder / "tiny.gguf")
    yield build_provider("local", {"path": str(path), "context_tokens": 1024}), {"tokens": 900}


@contextmanager
def litellm(folder: Path) -> Iterator[tuple[Provider, dict[str, Any]]]:
    before = sys.modules.get("litellm")
    sys.modules["litellm"] = fake()
    try:
        yield build_provider("litellm"), {"prompt": "wait"}
    finally:
        del sys.modules["litellm"]
        if before is not None:
            sys.modules["litellm"] = before


SETUPS: dict[str, Setup] = {
    "echo": echo,
    "openai": openai,
    "anthropic": anthropic,
    "local": local,
    "litellm": litellm,
}


@pytest.fixture(params=[name for name in PROVIDERS if name not in OWN_WORLD])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clean() -> Iterator[None]:
    """Nothing is left open: no session, no transport, no task whose exception nobody saw."""
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
        gc.collect()
    left = [str(warning.message) for warning in seen if issubclass(warning.category, ResourceWarning | RuntimeWarning)]
    assert not left


def ask(text: str, model: str = "some-model", max_tokens: int = 40) -> Ask:
    return Ask(model, ({"role": "user", "content": text},), max_tokens)


async def streamed(provider: Provider, asked: Ask) -> tuple[str, Completion]:
    """The deltas' text joined, and the completion, which has to come last."""
    pieces = [piece async for piece in provider.stream(asked)]
    assert [isinstance(piece, Completion) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    last = pieces[-1]
    assert isinstance(last, Completion)
    return "".join(piece.text for piece in pieces if isinstance(piece, Delta)), last


def run(kind: str, folder: Path, body: Callable[[Provider, dict[str, Any]], Any]) -> None:
    """Set the provider up, hand it to `body` in a fresh loop, close it; no task may be left."""

    async def main(provider: Provider, hints: dict[str, Any]) -> None:
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        await body(provider, hints)
        await provider.aclose()
        gc.collect()
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not problems

    with SETUPS[kind](folder) as (provider, hints):
        asyncio.run(main(provider, hints))


@pytest.mark.parametrize(
    "text", ["What is 2 and 2?", "", "Grüße, 世界 🌍 \u202e\x00 ende", "line\r\nline\n\n data: x", "a" * 900]
)
def test_a_stream_adds_up_to_the_whole(kind: str, text: str, tmp_path: Path, clean: None) -> None:
    async def body(provider: Provider, hints: dict[str, Any]) -> None:
        whole = await provider.complete(ask(text))
        joined, last = await streamed(provider, ask(text))
        assert joined == last.text == whole.text
        assert last.finish == whole.finish
        for done in (whole, last):
            assert done.finish in ("stop", "length", "tool_calls", "content_filter")
            if done.usage is not None:
                assert min(done.usage.tokens_in, done.usage.tokens_out, done.usage.tokens_cached) >= 0
                assert done.usage.tokens_cached <= done.usage.tokens_in

    run(kind, tmp_path, body)


def test_closing_twice_is_harmless_and_a_later_call_works(kind: str, tmp_path: Path, clean: None) -> None:
    async def body(provider: Provider, hints: dict[str, Any]) -> None:
        await provider.aclose()  # before anything was opened
        first = await provider.complete(ask("hello"))
        await provider.aclose()
        await provider.aclose()
        assert (await provider.complete(ask("hello"))).text == first.text

    run(kind, tmp_path, body)


def test_one_provider_serves_one_loop_after_another(kind: str, tmp_path: Path, clean: None) -> None:
    async def main(provider: Provider) -> str:
        done = await provider.complete(ask("hello"))
        await provider.aclose()
        return done.text

    with SETUPS[kind](tmp_path) as (provider, _):
        assert asyncio.run(main(provider)) == asyncio.run(main(provider))


def test_ten_calls_at_once_get_their_own_answers(kind: str, tmp_path: Path, clean: None) -> None:
    async def body(provider: Provider, hints: dict[str, Any]) -> None:
        alone = [(await provider.complete(ask(f"number {i}"))).text for i in range(10)]
        together = await asyncio.gather(*(provider.complete(ask(f"number {i}")) for i in range(10)))
        assert [done.text for done in together] == alone

    run(kind, tmp_path, body)


def test_a_cancelled_call_leaves_nothing_behind(kind: str, tmp_path: Path, clean: None) -> None:
    async def body(provider: Provider, hints: dict[str, Any]) -> None:
        slow = ask(hints.get("prompt", "hello"), hints.get("slow", "some-model"), hints.get("tokens", 40))
        call = asyncio.ensure_future(provider.complete(slow))
        await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await provider.complete(ask("still here"))).text

    run(kind, tmp_path, body)


def test_a_stream_left_early_leaves_nothing_behind(kind: str, tmp_path: Path, clean: None) -> None:
    async def body(provider: Provider, hints: dict[str, Any]) -> None:
        asked = ask("one two three four", hints.get("stall", "some-model"), hints.get("tokens", 40))
        async with aclosing(provider.stream(asked)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                assert isinstance(piece, Delta)
                break
        assert (await provider.complete(ask("still here"))).text

    run(kind, tmp_path, body)


def test_options_are_checked_and_described(kind: str) -> None:
    cls = PROVIDERS.load(kind)
    assert cls.kind == kind
    assert cls.summary
    assert issubclass(cls.Config, Config)
    assert all(field.description for field in cls.Config.model_fields.values())
    with pytest.raises(ConfigError, match="colour"):
        build_provider(kind, {"colour": "red"})
