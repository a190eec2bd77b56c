"""Against real servers not written here: two llama.cpp servers in processes of their own, with tiny random models.

The way is the user's: HTTP through the provider `openai`, a pool file, and the command line. The models know nothing,
so what is checked is not what they say but that it arrives, is counted, billed, and explained when one is killed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from routewright.collect.journal import Journal
from routewright.collect.plan import Plan, make_plan
from routewright.collect.queries import Asked
from routewright.collect.run import Ended, Progress, collect, prepare
from routewright.collect.settings import Settings
from routewright.lab.server import LlamaServer
from routewright.outcomes.table import read
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.pools.config import read_pool
from routewright.pools.pool import load_pool
from routewright.pools.providers.base import Delta
from routewright.types import Query, Reply
from tests.extras import needs
from tests.pools.tiny_gguf import write_tiny_gguf

needs("xllamacpp", "local")
needs("gguf", "dev")
pytestmark = pytest.mark.slow

PROVIDER = """
[providers.{name}]
kind = "openai"
base_url = "{url}"
concurrency = 2
retries = 1
backoff_s = 0.01
breaker_cooldown_s = 0.2
connect_s = 2.0
"""
MODEL = """
[[models]]
name = "{name}"
provider = "{name}-server"
usd_per_mtok_in = {price}
usd_per_mtok_out = {price}
context_tokens = 1024
output_tokens = 64
fallback = {fallback}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    return write_tiny_gguf(folder / "one.gguf", seed=1), write_tiny_gguf(folder / "two.gguf", seed=2)


@pytest.fixture
def servers(files: tuple[Path, Path]) -> Iterator[tuple[LlamaServer, LlamaServer]]:
    with LlamaServer(files[0], context=4096) as one, LlamaServer(files[1], context=4096) as two:
        yield one, two


def write_pool(path: Path, one: LlamaServer, two: LlamaServer) -> Path:
    """Models `one` and `two`; each is the other's fallback."""
    path.write_text(
        "".join(PROVIDER.format(name=f"{n}-server", url=s.base_url) for n, s in (("one", one), ("two", two)))
        + MODEL.format(name="one", price=1.0, fallback='["two"]')
        + MODEL.format(name="two", price=2.0, fallback='["one"]')
    )
    return path


def call(pool_file: Path, model: str, text: str = "Say something.", on_delta: Any = None, **more: Any) -> Reply:
    async def work() -> Reply:
        pool = load_pool(pool_file)
        try:
            query = Query(text)
            return await pool.call(
                Request(model, ({"role": "user", "content": text},), query, **more), Ledger(1.0), on_delta
            )
        finally:
            await pool.aclose()

    return asyncio.run(work())


