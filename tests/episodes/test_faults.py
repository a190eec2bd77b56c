"""The fault table: what an ill upstream can do to an episode. Nothing loses its record, passes the budget, or blocks others.

Each row runs whole and streamed, once with nobody to fall back on and once with a healthy model behind it.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from routewright.episodes.engine import run
from routewright.episodes.trace import TraceFile, replay, to_lines
from routewright.policies.base import build_policy
from routewright.pools.pool import Pool, load_pool
from routewright.types import Episode, Query
from tests.pools.providers.upstream import NO_SUCH_HOST, Upstream, closed_port

BUDGET_USD = 0.02
DEADLINE_S = 1.0
LONG_S = 60.0  # of what has to come, however busy the machine
CALLS = {
    "retries": 1,
    "backoff_s": 0.01,
    "connect_s": LONG_S,
    "idle_s": LONG_S,
    "deadline_s": LONG_S,
    "api_key_env": "",
}


@dataclass(frozen=True)
class Fault:
    """One row: what the upstream does, and what has to be seen."""

    name: str
    script: tuple[str, ...] = ()  # behaviours of the ill model's requests, in order
    where: str = "up"  # up, closed, dns, tls
    says: str = ""  # in the trace's attempts
    answers: bool = False  # comes right by itself
    charged: bool = False  # the failure costs something: the upstream may have worked
    overruns: bool = False
    waits: bool = False  # for so long that a healthy call beside it ends first


FAULTS = [
    Fault("refused connection", where="closed", says="connect"),
    Fault("DNS failure", where="dns", says="upstream.invalid"),
    Fault("expired TLS", where="tls", says="certificate"),
    Fault("hang", ("hang", "hang"), says="within", charged=True, waits=True),
    Fault("slow drip", ("drip", "drip"), says="within", charged=True, waits=True),
    Fault("429 with Retry-After", ("rate_limit", "good"), says="429", answers=True, waits=True),
    Fault("429 for good", ("rate_limit", "rate_limit"), says="429", waits=True),
    Fault("500 then good", ("server_error", "good"), says="500", answers=True, charged=True),
    Fault("malformed JSON", ("malformed", "malformed"), says="", charged=True),
    Fault("stream cut", ("cut", "cut"), says="", charged=True),
    Fault("usage missing", ("no_usage",), says="no usage reported", answers=True),
    Fault("usage lying: far too much", ("huge_usage",), says="more than it was asked for", answers=True, overruns=True),
    Fault("usage lying: nothing", ("zero_usage",), says="implausible usage", answers=True),
    Fault("wrong model name echoed", ("wrong_model",), says="upstream says it is", answers=True),
    Fault("10 MB reply", ("big", "big"), says="", charged=True),
]


def _pool(up: Upstream, tls: Upstream, fault: Fault, fallback: bool) -> Pool:
    where = {
        "up": up.base_url,
        "closed": closed_port(),
        "dns": NO_SUCH_HOST,
        "tls": tls.base_url,
    }[fault.where]
    prices = {"usd_per_mtok_in": 1.0, "usd_per_mtok_out": 2.0, "output_tokens": 100}
    deadline_s = DEADLINE_S if "within" in fault.says else LONG_S
    return load_pool(
        {
            "providers": {
                "ill": {"kind": "openai", "base_url": where, **CALLS, "deadline_s": deadline_s},
                "well": {"kind": "openai", "base_url": up.base_url, **CALLS},
            },
            "models": [
                {"name": "ill", "provider": "ill", "fallback": ["well"] if fallback else [], **prices},
                {"name": "well", "provider": "well", **prices},
            ],
        }
    )


async def _episode(fault: Fault, stream: bool, fallback: bool, record: Path) -> tuple[Episode, list[Any]]:
    """Run the fault, with a healthy episode beside it, which it must not hold up; returns the episode and its pieces."""
    pieces: list[Any] = []
    async with Upstream() as up, Upstream(tls=True) as tls:
        up.script(*fault.script, model="ill")
        pool = _pool(up, tls, fault, fallback)
        single = build_policy("single", {"model": "ill"})
        query = Query("What is the capital of France?")
        with TraceFile(record) as sink:
            ill = asyncio.ensure_future(
                run(single, pool, query, 0.01, BUDGET_USD, sink=sink, on_delta=pieces.append if stream else None)
            )
            while fault.where == "up" and not up.calls("ill"):  # until the fault is under way
                await asyncio.sleep(0.01)
            healthy = await run(build_policy("single", {"model": "well"}), pool, query, 0.01, BUDGET_USD)
            assert healthy.answer.startswith("You said")
            assert not (fault.waits and ill.done()), "the healthy call waited for the ill one"
            episode = await ill
        await pool.aclose()
    return episode, pieces


@pytest.mark.parametrize("fallback", [False, True], ids=["alone", "fallback"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", FAULTS, ids=[f.name for f in FAULTS])
def test_a_fault_is_survived(fault: Fault, stream: bool, fallback: bool, tmp_path: Path) -> None:
    record = tmp_path / "trace.jsonl"
    episode, pieces = asyncio.run(_episode(fault, stream, fallback, record))
    # The record is whole, and tells of every attempt.
    assert replay(record.read_bytes().splitlines()) == episode
    assert replay(to_lines(episode)) == episode
    attempts = [a for s in episode.steps if s.reply is not None for a in s.reply.attempts if a.endpoint == "ill"]
    assert attempts
    said = "; ".join(filter(None, [a.error or a.note for a in attempts]))
    assert fault.says.lower() in said.lower(), said
    assert said
    # An answer, where one is to be had: the pool has a healthy model, and the policy or the fallback finds it.
    assert episode.answer.startswith("You said"), episode
    first = episode.steps[0].reply
    assert first is not None
    assert (first.error is None) == (fault.answers or fallback)
    if not fault.answers:
        assert all(a.error for a in attempts)
        assert (sum(a.cost_usd for a in attempts) > 0) == fault.charged
    # Never above the budget, in our ledger; what an upstream claims beyond its bound is an event.
    assert 0 < episode.cost_usd <= BUDGET_USD
    assert math.isclose(episode.cost_usd, sum(a.cost_usd for s in episode.steps if s.reply for a in s.reply.attempts))
    assert (episode.overrun_usd > 0) == fault.overruns
    # What was streamed since the last void is the answer.
    if stream:
        voids = [i for i, p in enumerate(pieces) if p is None]
        assert "".join(p.text for p in pieces[voids[-1] + 1 if voids else 0 :]) == episode.answer
    assert episode.latency_s < LONG_S  # the upstream's hang and drip take longer


def test_a_retry_after_is_waited_for(tmp_path: Path) -> None:
    fault = next(f for f in FAULTS if f.name == "429 with Retry-After")
    episode, _ = asyncio.run(_episode(fault, False, False, tmp_path / "t"))
    assert episode.latency_s >= 1.9  # the upstream asks for two seconds, and gets them
