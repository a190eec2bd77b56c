"""Requests as clients may send them: no option of theirs opens the budget or breaks the call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from routewright.errors import BudgetExceeded
from routewright.pools.bounds import messages_of, most_tokens_in, most_tokens_out
from routewright.pools.budget import Ledger
from routewright.pools.cache import ResponseCache
from routewright.pools.caller import Request, price
from routewright.pools.providers.base import Completion
from routewright.types import ModelCard, Query, Reply, Usage
from tests.pools.doubles import Scripted, scripted_pool

CARD = ModelCard("m0", 1.0, 2.0, output_tokens=100)
NOT_COUNTS = [0, -1, -5, -(10**8), "many", [1], None, True, float("nan"), float("inf"), 0.5]


def call(query: Query, ledger: Ledger, provider: Scripted) -> Reply:
    request = Request("m0", messages_of(query), query, options=query.options)
    return asyncio.run(scripted_pool(provider).call(request, ledger))


@pytest.mark.parametrize("value", NOT_COUNTS, ids=repr)
@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens"])
def test_an_option_that_is_no_count_reserves_as_much_as_none(name: str, value: Any) -> None:
    pool = scripted_pool(Scripted())
    for options in ({name: value}, {name: value, "n": 3}) if name != "n" else ({name: value},):
        query = Query("What is 2 + 2?", options=options)
        plain = Query("What is 2 + 2?", options={"n": options["n"]} if name != "n" and "n" in options else {})
        worst = [
            price(pool.members["m0"], Request("m0", messages_of(q), q, options=q.options)).worst for q in (query, plain)
        ]
        assert worst[0] == worst[1]
        assert worst[0] is not None
        assert worst[0] > 0


@pytest.mark.parametrize("options", [{"n": -5}, {"n": -(10**9)}, {"max_tokens": -1}, {"max_tokens": -(10**8)}])
def test_no_option_makes_a_ledger_richer(options: dict[str, Any]) -> None:
    provider = Scripted(Completion("four", Usage(10, 5)))
    with pytest.raises(BudgetExceeded):
        call(Query("What is 2 + 2?", options=options), Ledger(1e-6), provider)
    assert not provider.asked
    ledger = Ledger(1.0)
    assert call(Query("What is 2 + 2?", options=options), ledger, provider).cost_usd > 0
    assert ledger.spent == 20_000_000
    assert provider.asked[0].max_tokens == 100  # a limit below 1 means endless to some servers


def test_counts_written_otherwise_count() -> None:
    assert most_tokens_out(CARD, None, {"max_tokens": "40"}) == 40
    assert most_tokens_out(CARD, None, {"max_tokens": 40.0}) == 40
    assert most_tokens_out(CARD, None, {"max_tokens": 400}) == 100
    assert most_tokens_out(CARD, 7, {"max_tokens": 40}) == 7


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        (({"role": "user", "content": [{"type": "text", "text": "half a pair: \ud800"}]},), {}),
        (({"role": "user", "content": "half \ud800", "name": "\udfff"},), {}),
        ((), {"tools": [{"type": "function", "function": {"name": "f", "description": "\ud800"}}]}),
        ((), {"user": "\ud800"}),
    ],
    ids=["part", "name", "tools", "option"],
)
def test_half_a_surrogate_pair_is_counted_and_kept(messages: Any, options: dict[str, Any], tmp_path: Path) -> None:
    """JSON can say it and Python reads it; UTF-8 has no place for it."""
    query = Query("hello", messages=messages, options=options)
    assert most_tokens_in(messages_of(query), options) > 0
    pool = scripted_pool(Scripted(Completion("four", None), Completion("five", None)))
    object.__setattr__(pool, "cache", ResponseCache(tmp_path / "c.sqlite"))
    request = Request("m0", messages_of(query), query, options=options)

    async def twice() -> list[Reply]:
        replies = [await pool.call(request, Ledger(1.0)) for _ in range(2)]
        await pool.aclose()
        return replies

    first, second = asyncio.run(twice())
    assert (first.text, second.text, second.cached) == ("four", "four", True)
    assert first.usage.estimated
