"""A trained router: fitted, saved whole or not at all, loaded, asked (`router.py`). Damaged ones: tests/cli."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import routewright
from routewright.errors import ConfigError, MissingExtra, RouterError, RoutewrightError, TableError, UnknownName
from routewright.outcomes import Outcomes
from routewright.router import Router, fingerprint, fit, load
from routewright.types import Query

TEXTS = ["How many vowels are in Zurich?", "Write a Rust function that adds two numbers.", "", "你好"]
QUERIES = [Query(text) for text in TEXTS]


@pytest.fixture(scope="module")
def trained(outcomes: Outcomes) -> Router:
    router = fit(outcomes, "ridge", encoder_options={"dim": 32}, seed=3)
    router.presets = {"q99": 0.01, "q95": 0.002}
    return router


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_loaded_is_what_was_saved(trained: Router, outcomes: Outcomes, tmp_path: Path) -> None:
    trained.save(tmp_path / "a" / "b" / "r")
    again = routewright.load(tmp_path / "a" / "b" / "r")
    assert sorted(contents(tmp_path / "a" / "b" / "r")) == ["router.json", "router.safetensors"]
    assert again.models == trained.models == outcomes.models
    assert again.presets == trained.presets
    about = {"table": "small", "queries": 120, "score_kind": "correct", "best_single": "sim-large"}
    assert again.about == about
    assert (again.scorer.kind, again.encoder.kind, again.scorer.seed) == ("ridge", "hashing", 3)
    one, other = trained.forecast(QUERIES), again.forecast(QUERIES)
    for name in ("quality", "quality_std", "cost_usd"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for text in TEXTS:
        assert trained.route(text, 0.01) == again.route(text, 0.01)


def test_it_is_the_same_in_another_process(trained: Router, tmp_path: Path) -> None:
    trained.save(tmp_path / "r")
    code = f"import routewright; print(routewright.load({str(tmp_path / 'r')!r}).route({TEXTS[0]!r}, 0.01).quality)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout.strip() == str(trained.route(TEXTS[0], 0.01).quality)


def test_the_folder_can_be_read_by_others(trained: Router, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        trained.save(tmp_path / "r")
    finally:
        os.umask(before)
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o755
    for file in (tmp_path / "r").iterdir():
        assert file.stat().st_mode & 0o444 == 0o444


def test_nothing_saved_is_a_pickle(trained: Router, tmp_path: Path) -> None:
    trained.save(tmp_path / "r")
    facts = json.loads((tmp_path / "r" / "router.json").read_text())
    assert facts["format"] == 1
    assert facts["fingerprint"] == fingerprint(trained.models)
    header = (tmp_path / "r" / "router.safetensors").read_bytes()
    assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])


# -- saving over something


def test_a_router_replaces_a_router(trained: Router, outcomes: Outcomes, tmp_path: Path) -> None:
    fit(outcomes, "blind").save(tmp_path / "r")
    trained.save(tmp_path / "r")
    assert load(tmp_path / "r").scorer.kind == "ridge"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    (tmp_path / "empty").mkdir()
    trained.save(tmp_path / "empty")
    assert load(tmp_path / "empty").scorer.kind == "ridge"


def test_what_is_no_router_is_not_replaced(trained: Router, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine too")
    before = contents(tmp_path)
    for name in ("file", "folder"):
        with pytest.raises(RouterError, match=f"{name} exists and is not a saved router"):
            trained.save(tmp_path / name)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["full disk", "interrupted"])
@pytest.mark.parametrize(
    ("where", "there"),
    [
        *((where, there) for where in ("arrays", "facts", "first rename") for there in (False, True)),
        ("second rename", True),  # a new router is renamed once
    ],
)
def test_a_save_that_stops_leaves_what_was_there(
    where: str,
    error: BaseException,
    there: bool,
    trained: Router,
    outcomes: Outcomes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if there:
        fit(outcomes, "blind").save(tmp_path / "r")
    before = contents(tmp_path)
    rename, left = os.replace, 1 if where == "second rename" else 0

    def stop(*_: object, **__: object) -> None:
        raise error

    def stop_renaming(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise error
        rename(source, target)

    with monkeypatch.context() as patch:
        if where == "arrays":
            patch.setattr("safetensors.numpy.save_file", stop)
        elif where == "facts":
            patch.setattr("pathlib.Path.write_text", stop)
        else:
            patch.setattr("routewright.folders.os.replace", stop_renaming)
        with pytest.raises(type(error)):
            trained.save(tmp_path / "r")
    assert contents(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["r"] if there else [])
    if there:
        assert load(tmp_path / "r").scorer.kind == "blind"
    trained.save(tmp_path / "r")
    assert load(tmp_path / "r").scorer.kind == "ridge"


# -- loading


def test_a_router_is_for_one_pool_in_one_order(trained: Router, tmp_path: Path) -> None:
    trained.save(tmp_path / "r")
    assert load(tmp_path / "r", list(trained.models)).models == trained.models
    for other in (trained.models[:-1], trained.models[::-1], ("a", "b")):
        with pytest.raises(RouterError, match=r"trained for another pool .*Train a router on this pool"):
            load(tmp_path / "r", other)
    assert fingerprint(["a", "b"]) != fingerprint(["b", "a"])


def test_a_missing_extra_is_not_called_damage(trained: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router is fine and training it again would not help."""
    trained.save(tmp_path / "r")

    def missing(*_: object) -> None:
        raise MissingExtra("The encoder", "onnxruntime", "embed")

    monkeypatch.setattr("routewright.router.restore_encoder", missing)
    with pytest.raises(MissingExtra, match="pip install"):
        load(tmp_path / "r")


