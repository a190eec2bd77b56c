"""Recorded worlds: what is legal there, what was never recorded, bounds, and trees whose replies depend on earlier ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from routewright.episodes.batched import Batch
from routewright.episodes.engine import run
from routewright.episodes.recorded import read_world, recorded_pool, recorded_tree, world_of
from routewright.errors import EpisodeError, TableError, UnrecordedBranch
from routewright.outcomes import load, write
from routewright.policies.base import build_policy
from routewright.types import Answer, Call, ModelCard, Query
from tests.episodes.test_engine import Told
from tests.episodes.worlds import random_outcomes, random_world
from tests.pools.doubles import Scripted, scripted_pool

WORLD = random_world(30, 3, tight=False, failing=0)


def on_table(*wishes: object, query: Query | None = None) -> object:
    return asyncio.run(run(Told(*wishes), recorded_pool(WORLD), query or WORLD.outcomes.queries[0], 0.01))


def test_a_table_answers_with_what_was_recorded() -> None:
    episode = on_table(Call("m1"), Answer())
    assert episode.quality == WORLD.outcomes.quality[0, 1]  # type: ignore[attr-defined]
    assert episode.latency_s == WORLD.outcomes.latency_s[0, 1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wishes", "error", "says"),
    [
        ((Call("m1"), Call("m1")), EpisodeError, "asked before"),
        ((Call("m1"), Call("m2", context="transcript")), EpisodeError, "independent answers"),
        ((Call("m1", prompt="another"),), EpisodeError, "independent answers"),
        ((Call("m1", sample=1),), UnrecordedBranch, r"no answer of m1 \(sample 1\)"),
        ((Call("m1"), Answer("text", "mine")), UnrecordedBranch, "can not score"),
    ],
)
def test_a_branch_that_was_not_recorded_raises_and_scores_nothing(
    wishes: tuple[object, ...], error: type, says: str
) -> None:
    with pytest.raises(error, match=says):
        on_table(*wishes)


def test_an_unknown_query_raises() -> None:
    with pytest.raises(UnrecordedBranch, match="query random/q999"):
        on_table(Call("m1"), query=Query("?", "q999", dataset="random"))


def test_the_batch_refuses_an_action_outside_the_mask() -> None:
    batch = Batch(WORLD, np.array([0, 1]), 0.01)
    batch.step(np.array([0, 0]))
    with pytest.raises(EpisodeError, match="Episode 1: asking m0"):
        batch.step(np.array([1, 0]))
    with pytest.raises(EpisodeError, match="answering"):
        Batch(WORLD, np.array([0]), 0.01).step(np.array([3]))


def test_a_bound_from_a_declared_limit_makes_long_replies_overrun() -> None:
    outcomes = random_outcomes(50, 2, seed=2)
    cards = [ModelCard(f"m{i}", 1.0, 2.0) for i in range(2)]
    outcomes.cost_usd[:] = (outcomes.tokens_in * 1.0 + outcomes.tokens_out * 2.0) / 1e6
    world = world_of(outcomes, cards, max_tokens=100)
    batch = Batch(world, np.arange(50), 0.01, 1.0)
    batch.step(np.zeros(50, dtype=np.int64))
    most = (outcomes.tokens_in[:, 0].max() + 200) / 1e6
    over = outcomes.cost_usd[:, 0] > most + 1e-12
    assert over.any()
    assert np.array_equal(batch.done, over)
    assert (batch.cost_usd <= most + 1e-12).all()
    with pytest.raises(TableError, match="needs prices of 'm1'"):
        world_of(outcomes, cards[:1], max_tokens=100)


def test_a_failed_call_can_not_have_been_right() -> None:
    outcomes = random_outcomes(5, 2)
    outcomes.quality[:] = 1
    with pytest.raises(TableError, match="failed"):
        world_of(outcomes, failed=np.ones((5, 2), dtype=bool))


# ---- a table on disk, and a tree ----


def rows(tree: bool) -> list[dict[str, object]]:
    base = {"dataset": "d", "query_id": "1", "query": "Which?\nA) one\nB) two\nC) three", "prompt_tokens": 5}
    out: list[dict[str, object]] = []

    def add(model: str, path: str, response: str, score: float, cost: float) -> None:
        row = {**base, "model": model, "response": response, "score": score, "cost_usd": cost, "completion_tokens": 3}
        out.append({**row, "path": path} if tree else row)

    add("small", "[]", "The answer is A", 0.0, 0.001)
    add("large", "[]", "The answer is B", 1.0, 0.01)
    if tree:
        add("small", '["small"]', "No, A it is.", 0.0, 0.002)
        add("large", '["small"]', "Not A. It is B.", 1.0, 0.02)
    return out


def test_a_table_on_disk_is_a_world_with_keys(tmp_path: Path) -> None:
    write(pl.DataFrame(rows(False)), tmp_path / "t.parquet")
    world = read_world(tmp_path / "t.parquet")
    assert world.models == ("large", "small")
    assert world.keys.tolist() in ([[0, 1]], [[1, 0]])
    assert load(tmp_path / "t.parquet").keys is None


def test_a_tree_knows_replies_that_depend_on_earlier_ones(tmp_path: Path) -> None:
    pl.DataFrame(rows(True)).write_parquet(tmp_path / "tree.parquet")
    pool = recorded_tree(tmp_path / "tree.parquet")
    query = Query("Which?\nA) one\nB) two\nC) three", "1", dataset="d")

    def play(policy: str, **options: object) -> object:
        return asyncio.run(run(build_policy(policy, options), pool, query, 0.01))

    refined = play("self_refine", model="small")
    assert refined.answer == "No, A it is."  # type: ignore[attr-defined]
    assert refined.quality == 0  # type: ignore[attr-defined]
    piped = play("pipeline", models=["small", "large"])
    assert (piped.answer, piped.quality) == ("Not A. It is B.", 1)  # type: ignore[attr-defined]
    assert piped.cost_usd == pytest.approx(0.021)  # type: ignore[attr-defined]
    with pytest.raises(UnrecordedBranch, match="shown large"):
        play("pipeline", models=["large", "small"])
    with pytest.raises(UnrecordedBranch, match="shown small > small/refine"):
        play("self_refine", model="small", rounds=2)


def test_a_table_is_no_tree(tmp_path: Path) -> None:
    write(pl.DataFrame(rows(False)), tmp_path / "t.parquet")
    with pytest.raises(TableError, match="no column path"):
        recorded_tree(tmp_path / "t.parquet")
    twice = [*rows(True), rows(True)[0]]
    pl.DataFrame(twice).write_parquet(tmp_path / "twice.parquet")
    with pytest.raises(TableError, match="is there twice"):
        recorded_tree(tmp_path / "twice.parquet")


def test_a_reply_is_shortened_where_the_policy_allows_it() -> None:
    provider = Scripted()
    query = Query("What is 2 + 2?")
    tight = 0.00012  # the prompt's bound and some 20 tokens of reply
    with pytest.raises(Exception, match="No model fits"):
        asyncio.run(run(build_policy("single"), scripted_pool(provider), query, 0.01, tight))
    asyncio.run(run(build_policy("single", {"least_tokens": 5}), scripted_pool(provider), query, 0.01, tight))
    assert 5 <= provider.asked[0].max_tokens < 100
