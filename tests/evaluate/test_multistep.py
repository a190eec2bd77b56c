"""Policies of several calls on recorded tables: exact where the answer is known, named where it was not recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from routewright.errors import ConfigError, TableError, UnknownName
from routewright.evaluate.course import Course, Steps, join, one_model
from routewright.evaluate.crossfit import Unit, fit_job, jobs_of
from routewright.evaluate.multistep import DEPENDENT, INCOMPARABLE, NO_REPLIES, ONE_REPLY, check_part, not_recorded
from routewright.evaluate.page import render
from routewright.evaluate.report import build, policy_json
from routewright.evaluate.run import check, evaluate
from routewright.evaluate.schema import check_report
from routewright.evaluate.settings import Part, Settings, value_grid
from routewright.evaluate.tables import plan
from routewright.outcomes import Outcomes, write
from routewright.outcomes.arrays import concat
from routewright.outcomes.simulated import simulate
from routewright.types import Query

MODELS = ("a", "b", "c", "dear")
PRICES = np.array([0.001, 0.002, 0.003, 0.1])


def world(n: int = 120, name: str = "world", seed: int = 0, *, keys: bool = True) -> Outcomes:
    """Four models; right answers agree, wrong ones are all different. Any two of a, b, c that agree are right."""
    rng = np.random.default_rng(seed)
    quality = (rng.random((n, 4)) < [0.7, 0.7, 0.7, 0.9]).astype(np.float64)
    said = np.where(quality > 0, 0, 1 + np.arange(4)[None])
    queries = tuple(Query(f"{'add' if i % 2 else 'prove'} number {i} of {name}", str(i), "t", name) for i in range(n))
    nothing = np.full((n, 4), np.nan)
    cost = np.broadcast_to(PRICES, (n, 4)).copy()
    return Outcomes(
        name, queries, MODELS, quality, cost, nothing, nothing, nothing, "correct", keys=said if keys else None
    )


def settings(*parts: Part | str, **more: Any) -> Settings:
    how = {"seeds": 1, "folds": 3, "draws": 50, "jobs": 1, **more}
    return Settings(policies=tuple(Part(kind=p) if isinstance(p, str) else p for p in parts), **how)


@cache
def _report(kinds: str) -> str:
    units = {"one": [world()], "some without replies": [world(), world(name="mute", seed=1, keys=False)]}[kinds]
    how = settings("ridge", "vote", "self_refine", reference="vote")
    return json.dumps(build(how, evaluate([Unit(o.name, o) for o in units], how), None, [], {}), allow_nan=False)


def report(kinds: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_report(kinds))
    return loaded


def test_single_with_a_scorer_is_that_scorer() -> None:
    """The same choice of every fit at every trade-off, at the same quality and cost."""
    how = settings("ridge", Part(kind="single", scorer="ridge", name="one"))
    unit = Unit("world", world())
    for job in jobs_of(0, unit, how, 0):
        made = fit_job(unit, job, how, how.policies)
        scorer, policy = made["ridge"], made["one"]
        assert (scorer.course.answer == policy.course.answer).all()
        assert len(set(policy.course.answer.ravel().tolist())) > 1, "a choice that never varies shows nothing"
        quality, cost = unit.train.quality[policy.rows], unit.train.cost_usd[policy.rows]
        assert (scorer.course.quality(quality) == policy.course.quality(quality)).all()
        np.testing.assert_allclose(scorer.course.cost_usd(cost), policy.course.cost_usd(cost), rtol=1e-6)
        assert policy.cost_log_error == scorer.cost_log_error
    result = evaluate([unit], how)[0]
    for name, measure in result.policies["ridge"].measures.items():
        assert result.policies["one"].measures[name].mean == pytest.approx(measure.mean, abs=1e-6)


def test_a_vote_is_charged_for_every_call_and_scores_what_won() -> None:
    data = world()
    result = evaluate([Unit("world", data)], settings("vote"))[0]
    right = data.quality[:, :3].sum(axis=1)
    # Two right answers win; a single right one does if it came first, since all groups are of size one then.
    expected = np.where(right >= 2, 1.0, data.quality[:, 0]).mean()
    point = result.policies["vote"].frontier[20]
    assert point["quality"] == pytest.approx(expected)
    assert point["cost_usd"] == pytest.approx(PRICES[:3].sum(), rel=1e-6)
    collapse: Any = result.policies["vote"].facts["collapse"]
    assert collapse["calls_per_query"] == 3.0
    assert collapse["share"] == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    assert not collapse["collapsed"]
    assert result.policies["vote"].facts["cost_log_error"] is None


def test_a_cascade_is_worth_what_agreement_is_worth() -> None:
    """a, b, c, then `dear` where no two agree: 0.784 + 0.216 x 0.9 = 0.978 right for 0.026 a query.

    The texts say nothing, so no scorer can beat the line: `dear` alone is right 0.9 of the time, for 0.1.
    """
    result = evaluate([Unit("world", world(400))], settings("ridge", "cascade", draws=200))[0]
    cascade, ridge = result.policies["cascade"], result.policies["ridge"]
    assert cascade.measures["top_quality"].mean == pytest.approx(0.978, abs=0.02)  # measured 0.975
    assert cascade.measures["top_cost"].mean == pytest.approx(0.026, abs=0.006)  # measured 0.0276
    gain = cascade.measures["gain_over_line"] - ridge.measures["gain_over_line"]
    assert np.quantile(gain.draws, 0.025) > 0.07  # measured 0.105
    saving: Any = policy_json(cascade, settings("cascade"))["saving_at_best_single"]
    assert saving["mean"] > 0.6  # measured 0.72
    collapse: Any = cascade.facts["collapse"]
    assert collapse["calls_per_query"] == pytest.approx(2 + 0.51 + 0.216, abs=0.15)  # measured 2.78


def test_a_test_table_is_played_by_what_was_fitted_on_the_training_table() -> None:
    test = world(60, seed=5)
    result = evaluate([Unit("world", world(), test)], settings("vote"))[0]
    right = test.quality[:, :3].sum(axis=1)
    expected = np.where(right >= 2, 1.0, test.quality[:, 0]).mean()
    assert result.n_queries == 60
    assert result.policies["vote"].frontier[0]["quality"] == pytest.approx(expected)
    assert not_recorded(settings("vote"), [world(), replace(test, keys=None)])["vote"] == NO_REPLIES


def test_the_vote_is_of_those_that_cost_least_on_average() -> None:
    """One dear reply of `a` does not make it a dear model."""
    data = world()
    cost = data.cost_usd.copy()
    cost[:, 0][::40] = 0.2
    result = evaluate([Unit("world", replace(data, cost_usd=cost))], settings("vote"))[0]
    share: Any = result.policies["vote"].facts["collapse"]
    assert set(share["share"]) == {"a", "b", "c"}  # the highest bill of `a` is above that of `dear`


def test_a_fallback_to_the_best_single_model_is_one_call() -> None:
    data = world()
    bad = replace(data, quality=data.quality * [0, 0, 0, 1], keys=np.tile(np.arange(4), (len(data), 1)))
    found = evaluate([Unit("world", bad)], settings("vote"))[0].policies["vote"]
    at_keep: Any = found.facts["collapse_at_best_single"]
    assert found.facts["fell_back"] == 1.0
    assert at_keep["calls_per_query"] == 1.0
    assert at_keep["share"] == {"dear": 1.0}
    assert found.measures["cost_at_best_single"].mean == pytest.approx(PRICES[3], rel=1e-6)


def test_the_control_joins_only_policies_that_compare_replies() -> None:
    def labels(*parts: Part | str) -> list[str]:
        return [p.label for p in settings(*parts).all_parts]

    assert "vote3" in labels("cascade")
    assert "vote3" not in labels("ridge")
    assert "vote3" not in labels("single")
    assert labels(Part(kind="vote", name="vote3", options={"k": 2})).count("vote3") == 1
    with pytest.raises(ValueError, match="a control's"):
        settings(Part(kind="ridge", name="vote3"))


def test_what_was_not_recorded_is_named() -> None:
    how = settings(
        "ridge",
        "vote",
        "mixture",
        "self_refine",
        Part(kind="pipeline", options={"models": ["a"]}),
        Part(kind="vote", name="samples", options={"models": ["a"], "samples": True}),
        Part(kind="cascade", name="again", options={"models": ["a"], "samples": 3}),
    )
    always = dict.fromkeys(("mixture", "self_refine", "pipeline"), DEPENDENT) | dict.fromkeys(
        ("samples", "again"), ONE_REPLY
    )
    assert not_recorded(how, [world()]) == always
    assert not_recorded(how, [world(keys=False)]) == {**always, "vote": NO_REPLIES, "vote3": NO_REPLIES}
    mute = replace(world(), keys=np.full((120, 4), -1))
    assert not_recorded(how, [mute])["vote"] == INCOMPARABLE
    assert not_recorded(settings("vote"), [world()]) == {"self_refine": DEPENDENT, "pipelines": DEPENDENT}
    assert not_recorded(settings("single"), [world(keys=False)]) == {}
    assert not_recorded(settings("ridge"), [world(keys=False)]) == {}


def test_nothing_that_can_be_judged_is_refused() -> None:
    with pytest.raises(TableError, match=r"vote: the replies were not kept \(world\)"):
        check([Unit("world", world(keys=False))], settings("vote"))


def test_an_unknown_name_names_both_kinds() -> None:
    with pytest.raises(
        UnknownName, match=r"'cascada'.*Did you mean 'cascade'.*ridge.*Of these single, cascade.*scorers"
    ):
        check_part(Part(kind="cascada"))


def test_a_scorer_is_for_policies_of_several_calls() -> None:
    with pytest.raises(ConfigError, match="'ridge' and can not use another, got scorer = 'knn'"):
        check_part(Part(kind="ridge", scorer="knn"))
    with pytest.raises(UnknownName, match="Did you mean 'ridge'"):
        check_part(Part(kind="single", scorer="rigde"))
    with pytest.raises(ValueError, match="an encoder uses no scorer"):
        settings("ridge", encoder=Part(kind="hashing", scorer="ridge"))


@pytest.mark.parametrize("kinds", ["one", "some without replies"])
def test_a_report_of_several_calls_keeps_to_the_schema(kinds: str) -> None:
    made = report(kinds)
    check_report(made)
    assert made["not_recorded"]["self_refine"] == DEPENDENT
    assert "self_refine" not in made["policies"]
    assert "self_refine" not in made["comparisons"]["others"]
    page = render(made)
    assert "<b>self_refine</b>: not recorded: a table holds independent answers only" in page
    assert "calls<small>per query</small>" in page


def test_a_table_without_replies_goes_without_the_vote() -> None:
    made = report("some without replies")
    assert set(made["tables"]["world"]["policies"]) == {"ridge", "vote"}
    assert made["tables"]["world"]["comparisons"]["reference"] == "vote"
    mute = made["tables"]["mute"]
    assert set(mute["policies"]) == {"ridge"}
    assert mute["comparisons"]["reference"] == "ridge"
    assert mute["not_recorded"]["vote"] == NO_REPLIES
    assert made["not_recorded"]["vote"] == f"{NO_REPLIES} (mute)"
    assert set(made["policies"]) == {"ridge"}


def test_where_nothing_asked_for_was_recorded_the_controls_are_left() -> None:
    units, how = [Unit("world", world()), Unit("mute", world(name="mute", seed=1, keys=False))], settings("vote")
    made = build(how, evaluate(units, how), None, [], {})
    check_report(made)
    tables: Any = made["tables"]
    assert tables["mute"]["policies"] == {}
    assert tables["mute"]["comparisons"]["reference"] == "blind"
    assert "<b>vote</b>: not recorded: the replies were not kept (mute)" in render(made)


def test_a_policy_neither_judged_nor_named_is_a_contradiction() -> None:
    broken = report("some without replies")
    del broken["tables"]["mute"]["not_recorded"]["vote"]
    with pytest.raises(Exception, match=r"tables.mute.policies are \['ridge'\]"):
        check_report(broken)


def test_a_stream_has_keys_where_all_parts_have() -> None:
    a, b = world(), world(name="other", seed=1)
    assert concat("stream", [a, b]).keys is not None
    assert concat("stream", [a, replace(b, keys=None)]).keys is None


def test_replies_are_read_when_asked_for(tmp_path: Path) -> None:
    frame = simulate(60, seed=1)
    spoken = frame.with_columns(
        pl.lit("numeric").alias("metric"), (pl.lit("#### ") + pl.col("score").cast(pl.String)).alias("response")
    )
    write(spoken, tmp_path / "spoken.parquet")
    write(frame.drop("response", strict=False), tmp_path / "mute.parquet")
    write(spoken.with_columns(pl.lit(None, dtype=pl.String).alias("response")), tmp_path / "empty.parquet")
    paths = [tmp_path / f"{name}.parquet" for name in ("spoken", "mute", "empty")]
    assert all(u.train.keys is None for u in plan(paths).units)
    keys = {u.name: u.train.keys for u in plan(paths, keys=True).units}
    assert keys["mute"] is None
    assert keys["empty"] is None, "a column of nulls keeps no replies"
    assert keys["stream"] is None
    assert keys["spoken"] is not None
    assert (keys["spoken"] >= 0).any()


def test_finished_episodes_are_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = settings("ridge", "vote")

    def fits(data: Outcomes) -> int:
        done: list[int] = []
        made = evaluate([Unit("world", data)], how, tmp_path, lambda n, total, note: done.append(n))
        results.append(build(how, made, None, [], {}))
        return max(done, default=0)

    results: list[Any] = []
    data = world()
    first, again = fits(data), fits(data)
    assert (first, again) == (6 * len(how.all_parts), 0)
    assert results[0] == results[1]
    assert data.keys is not None
    assert fits(replace(data, keys=np.tile(np.arange(4), (len(data), 1)))) == 6 * 2, "other keys: vote and vote3 alone"
    monkeypatch.setattr("routewright.evaluate.run._code_of_episodes", lambda: "changed")
    assert fits(data) == 6 * 2, "other code of episodes: vote and vote3 alone"


def test_fits_of_tables_with_and_without_replies_are_kept(tmp_path: Path) -> None:
    units, how = [Unit("mute", world(keys=False)), Unit("world", world(seed=1))], settings("ridge", "vote")
    fits: list[int] = []
    for _ in range(2):
        evaluate(units, how, tmp_path, lambda done, total, note: fits.append(total))
    assert set(fits) == {6 * (2 * len(how.all_parts) - 2)}, "all but vote and vote3 of the first, and only once"
    assert len(fits) == 12


def test_courses_are_joined_in_place() -> None:
    rng = np.random.default_rng(0)
    quality, cost = rng.random((5, 3)), rng.random((5, 3))
    left, right = np.array([3, 0]), np.array([1, 4, 2])
    several = Course(
        np.array([[2, 1, 0]], dtype=np.int16),
        Steps.of(
            np.array([[0.5, 0.25, 1.0]]), np.array([[3.0, 2.0, 1.0]]), np.array([[[1, 1, 1], [1, 1, 0], [1, 0, 0]]])
        ),
    )
    single = one_model(1, 2).spelled_out(quality[left], cost[left])
    whole = join([(left, single), (right, several)], 5)
    np.testing.assert_allclose(whole.quality(quality)[0], [quality[0, 1], 0.5, 1.0, quality[3, 1], 0.25], rtol=1e-6)
    np.testing.assert_allclose(whole.cost_usd(cost)[0], [cost[0, 1], 3.0, 1.0, cost[3, 1], 2.0], rtol=1e-6)
    assert whole.answer[0].tolist() == [1, 2, 0, 1, 1]
    assert whole.calls(3).tolist() == [3, 4, 1]
    assert whole.take(np.array([1])).calls(3).tolist() == [1, 1, 1]


def test_the_grid_is_swept_in_order() -> None:
    """With more at stake, `single` asks better models: trade-offs are not mixed up between chunks."""
    how = settings(Part(kind="single", scorer="blind"))
    unit = Unit("world", world())
    course = fit_job(unit, next(iter(jobs_of(0, unit, how, 0))), how, how.policies)["single"].course
    cost = course.cost_usd(unit.train.cost_usd).mean(axis=1)
    assert len(cost) == len(value_grid())
    assert (np.diff(cost) >= 0).all()
    assert cost[0] == pytest.approx(PRICES[0], rel=1e-6)
    assert cost[-1] == pytest.approx(PRICES[3], rel=1e-6)
