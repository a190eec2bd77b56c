"""Trees as arrays: the same process as the engine's on the recorded tree, and nothing that was not recorded."""

from __future__ import annotations

import asyncio
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from routewright.episodes.engine import run
from routewright.episodes.recorded import recorded_tree
from routewright.episodes.tree import Tree, TreeBatch, read_tree
from routewright.errors import EpisodeError, TableError
from routewright.lab.questions import questions
from routewright.lab.record import Growth, record
from routewright.policies.base import Policy, Wish
from routewright.policies.relay import Relay
from routewright.policies.relay_look import ROLES, Rules, dense, situation_of
from routewright.policies.relay_text import features
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Ask, Completion
from routewright.types import Decision, Floats, Usage
from tests.pools.doubles import Scripted, scripted_pool

ASKED = questions("composed", 6, "test", seed=4)
MARK = "answer:"
MODELS = ("m0", "m1", "m2")


class Talker(Scripted):
    """Half the time a note, else an answer, right or wrong; the same prompt gets the same reply."""

    async def complete(self, ask: Ask) -> Completion:
        prompt = ask.messages[0]["content"]
        number = zlib.crc32(f"{ask.model} {prompt}".encode())
        right = next(q.answer for q in ASKED if q.text in prompt)
        said = (f"note:n{number % 2}=x", f"note:n{number % 2}=x", f"answer:{right}", f"answer:{number // 8 % 2}")
        return Completion(" " + said[number % 4], Usage(10 + number % 7, 1 + number % 5))


def talking() -> Pool:
    return replace(scripted_pool(Talker(), Talker(), Talker()), transcripts="lab")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tree") / "tree"
    asyncio.run(record(talking(), ASKED, 3, out))
    return out


@pytest.fixture(scope="module")
def tree(folder: Path) -> Tree:
    return read_tree(folder, MARK)


class Follow(Policy):
    """Takes the actions it is given, and keeps what it saw."""

    kind = "follow"
    contexts = ("query", "transcript")

    def __init__(self, actions: list[int], rules: Rules) -> None:
        super().__init__()
        self.actions, self.rules = list(actions), rules
        self.relay = Relay()
        self.relay.models = MODELS
        self.seen: list[tuple[np.ndarray, Floats, list[int]]] = []

    def decide(self, states: Any, rng: np.random.Generator) -> list[Wish]:
        [state] = states
        s, shown = situation_of(states, MODELS, MARK, "step")
        self.seen.append(
            (
                self.rules.mask(s)[0],
                dense(s, self.rules, 1e-4)[0],
                features(state.query.text, shown[0].replies).tolist(),
            )
        )
        return [Decision(self.relay._action(self.actions.pop(0), len(MODELS), shown[0]))]


@pytest.mark.parametrize("rules", [Rules(3, 6), Rules(3, 5, (False, True, False)), Rules(2, 4, (True, False, True))])
def test_the_engine_gives_the_same_episodes(folder: Path, tree: Tree, rules: Rules) -> None:
    world = replace(recorded_tree(folder), transcripts="lab")
    rng = np.random.default_rng(0)
    rows = np.tile(np.arange(len(tree)), 60)
    values = np.exp(rng.uniform(-9, -4, len(rows)))
    batch = TreeBatch(tree, rows, values, rules)
    taken: list[list[int]] = [[] for _ in rows]
    seen: list[list[tuple[Any, ...]]] = [[] for _ in rows]
    while not batch.done.all():
        mask, facts = batch.mask(), dense(batch.situation, rules, 1e-4)
        full = rules.mask(batch.situation)
        actions = np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=1)
        for b in np.flatnonzero(~batch.done).tolist():
            seen[b].append((full[b], facts[b], tree.texts.take(np.array([batch.node[b]])).flat.tolist()))
            taken[b].append(int(actions[b]))
        batch.step(actions)

    async def play() -> list[Any]:
        out = []
        for b, row in enumerate(rows.tolist()):
            policy = Follow(taken[b], rules)
            out.append((await run(policy, world, tree.queries[row], float(values[b])), policy))
        return out

    for b, (episode, policy) in enumerate(asyncio.run(play())):
        assert episode.quality == batch.quality[b]
        assert episode.cost_usd == pytest.approx(batch.situation.spent_usd[b], abs=1e-12)
        assert len(policy.seen) == len(seen[b])
        for (mask, facts, text), (mask2, facts2, text2) in zip(policy.seen, seen[b], strict=True):
            assert (mask == mask2).all()
            assert facts == pytest.approx(facts2)
            assert text == text2
    assert len({len(t) for t in taken}) > 1
    assert 0 < batch.quality.mean() < 1


def test_a_path_that_was_not_recorded_is_not_allowed(tmp_path: Path) -> None:
    asyncio.run(record(talking(), ASKED, Growth(3, width=1), tmp_path / "thin"))
    thin = read_tree(tmp_path / "thin", MARK)
    rows = np.repeat(np.arange(len(thin)), 3)
    batch = TreeBatch(thin, rows, np.full(len(rows), 0.01), Rules(3, 6, (False, True, False)))
    first = np.tile([3, 4, 5], len(thin))
    batch.step(first)
    beyond = np.flatnonzero(~batch.mask()[:, 3:6].any(axis=1) & ~batch.situation.ended)
    assert len(beyond)  # notes nobody went on from: all that is left is to end without an answer
    assert batch.mask()[beyond, 3 * ROLES].all()
    with pytest.raises(EpisodeError, match="never recorded"):
        batch.step(first)


def test_a_tree_can_be_read_in_parts_and_for_some_models(folder: Path, tree: Tree, tmp_path: Path) -> None:
    asyncio.run(record(talking(), questions("composed", 8, "test", seed=4)[:0] or ASKED[:2], 2, tmp_path / "more"))
    both = read_tree([tmp_path / "more"], MARK, models=("m1", "m0"))
    assert both.models == ("m1", "m0")
    assert len(both) == 2
    assert (both.alone_score[0] == tree.alone_score[tree.queries.index(both.queries[0])][[1, 0]]).all()
    assert len(read_tree(folder, MARK)) == len(tree)


def test_what_is_no_tree_is_refused(tmp_path: Path, folder: Path) -> None:
    rows = pl.concat([pl.read_parquet(f) for f in sorted(folder.glob("*.parquet"))])
    rows.drop("path").write_parquet(tmp_path / "a.parquet")
    with pytest.raises(TableError, match="no column path"):
        read_tree(tmp_path / "a.parquet", MARK)
    with pytest.raises(TableError, match="no call in the role 'refine'"):
        read_tree(folder, MARK, step="refine")
    rows.filter(~((pl.col("role") == "answer") & (pl.col("model") == "m1"))).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(TableError, match="lacks answers of some model"):
        read_tree(tmp_path / "b.parquet", MARK)
    orphan = rows.filter(pl.col("path").map_elements(lambda p: len(json.loads(p)) != 1, return_dtype=pl.Boolean))
    orphan.write_parquet(tmp_path / "c.parquet")
    with pytest.raises(TableError, match="which itself is not there"):
        read_tree(tmp_path / "c.parquet", MARK)