def test_whole_and_streamed(servers: tuple[LlamaServer, LlamaServer], tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.toml", *servers)
    whole = call(pool, "one", max_tokens=24)
    assert whole.error is None
    assert whole.text
    assert not whole.usage.estimated
    assert (whole.usage.tokens_in > 10, whole.usage.tokens_out) == (True, 24)
    assert whole.finish == "length"
    assert whole.cost_usd == pytest.approx((whole.usage.tokens_in + 24) * 1.0 / 1e6)
    pieces: list[Delta | None] = []
    streamed = call(pool, "one", max_tokens=24, on_delta=pieces.append)
    assert "".join(piece.text for piece in pieces if piece) == streamed.text == whole.text
    assert len(pieces) > 5
    assert (streamed.usage.tokens_in, streamed.usage.tokens_out) == (whole.usage.tokens_in, 24)
    assert 0 < streamed.usage.tokens_cached < streamed.usage.tokens_in  # llama.cpp kept the prompt, and says so
    assert streamed.first_token_s is not None
    assert 0 < streamed.first_token_s < streamed.latency_s
    assert call(pool, "two", max_tokens=24).text != whole.text


def test_samples_differ_and_repeat(servers: tuple[LlamaServer, LlamaServer], tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.toml", *servers)
    texts = [call(pool, "one", max_tokens=16, sample=k).text for k in (0, 1, 2, 1)]
    assert len(set(texts[:3])) == 3
    assert texts[3] == texts[1]


def test_a_prompt_too_long_is_told_at_once(servers: tuple[LlamaServer, LlamaServer], tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.toml", *servers)
    pool.write_text(pool.read_text().replace('fallback = ["two"]', ""))
    reply = call(pool, "one", "x7 " * 5000)
    assert reply.error is not None
    assert len(reply.attempts) == 1
    assert "context" in reply.error
    assert reply.cost_usd == 0.0


def test_killed_while_it_streams(servers: tuple[LlamaServer, LlamaServer], tmp_path: Path) -> None:
    """The first words of a reply are void once its server is gone; the fallback's reply comes whole."""
    pool = write_pool(tmp_path / "pool.toml", *servers)
    pool.write_text(pool.read_text().replace("output_tokens = 64", "output_tokens = 1900"))
    pieces: list[Delta | None] = []

    def on_delta(piece: Delta | None) -> None:
        if not pieces:
            servers[0].kill()
        pieces.append(piece)

    reply = call(pool, "one", on_delta=on_delta, max_tokens=1900, options={"ignore_eos": True})
    assert (reply.error, reply.model) == (None, "two")
    void = len(pieces) - pieces[::-1].index(None)
    assert void > 1
    assert "".join(piece.text for piece in pieces[void:] if piece) == reply.text
    assert [a.model for a in reply.attempts] == ["one", "one", "two"]
    assert "connection was lost" in str(reply.attempts[0].error)
    assert "could not connect" in str(reply.attempts[1].error)
    assert reply.attempts[0].cost_usd > 0  # it had worked, and may have been billed
    assert reply.attempts[1].cost_usd == 0
    assert reply.cost_usd == pytest.approx(sum(a.cost_usd for a in reply.attempts))


# -- collect


def plan_of(pool: Path, n: int, **settings: Any) -> Plan:
    asked = [Asked(Query(f"Query number {i}.", f"q{i}", dataset="tiny"), f"word{i}", "contains") for i in range(n)]
    return make_plan(asked, read_pool(pool), Settings(max_tokens=24, **settings))


def go(plan: Plan, path: Path, on_progress: Callable[[Progress], None] | None = None) -> Ended:
    with Journal.open(path, plan.facts()) as journal:
        prepare(plan, journal)
        return asyncio.run(collect(plan, journal, on_progress))


def rows_of(plan: Plan, path: Path) -> list[Any]:
    with Journal.open(path, plan.facts()) as journal:
        return list(journal.rows())


def test_collect_over_both(
    servers: tuple[LlamaServer, LlamaServer], tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pool(tmp_path / "pool.toml", *servers)
    lines = [{"query": f"Query number {i}.", "reference": f"word{i}"} for i in range(30)]
    Path("q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    common = ("--pool", "pool.toml", "--metric", "contains", "--max-tokens", "24", "--samples", "2")
    ran = cli("collect", "q.jsonl", *common, "--out", "t.parquet")
    assert ran.code == 0, ran.err
    frame = read("t.parquet").frame.collect()
    assert frame.height == 120
    assert frame["response"].null_count() == 0
    assert set(frame["tokens_source"]) == {"provider"}
    assert frame["completion_tokens"].is_between(1, 24).all()
    price = pl.when(pl.col("model") == "one").then(1.0).otherwise(2.0)
    bill = (pl.col("prompt_tokens") + pl.col("completion_tokens")) * price / 1e6
    assert frame.select(((bill - pl.col("cost_usd")).abs() < 1e-11).all()).item()
    assert (frame["latency_s"] > 0).all()
    by_model = frame.pivot("model", index=["query_id", "sample"], values="response")
    assert (by_model["one"] != by_model["two"]).all()


def test_one_killed_and_its_fallback_answers(servers: tuple[LlamaServer, LlamaServer], tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool.toml", *servers)
    plan = plan_of(pool, 60, fallback=True)

    def on_progress(now: Progress) -> None:
        if now.rows == 30:
            servers[0].kill()

    ended = go(plan, tmp_path / "j", on_progress)
    assert (ended.progress.rows, ended.progress.failed, ended.missing) == (120, 0, ())
    rows = rows_of(plan, tmp_path / "j")
    own, others = [r for r in rows if not r.note], [r for r in rows if r.note]
    assert len(own) >= 60 + 10
    assert len(others) >= 20
    assert all(plan.split(r.cell)[1] == 0 for r in others)
    for row in others:
        assert row.note.startswith("answered by two: ")
        attempts = json.loads(row.attempts)
        assert [a["model"] for a in attempts][-1] == "two"
        assert attempts[-1]["error"] is None
        reasons = " ".join(a["error"] for a in attempts[:-1])
        assert any(why in reasons for why in ("could not connect", "connection was lost", "left alone")), reasons


def test_one_killed_without_fallback_is_waited_for(
    servers: tuple[LlamaServer, LlamaServer], files: tuple[Path, Path], tmp_path: Path
) -> None:
    """The run ends with what is missing and why; with the server back, it goes on, and no row says that it failed."""
    pool = write_pool(tmp_path / "pool.toml", *servers)
    plan = plan_of(pool, 60, patience_s=0.5)

    def on_progress(now: Progress) -> None:
        if now.rows == 30:
            servers[0].kill()

    ended = go(plan, tmp_path / "j", on_progress)
    assert 60 < ended.progress.rows < 120
    assert ended.progress.failed == 0
    assert "one could not be reached" in ended.missing[0]
    with LlamaServer(files[0], servers[0].port):
        ended = go(plan, tmp_path / "j")
    assert (ended.progress.rows, ended.progress.failed, ended.missing) == (120, 0, ())
    assert {row.note for row in rows_of(plan, tmp_path / "j")} == {""}


# -- ask


def test_ask_over_a_killed_server(
    servers: tuple[LlamaServer, LlamaServer], tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pool(tmp_path / "pool.toml", *servers)
    arguments = (
        "ask",
        "Say something.",
        "--pool",
        "pool.toml",
        "--option",
        "model=one",
        "--max-tokens",
        "16",
        "--trace",
    )
    ran = cli(*arguments)
    assert ran.code == 0, ran.err
    servers[0].kill()
    ran = cli(*arguments)
    assert ran.code == 0, ran.err
    assert "could not connect" in ran.out + ran.err
