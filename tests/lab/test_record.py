"""The response tree: every branch there is, asked once where prompts are equal, read back as a world."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from routewright.episodes.engine import run
from routewright.episodes.recorded import recorded_tree
from routewright.errors import PoolError, ProviderError, TableError, UnrecordedBranch
from routewright.lab.pool import lab_pool
from routewright.lab.questions import query_of, questions
from routewright.lab.record import Growth, record
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Ask, Completion
from routewright.types import Answer, Call, Usage
from tests.episodes.test_engine import Told
from tests.pools.doubles import Scripted, scripted_pool

ASKED = questions("composed", 3, "test", seed=4)


class Notes(Scripted):
    """m0 writes notes, always the same first one; m1 answers at once."""

    async def complete(self, ask: Ask) -> Completion:
        self.asked.append(ask)
        lines = ask.messages[0]["content"].count("\nN: ")
        return Completion(" answer:7" if ask.model == "m1" else f" note:step {lines}=x", Usage(10, 5))


def pool() -> Pool:
    return replace(scripted_pool(Notes(), Notes()), transcripts="lab")


def test_every_branch_is_recorded_and_equal_prompts_are_asked_once(tmp_path: Path) -> None:
    made = pool()
    # Alone 2; first notes 2, of which m0's goes on: second 2, again m0's: third 2. Each of m1's three answers is verified by m0.
    assert asyncio.run(record(made, ASKED, 3, tmp_path / "tree")) == 3 * (2 + 2 + 2 + 2 + 3)
    provider = made.member("m0").endpoint.provider
    assert isinstance(provider, Scripted)
    assert len(provider.asked) == 3 * 4


def test_the_tree_is_a_world_for_policies_that_build_on_replies(tmp_path: Path) -> None:
    asyncio.run(record(pool(), ASKED, 2, tmp_path / "tree"))
    world = recorded_tree(tmp_path / "tree")
    world = replace(world, transcripts="lab")
    query = query_of(ASKED[0])
    step = {"context": "transcript", "role": "step"}

    def play(*wishes: object) -> object:
        return asyncio.run(run(Told(*wishes), world, query, 0.01))

    episode = play(Call("m0", **step), Call("m1", **step), Answer())
    assert episode.answer == " answer:7"  # type: ignore[attr-defined]
    assert episode.quality == float(ASKED[0].answer == "7")  # type: ignore[attr-defined]
    assert play(Call("m1"), Answer()).answer == " answer:7"  # type: ignore[attr-defined]
    with pytest.raises(UnrecordedBranch, match="shown m0/step > m0/step"):
        play(Call("m0", **step), Call("m0", **step), Call("m1", **step))
    with pytest.raises(UnrecordedBranch, match="asked to refine"):
        play(Call("m0", **step), Call("m1", context="transcript", role="refine"))


def test_an_interrupted_recording_goes_on(tmp_path: Path) -> None:
    many = questions("composed", 60, "test", seed=4)
    asyncio.run(record(pool(), many, 1, tmp_path / "tree"))
    (tmp_path / "tree" / "tree-00001.parquet").unlink()
    assert asyncio.run(record(pool(), many, 1, tmp_path / "tree")) == 25 * 5


def test_a_failure_leaves_no_hole(tmp_path: Path) -> None:
    ill = scripted_pool(Scripted(ProviderError("400", "refused", reached=False)), retries=0)
    with pytest.raises(TableError, match="m0 failed"):
        asyncio.run(record(ill, ASKED, 1, tmp_path / "tree"))
    assert not list((tmp_path / "tree").glob("*.parquet"))


def test_a_folder_without_models_is_no_pool(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"holds none of facts\.gguf"):
        lab_pool(tmp_path)


def test_a_path_may_go_on_after_an_answer_or_be_one_of_a_few(tmp_path: Path) -> None:
    def paths(name: str, **how: object) -> int:
        asyncio.run(record(pool(), ASKED[:1], Growth(3, **how), tmp_path / name))  # type: ignore[arg-type]
        world = recorded_tree(tmp_path / name)
        provider = world.member("m0").endpoint.provider
        return sum(key[-1] == "step" for key in provider.cells)  # type: ignore[attr-defined]

    assert paths("whole", past=True) == 2 + 4 + 8
    assert paths("thin", past=True, width=1) == 2 + 2 + 2
    asked: list[tuple[str, list[list[str]]]] = []

    def worth(question: str, told: object) -> list[float]:
        asked.append((question, [list(replies) for replies in told]))  # type: ignore[attr-defined]
        return [float("answer" in replies[-1]) for replies in told]  # type: ignore[attr-defined]

    paths("liked", past=True, width=2, worth=worth)
    assert asked == [
        (ASKED[0].text, [[a, b] for a in (" note:step 0=x", " answer:7") for b in (" note:step 1=x", " answer:7")])
    ]
