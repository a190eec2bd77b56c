"""Pool files: what is read, what is refused, and changing one while it is in use."""

from __future__ import annotations

import asyncio
import os
import tomllib
from pathlib import Path

import pytest

from routewright.errors import ConfigError, RoutewrightError
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.pools.config import as_toml, check_pool, read_pool
from routewright.pools.pool import PoolFile, load_pool
from routewright.types import Query

GOOD = """
[providers.here]
kind = "echo"
prefix = "> "
concurrency = 3
retries = 0

[[models]]
name = "small"
provider = "here"
usd_per_mtok_in = 0.1
usd_per_mtok_out = 0.4
usd_per_mtok_cached = 0.05
context_tokens = 8000
output_tokens = 500
capabilities = ["tools", "json"]
description = "quick"
fallback = ["plain"]

[[models]]
name = "plain"
provider = "echo"
usd_per_mtok_in = 1
usd_per_mtok_out = 2
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_pool_file_is_read(tmp_path: Path) -> None:
    pool = load_pool(write(tmp_path / "pool.toml", GOOD))
    small, plain = pool.cards
    assert (small.name, small.usd_per_mtok_cached, small.context_tokens, small.output_tokens) == (
        "small",
        0.05,
        8000,
        500,
    )
    assert small.capabilities == ("tools", "json")
    assert pool.member("small").endpoint.calls.concurrency == 3
    assert [m.card.name for m in pool.line_up("small")] == ["small", "plain"]
    assert plain.usd_per_mtok_out == 2
    reply = asyncio.run(pool.call(Request("small", ({"role": "user", "content": "hi"},), Query("hi")), Ledger()))
    assert reply.text == "> hi"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("[[models]]", "[[model]]"), "Unknown key 'model'.*Known: providers, models, cache"),
        (('name = "plain"', 'name = "small"'), "'small' is listed twice"),
        (('provider = "echo"', 'provider = "nobody"'), "'nobody'.*neither a section.*Known: here, openai"),
        (('fallback = ["plain"]', 'fallback = ["plane"]'), "names 'plane'.*Expected another model of this file: plain"),
        (('fallback = ["plain"]', 'fallback = ["small"]'), "names 'small'"),
        (('kind = "echo"', 'kind = "ecco"'), "No provider is called 'ecco'. Did you mean 'echo'"),
        (('kind = "echo"', ""), "providers.here.*has no kind"),
        (('prefix = "> "', 'prefex = "> "'), "Unknown key 'prefex'.*Known: prefix"),
        (("concurrency = 3", "concurrency = 0"), "concurrency = 0"),
        (("usd_per_mtok_in = 0.1", ""), "usd_per_mtok_in"),
        (("usd_per_mtok_in = 0.1", "usd_per_mtok_in = -1"), "usd_per_mtok_in = -1"),
        (('capabilities = ["tools", "json"]', 'capabilities = ["video"]'), "capabilities"),
        (("retries = 0", "retries = "), "not valid TOML"),
        (('kind = "echo"', "kind = 3"), "kind = 3"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(RoutewrightError, match=says):
        load_pool(write(tmp_path / "pool.toml", GOOD.replace(change[0], change[1], 1)))


def test_a_missing_file_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can not be read"):
        read_pool(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="models"):
        read_pool(write(tmp_path / "empty.toml", ""))


def test_a_key_in_the_file_is_not_taken(tmp_path: Path) -> None:
    """Secrets are names of environment variables; there is no field to put one in."""
    text = GOOD.replace('kind = "echo"', 'kind = "openai"\napi_key = "sk-secret"').replace('prefix = "> "', "")
    with pytest.raises(ConfigError) as caught:
        load_pool(write(tmp_path / "pool.toml", text))
    assert "api_key_env" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def rewrite(path: Path, text: str) -> None:
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_changed_file_is_read_again_and_endpoints_that_did_not_change_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "pool.toml", GOOD)

    async def go() -> None:
        file = PoolFile(path)
        first = await file.current()
        assert await file.current() is first
        rewrite(path, GOOD.replace("usd_per_mtok_in = 0.1", "usd_per_mtok_in = 0.2"))
        second = await file.current()
        assert second.cards[0].usd_per_mtok_in == 0.2
        assert second.member("small").endpoint is first.member("small").endpoint
        rewrite(path, GOOD.replace("retries = 0", "retries = 1"))
        third = await file.current()
        assert third.member("small").endpoint is not second.member("small").endpoint
        assert third.member("plain").endpoint is second.member("plain").endpoint

    asyncio.run(go())


def test_a_file_that_has_become_wrong_changes_nothing_and_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "pool.toml", GOOD)

    async def go() -> None:
        file = PoolFile(path)
        first = await file.current()
        rewrite(path, GOOD.replace("retries = 0", "retries = oops"))
        assert await file.current() is first
        assert "TOML" in str(file.error)
        path.unlink()
        assert await file.current() is first
        assert file.error is not None
        path.write_text(GOOD.replace('"> "', '">> "'))
        assert await file.current() is not first
        assert file.error is None

    asyncio.run(go())


def test_a_call_in_flight_ends_on_the_endpoint_it_began_on(tmp_path: Path) -> None:
    slow = GOOD.replace('prefix = "> "', 'prefix = "> "\ndelay_s = 0.1')
    path = write(tmp_path / "pool.toml", slow)

    async def go() -> None:
        file = PoolFile(path)
        first = await file.current()
        closed: list[int] = []
        provider = first.member("small").endpoint.provider

        async def aclose() -> None:
            closed.append(1)

        provider.aclose = aclose  # type: ignore[method-assign]
        request = Request("small", ({"role": "user", "content": "hi"},), Query("hi"))
        call = asyncio.ensure_future(first.call(request, Ledger()))
        await asyncio.sleep(0.02)
        rewrite(path, slow.replace('"> "', '">> "'))
        second = await file.current()
        assert not closed
        assert (await call).text == "> hi"
        await asyncio.sleep(0.01)
        assert closed == [1]
        assert (await second.call(request, Ledger())).text == ">> hi"

    asyncio.run(go())


def test_a_pool_written_as_toml_is_the_same_pool() -> None:
    values = {
        "transcripts": "lab",
        "providers": {"a b": {"kind": "echo", "prefix": 'say "hi" ≠\n', "retries": 0}},
        "models": [
            {
                "name": "m.1",
                "provider": "a b",
                "usd_per_mtok_in": 0.25,
                "usd_per_mtok_out": 1,
                "capabilities": ["tools"],
            }
        ],
        "cache": {"path": "c.sqlite", "sampled": True},
    }
    assert check_pool(tomllib.loads(as_toml(values)), "it") == check_pool(values, "it")


def test_a_cache_is_kept_while_its_section_is_and_closed_when_it_changes(tmp_path: Path) -> None:
    section = '\n[cache]\npath = "{}"\n'
    path = write(tmp_path / "pool.toml", GOOD + section.format(tmp_path / "one.sqlite"))

    async def go() -> None:
        file = PoolFile(path)
        first = (await file.current()).cache
        assert first is not None
        await first.get("nothing yet")
        assert first._db is not None
        rewrite(path, path.read_text().replace("usd_per_mtok_in = 0.1", "usd_per_mtok_in = 0.2"))
        assert (await file.current()).cache is first
        rewrite(path, path.read_text().replace("one.sqlite", "two.sqlite"))
        second = (await file.current()).cache
        assert second is not None
        assert second.path.name == "two.sqlite"
        assert first._db is None
        rewrite(path, GOOD)
        assert (await file.current()).cache is None
        assert second._db is None

    asyncio.run(go())
