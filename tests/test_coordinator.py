"""Coordinators: saved and loaded whole, run from Python, damaged ones refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

import routewright
from routewright.coordinator import Coordinator, find, fit_coordinator, load_coordinator
from routewright.episodes.batched import play
from routewright.episodes.recorded import recorded_pool, world_of
from routewright.errors import RouterError, UnknownName
from routewright.policies.base import ArrayPolicy
from routewright.router import fit
from routewright.types import Query
from tests.episodes.worlds import random_outcomes
from tests.pools.doubles import Scripted, scripted_pool

OUTCOMES = random_outcomes(80, 3, seed=9)


def choices(coordinator: Coordinator) -> list[int]:
    assert isinstance(coordinator.policy, ArrayPolicy)
    world = world_of(OUTCOMES)
    forecast = None if coordinator.router is None else coordinator.router.forecast(OUTCOMES.queries)
    return play(coordinator.policy, world, np.arange(80), 0.003, forecast=forecast).chosen.tolist()


@pytest.mark.parametrize(
    ("policy", "options", "scorer"),
    [("cascade", {}, ""), ("cascade", {"rule": "verifier"}, "ridge"), ("vote", {"k": 2}, ""), ("single", {}, "knn")],
)
def test_what_is_loaded_decides_as_what_was_saved(
    policy: str, options: dict[str, object], scorer: str, tmp_path: Path
) -> None:
    made = fit_coordinator(OUTCOMES, policy, options, scorer=scorer)
    made.presets = {"q99": 0.003}
    made.save(tmp_path / "c")
    again = routewright.load_coordinator(tmp_path / "c")
    assert choices(again) == choices(made)
    assert again.presets == {"q99": 0.003}
    assert again.about["best_single"] in OUTCOMES.models
    assert (again.router is None) == (scorer == "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]


def test_the_engine_serves_what_was_trained() -> None:
    made = fit_coordinator(OUTCOMES, "cascade")
    pool = recorded_pool(world_of(OUTCOMES))
    wanted = choices(made)
    for row in range(20):
        episode = asyncio.run(made.arun(OUTCOMES.queries[row], pool, 0.003))
        assert episode.chosen is not None
        reply = episode.steps[episode.chosen].reply
        assert reply is not None
        assert OUTCOMES.models.index(reply.model) == wanted[row]


def test_a_saved_router_is_a_coordinator_of_one_call(tmp_path: Path) -> None:
    fit(OUTCOMES, "ridge").save(tmp_path / "r")
    loaded = load_coordinator(tmp_path / "r")
    pool = scripted_pool(*(Scripted() for _ in range(3)))
    episode = loaded.run("question 3", pool, value_usd=0.01, budget_usd=0.01)
    assert len(episode.steps) == 1
    assert find(str(tmp_path / "r")).router is not None


def test_a_pool_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text(
        '[[models]]\nname = "m"\nprovider = "echo"\nusd_per_mtok_in = 1\nusd_per_mtok_out = 1\n'
    )
    assert find("single").run("hi", tmp_path / "pool.toml").answer == "hi"
    assert find("single").run(Query("hi", query_id="7"), tmp_path / "pool.toml").query.query_id == "7"


def test_presets() -> None:
    made = Coordinator(find("single").policy, presets={"q95": 0.5})
    assert made.value("q95") == 0.5
    with pytest.raises(RouterError, match=r"No preset is called 'q90'\. Known: q95"):
        made.run("hi", scripted_pool(Scripted()), preset="q90")


@pytest.mark.parametrize(
    "damage", ["cut arrays", "changed arrays", "no json", "other format", "other models", "no meta"]
)
def test_a_damaged_one_is_refused(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    fit_coordinator(OUTCOMES, "cascade").save(folder)
    arrays, facts = folder / "policy.safetensors", json.loads((folder / "policy.json").read_text())
    if damage == "cut arrays":
        arrays.write_bytes(arrays.read_bytes()[:50])
    elif damage == "changed arrays":
        arrays.write_bytes(arrays.read_bytes()[:-1] + b"\x01")
    elif damage == "no json":
        (folder / "policy.json").write_text("{")
    else:
        if damage == "other format":
            facts["format"] = 99
        elif damage == "other models":
            facts["meta"]["models"] = ["a", "b", "c"]
        else:
            del facts["meta"]
        (folder / "policy.json").write_text(json.dumps(facts))
    with pytest.raises(RouterError, match=str(folder)):
        load_coordinator(folder)


def test_nothing_there_and_something_else_there(tmp_path: Path) -> None:
    with pytest.raises(RouterError, match=r"neither policy\.json nor router\.json"):
        load_coordinator(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(RouterError, match="is not a saved coordinator"):
        fit_coordinator(OUTCOMES, "vote").save(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"
    with pytest.raises(UnknownName):
        find("nobody")
    with pytest.raises(RouterError, match="learns nothing from a table"):
        fit_coordinator(OUTCOMES, "mixture")
