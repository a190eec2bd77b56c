"""The simulated provider: right as often as it says, wrong in so many ways, the same when asked again."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from routewright.episodes.engine import run
from routewright.errors import ConfigError, ProviderError
from routewright.outcomes.simulated import POOL, expected, read, simulate
from routewright.policies.base import build_policy
from routewright.pools.bounds import messages_of
from routewright.pools.pool import load_pool
from routewright.pools.providers.base import Ask, Completion, Provider, build_provider
from routewright.pools.providers.simulated import cards, right_key
from routewright.tasks import answer_key
from routewright.types import Query

TEXT = "Write a Go function that reverses a string."


def ask(provider: Provider, text: str = TEXT, model: str = "sim-small", **more: Any) -> Completion:
    query = Query(text)
    return asyncio.run(
        provider.complete(Ask(model, messages_of(query), more.pop("max_tokens", 4096), query=query, **more))
    )


def test_queries_are_read_as_they_were_made() -> None:
    """3,000 queries of the generator: exact but for some of arithmetic (0.4 % of 1,213 measured); 3 % are allowed."""
    odd: Counter[str] = Counter()
    rows = simulate(3000, 11).filter(pl.col("model") == "sim-coder")
    for task, text, p in rows.select("task", "query", "true_quality").iter_rows():
        found = read(text)
        assert found is not None
        assert found[0] == task
        odd[task] += abs(expected(*found, "sim-coder")[0] - p) > 1e-12
    assert odd["arithmetic"] < 0.03 * len(rows.filter(pl.col("task") == "arithmetic"))
    assert odd.total() == odd["arithmetic"]
    assert read("How many vowels are in Zurich?") is None
    assert read("") is None


def test_it_is_right_as_often_as_it_says_and_wrong_ones_agree_by_chance() -> None:
    """2,000 samples of one query: deviation 0.011 of the share right, 0.017 of a wrong key's share; margins of four."""
    provider = build_provider("simulated", {"n_wrong": 4})
    family, difficulty = read(TEXT)  # type: ignore[misc]
    p, mean_out = expected(family, difficulty, "sim-small")
    got = [ask(provider, sample=k) for k in range(2000)]
    said = Counter(g.key for g in got)
    right = str(right_key(TEXT))
    assert abs(said[right] / 2000 - p) < 0.045
    wrong = {k: n for k, n in said.items() if k != right}
    assert len(wrong) == 4
    assert all(abs(n / sum(wrong.values()) - 0.25) < 0.07 for n in wrong.values())
    tokens = [g.usage.tokens_out for g in got if g.usage is not None]
    assert abs(sum(tokens) / 2000 / mean_out - 1) < 0.03  # deviation 0.0056


def test_models_err_independently() -> None:
    """Both right, of 1,500 queries: the product of the two; deviation 0.013, margin of four."""
    provider = build_provider("simulated")
    texts = simulate(1500, 2)["query"].unique(maintain_order=True).to_list()
    both = alone = 0.0
    for text in texts:
        found = read(text)
        assert found is not None
        alone += expected(*found, "sim-large")[0] * expected(*found, "sim-medium")[0]
        both += all(ask(provider, text, m).key == str(right_key(text)) for m in ("sim-large", "sim-medium"))
    assert abs(both - alone) / len(texts) < 0.052


def test_asked_again_it_says_the_same() -> None:
    one, other = build_provider("simulated"), build_provider("simulated", {"seed": 1})
    texts = simulate(60)["query"].unique(maintain_order=True).to_list()
    assert [ask(one, t) for t in texts] == [ask(one, t) for t in texts]
    assert [ask(one, t).key for t in texts] != [ask(other, t).key for t in texts]
    assert [ask(one, t).key for t in texts] != [ask(one, t, sample=1).key for t in texts]
    assert one.address != other.address  # or the response cache would mix them up


def test_the_text_says_what_the_key_says() -> None:
    done = ask(build_provider("simulated"))
    assert re.fullmatch(r"The answer is \d+\.", done.text)
    assert answer_key("number", done.text) == answer_key("short", done.text) == done.key


def test_a_reply_that_is_cut_has_no_answer() -> None:
    done = ask(build_provider("simulated"), max_tokens=5)
    assert (done.finish, done.key) == ("length", None)
    assert done.usage is not None
    assert done.usage.tokens_out == 5


def test_latency_is_told_or_taken() -> None:
    told = build_provider("simulated", {"first_token_s": 5.0, "tokens_per_s": 1.0})
    began = time.perf_counter()
    done = ask(told)
    assert time.perf_counter() - began < 4.0
    assert done.usage is not None
    assert done.latency_s == 5.0 + done.usage.tokens_out
    taken = build_provider("simulated", {"first_token_s": 0.1, "tokens_per_s": 1e6, "wait": True})
    began = time.perf_counter()
    ask(taken)
    assert time.perf_counter() - began >= 0.1


def test_a_model_it_does_not_have_is_refused() -> None:
    with pytest.raises(ProviderError, match=r"no simulated model is called 'gpt'.*sim-large") as caught:
        ask(build_provider("simulated"), model="gpt")
    assert not caught.value.reached
    with pytest.raises(ConfigError, match="n_wrong = 0"):
        build_provider("simulated", {"n_wrong": 0})


def test_a_pool_file_may_name_it(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text(
        '[providers.sim]\nkind = "simulated"\nseed = 3\n\n'
        + "".join(
            f'[[models]]\nname = "{c.name}"\nprovider = "sim"\nusd_per_mtok_in = {c.usd_per_mtok_in}\n'
            f"usd_per_mtok_out = {c.usd_per_mtok_out}\noutput_tokens = 4096\n\n"
            for c in cards()
        )
    )
    pool = load_pool(tmp_path / "pool.toml")
    assert pool.models == tuple(POOL)
    policy = build_policy("vote", {"models": ["sim-large", "sim-medium", "sim-coder"]})
    episode = asyncio.run(run(policy, pool, Query(TEXT), 0.01, 1.0))
    costs = []
    for name in ("sim-large", "sim-medium", "sim-coder"):
        usage = ask(build_provider("simulated", {"seed": 3}), model=name).usage
        assert usage is not None
        costs.append((usage.tokens_in * POOL[name][0] + usage.tokens_out * POOL[name][1]) / 1e6)
    assert episode.cost_usd == pytest.approx(sum(costs))
    assert episode.answer.startswith("The answer is ")