# -- asking


def test_a_batch_is_decided_as_its_queries_one_by_one(trained: Router, outcomes: Outcomes) -> None:
    queries = [*QUERIES, *outcomes.queries[:30]]
    for value in (0.0, 0.001, 0.01, 1e6):
        made = trained.decide(queries, value)
        assert [d.action.model for d in made] == [trained.route(q.text, value).model for q in queries]
        assert all(d.probability == 1.0 and d.choices == trained.models for d in made)
    assert trained.decide([], 0.01) == []


def test_a_choice_shows_its_numbers(trained: Router) -> None:
    choice = trained.route(TEXTS[0], 0.01)
    assert tuple(choice.quality) == tuple(choice.cost_usd) == trained.models
    best = max(trained.models, key=lambda m: 0.01 * choice.quality[m] - choice.cost_usd[m])
    assert choice.model == best
    assert choice.reason.startswith(f"{best}: forecast quality {choice.quality[best]:.3f}")
    assert "next best" in choice.reason
    assert (choice.probability, choice.value_usd) == (1.0, 0.01)
    only = trained.route(TEXTS[0], 0.01, deny=[m for m in trained.models if m != "sim-small"])
    assert only.model == "sim-small"
    assert only.reason.endswith("no other model was allowed.")


def test_value_moves_the_choice_from_the_cheapest_to_the_best(trained: Router) -> None:
    for text in TEXTS:
        cheap, best = trained.route(text, 0.0), trained.route(text, 1e6)
        assert cheap.model == min(cheap.cost_usd, key=lambda m: cheap.cost_usd[m])
        assert best.quality[best.model] == pytest.approx(max(best.quality.values()))


def test_budget_and_deny_hold(trained: Router, outcomes: Outcomes) -> None:
    free = trained.forecast(outcomes.queries)
    budget = float(np.median(free.cost_usd))
    for d, cost in zip(trained.decide(outcomes.queries, 1e6, budget_usd=budget), free.cost_usd, strict=True):
        assert cost[trained.models.index(d.action.model)] <= budget
    made = trained.decide(outcomes.queries, 1e6, deny=["sim-large"])
    assert all(d.action.model != "sim-large" and "sim-large" not in d.choices for d in made)
    with pytest.raises(RoutewrightError, match="No model is left"):
        trained.route(TEXTS[0], 0.01, budget_usd=0.0)
    with pytest.raises(UnknownName, match="Did you mean 'sim-large'"):
        trained.route(TEXTS[0], 0.01, deny=["sim-larg"])


def test_exploration_is_off_until_asked_for(trained: Router) -> None:
    queries = [Query(TEXTS[0])] * 400
    assert len({d.action.model for d in trained.decide(queries, 0.01)}) == 1
    made = trained.decide(queries, 0.01, epsilon=0.5, rng=np.random.default_rng(0))
    assert {d.action.model for d in made} == set(trained.models)
    assert {d.probability for d in made} == {0.125, 0.625}


def test_presets(trained: Router, outcomes: Outcomes) -> None:
    assert trained.route(TEXTS[0]) == trained.route(TEXTS[0], 0.01), "q99 by default"
    assert trained.route(TEXTS[0], preset="q95") == trained.route(TEXTS[0], 0.002)
    assert trained.route(TEXTS[0], 0.5, preset="q95").value_usd == 0.5, "a number wins"
    with pytest.raises(RouterError, match=r"No preset is called 'q90'\. Known: q99, q95\."):
        trained.route(TEXTS[0], preset="q90")
    with pytest.raises(RouterError, match=r"'q99'\. Known: none\. Or give a number: value_usd"):
        fit(outcomes, "blind").route(TEXTS[0])


def test_presets_found_in_training_keep_what_they_name(outcomes: Outcomes) -> None:
    from routewright.evaluate.presets import LEVELS, presets
    from routewright.evaluate.settings import Part

    found, curve = presets(outcomes, Part(kind="blind"), Part(kind="hashing"))
    best = outcomes.quality.mean(axis=0).max()
    assert list(found) == list(LEVELS)
    for name, value in found.items():
        at = int(np.flatnonzero(curve["value_usd"] == value)[0])
        assert curve["quality"][at] >= LEVELS[name] * best
        assert math.isclose(curve["cost_usd"][at], curve["cost_usd"][curve["quality"] >= LEVELS[name] * best].min())


# -- refusals in fitting


def test_what_can_not_be_fitted_is_refused(outcomes: Outcomes) -> None:
    with pytest.raises(TableError, match=r"small has outcomes of 1 model.*at least 2"):
        fit(outcomes.with_models(["sim-small"]))
    with pytest.raises(UnknownName, match="Did you mean 'ridge'"):
        fit(outcomes, "rigde")
    with pytest.raises(UnknownName, match="Did you mean 'hashing'"):
        fit(outcomes, "blind", "hashin")
    with pytest.raises(ConfigError, match="Unknown key 'colour' in policy 'blind'"):
        fit(outcomes, "blind", options={"colour": 1})
    with pytest.raises(ConfigError, match="Unknown key 'colour' in encoder 'hashing'"):
        fit(outcomes, "blind", encoder_options={"colour": 1})
