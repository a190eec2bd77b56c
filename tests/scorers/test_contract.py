"""What every policy of the table promises (`scorers/base.py`). A new one is picked up from the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routewright.config import Config
from routewright.encoders import build_encoder
from routewright.errors import ConfigError, RoutewrightError, UnknownName
from routewright.outcomes import Outcomes
from routewright.router import Router, load
from routewright.scorers import SCORERS, Scorer, build_scorer
from routewright.types import Forecast, Query, Vectors
from tests.extras import needs

NEEDS_TORCH = {"graphrouter"}  # to train; not to serve
ONE_MODEL = {"fixed", "cheapest", "random"}  # rule out all models but one
NEW = [
    Query("How many apples are left if Kofi has 12 and gives away 5?", "n-0", "arithmetic", "simulated"),
    Query("Write a Rust function that balances a red-black tree.", "n-1", "code", "simulated"),
    Query("", "n-2", "a task never seen", "another set"),
    Query("What is known about Zurich?", "n-3", "facts", "simulated"),
]


def encode(
    outcomes: Outcomes, queries: list[Query] | tuple[Query, ...] = (), **options: Any
) -> tuple[Vectors, Vectors]:
    """Vectors of a table's queries and of further ones."""
    encoder = build_encoder("hashing", options)
    texts = [q.text for q in outcomes.queries]
    encoder.fit(texts)
    return encoder.encode(texts), encoder.encode([q.text for q in queries])


def fitted(kind: str, outcomes: Outcomes, vectors: Vectors, seed: int = 0) -> Scorer:
    scorer = build_scorer(kind, seed=seed)
    scorer.fit(outcomes, vectors)
    return scorer


def check(forecast: Forecast, n_queries: int, models: tuple[str, ...]) -> None:
    """What holds for any forecast."""
    assert forecast.models == models
    for name in ("quality", "quality_std", "cost_usd"):
        array = getattr(forecast, name)
        assert array.shape == (n_queries, len(models)), name
        assert array.dtype == np.float64, name
        assert np.isfinite(array).all(), name
    assert ((forecast.quality >= 0) & (forecast.quality <= 1)).all()
    assert (forecast.quality_std >= 0).all()
    assert (forecast.cost_usd > 0).all()
    if forecast.allowed is not None:
        assert forecast.allowed.dtype == bool
        assert forecast.allowed.any(axis=1).all(), "a query that no model may answer"


def equal(one: Forecast, other: Forecast, atol: float = 0.0) -> None:
    assert one.models == other.models
    for name in ("quality", "quality_std", "cost_usd", "latency_s", "allowed"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module", params=list(SCORERS))
def kind(request: pytest.FixtureRequest) -> str:
    if request.param in NEEDS_TORCH:
        needs("torch", "train")
    return str(request.param)


@pytest.fixture(scope="module")
def vectors(outcomes: Outcomes) -> tuple[Vectors, Vectors]:
    return encode(outcomes, NEW)


@pytest.fixture(scope="module")
def scorer(kind: str, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> Scorer:
    return fitted(kind, outcomes, vectors[0])


def test_table_and_class_agree(kind: str) -> None:
    cls = SCORERS.load(kind)
    assert cls.kind == kind
    assert issubclass(cls, Scorer)
    assert issubclass(cls.Config, Config)
    assert cls.summary
    assert "\n" not in cls.summary
    assert all(field.description for field in cls.Config.model_fields.values()), "every option says what it is"


def test_forecasts_are_sound(scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    check(scorer.forecast(outcomes.queries, vectors[0]), len(outcomes), outcomes.models)
    check(scorer.forecast(NEW, vectors[1]), len(NEW), outcomes.models)


def test_no_queries_give_no_rows(scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    check(scorer.forecast([], vectors[1][:0]), 0, outcomes.models)


def test_columns_follow_the_models_asked_for(scorer: Scorer, vectors: tuple[Vectors, Vectors]) -> None:
    whole = scorer.forecast(NEW, vectors[1])
    backwards = tuple(reversed(whole.models))
    equal(scorer.forecast(NEW, vectors[1], backwards), whole.take(backwards))
    some = scorer.forecast(NEW, vectors[1], whole.models[2:0:-1])
    assert some.models == whole.models[2:0:-1]
    np.testing.assert_array_equal(some.quality, whole.quality[:, [2, 1]])
    np.testing.assert_array_equal(some.cost_usd, whole.cost_usd[:, [2, 1]])


def test_a_forecast_does_not_depend_on_the_batch(
    scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]
) -> None:
    queries = [*NEW, *outcomes.queries[:20]]
    x = np.vstack([vectors[1], vectors[0][:20]])
    together = scorer.forecast(queries, x)
    for i, query in enumerate(queries):
        alone = scorer.forecast([query], x[i : i + 1])
        np.testing.assert_allclose(alone.quality[0], together.quality[i], atol=1e-6)
        np.testing.assert_allclose(alone.cost_usd[0], together.cost_usd[i], rtol=1e-6)
    backwards = scorer.forecast(queries[::-1], x[::-1])
    np.testing.assert_allclose(backwards.quality[::-1], together.quality, atol=1e-6)
    np.testing.assert_allclose(backwards.cost_usd[::-1], together.cost_usd, rtol=1e-6)


def test_the_seed_decides_everything(
    kind: str, scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]
) -> None:
    equal(fitted(kind, outcomes, vectors[0]).forecast(NEW, vectors[1]), scorer.forecast(NEW, vectors[1]))
    check(fitted(kind, outcomes.take(range(60)), vectors[0][:60], 12345).forecast(NEW, vectors[1]), 4, outcomes.models)


def test_forecasting_changes_nothing(scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    before = scorer.forecast(NEW, vectors[1])
    scorer.forecast(outcomes.queries, vectors[0])
    equal(scorer.forecast(NEW, vectors[1]), before)


def test_inputs_are_left_alone(kind: str, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    arrays = ("quality", "cost_usd", "tokens_in", "tokens_out", "latency_s")
    outcomes, vectors = outcomes.take(range(60)), (vectors[0][:60], vectors[1])
    mine = replace(outcomes, **{name: getattr(outcomes, name).copy() for name in arrays})
    x, wanted = vectors[0].copy(), vectors[1].copy()
    for name in arrays:
        getattr(mine, name).flags.writeable = False
    x.flags.writeable = wanted.flags.writeable = False
    fitted(kind, mine, x).forecast(NEW, wanted)
    np.testing.assert_array_equal(x, vectors[0])
    np.testing.assert_array_equal(wanted, vectors[1])
    for name in arrays:
        np.testing.assert_array_equal(getattr(mine, name), getattr(outcomes, name))


def test_a_saved_one_forecasts_the_same(scorer: Scorer, outcomes: Outcomes, tmp_path: Path) -> None:
    encoder = build_encoder("hashing")
    encoder.fit([q.text for q in outcomes.queries])
    router = Router(encoder, scorer)
    router.save(tmp_path / "r")
    again = load(tmp_path / "r")
    assert again.scorer.kind == scorer.kind
    assert again.scorer.seed == scorer.seed
    assert again.scorer.config == scorer.config
    equal(again.forecast(NEW), router.forecast(NEW))
    equal(again.forecast(outcomes.queries), router.forecast(outcomes.queries))
    again.save(tmp_path / "r2")
    equal(load(tmp_path / "r2").forecast(NEW), router.forecast(NEW))


def test_latency_is_forecast_where_it_was_recorded(
    kind: str, scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]
) -> None:
    assert scorer.forecast(NEW, vectors[1]).latency_s is None
    timed = replace(outcomes.take(range(60)), latency_s=np.tile([1.0, 2.0, 3.0, 4.0], (60, 1)))
    latency = fitted(kind, timed, vectors[0][:60]).forecast(NEW, vectors[1]).latency_s
    assert latency is not None
    np.testing.assert_allclose(latency, np.tile([1.0, 2.0, 3.0, 4.0], (len(NEW), 1)))


# -- small, flat and wide tables


def rebuilt(outcomes: Outcomes, quality: Any = None, cost_usd: Any = None) -> Outcomes:
    return replace(
        outcomes,
        quality=outcomes.quality if quality is None else quality,
        cost_usd=outcomes.cost_usd if cost_usd is None else cost_usd,
    )


def one_constant_model(outcomes: Outcomes) -> Outcomes:
    quality = outcomes.quality.copy()
    quality[:, 1] = 1.0
    return rebuilt(outcomes, quality)


def duplicated(outcomes: Outcomes) -> Outcomes:
    return outcomes.take([*range(20), *range(20), *range(20)])


def nameless_tasks(outcomes: Outcomes) -> Outcomes:
    return replace(outcomes, queries=tuple(Query(q.text, q.query_id) for q in outcomes.queries))


def every_task_another(outcomes: Outcomes) -> Outcomes:
    return replace(outcomes, queries=tuple(Query(q.text, q.query_id, q.query_id) for q in outcomes.queries))


HARD_TABLES = {
    "two models": lambda o: o.with_models(o.models[:2]),
    "one model": lambda o: o.with_models(o.models[:1]),
    "one constant model": one_constant_model,
    "all scores 1": lambda o: rebuilt(o, np.ones_like(o.quality)),
    "all scores 0": lambda o: rebuilt(o, np.zeros_like(o.quality)),
    "all scores 0.5": lambda o: rebuilt(o, np.full_like(o.quality, 0.5)),
    "all costs equal": lambda o: rebuilt(o, cost_usd=np.full_like(o.cost_usd, 1e-3)),
    "costs over twelve decades": lambda o: rebuilt(o, cost_usd=o.cost_usd * [1e-6, 1.0, 1e3, 1e6]),
    "fractions": lambda o: rebuilt(o, np.random.default_rng(0).random(o.quality.shape)),
    "two queries": lambda o: o.take([0, 1]),
    "three queries": lambda o: o.take([0, 1, 2]),
    "eleven queries": lambda o: o.take(range(11)),
    "two queries of one text": lambda o: o.take([0, 0]),
    "every query three times": duplicated,
    "no task labels": nameless_tasks,
    "every query a task": every_task_another,
}


@pytest.fixture(scope="module")
def hard_tables(outcomes: Outcomes) -> dict[str, tuple[Outcomes, Vectors, Vectors]]:
    """Encoded once for all policies."""
    small = outcomes.take(range(60))
    made = {name: change(small) for name, change in HARD_TABLES.items()}
    return {name: (table, *encode(table, NEW)) for name, table in made.items()}


@pytest.mark.parametrize("table", HARD_TABLES)
def test_hard_tables(kind: str, table: str, hard_tables: dict[str, tuple[Outcomes, Vectors, Vectors]]) -> None:
    hard, x, wanted = hard_tables[table]
    scorer = fitted(kind, hard, x)
    check(scorer.forecast(NEW, wanted), len(NEW), hard.models)
    check(scorer.forecast(hard.queries, x), len(hard), hard.models)


@pytest.mark.parametrize(
    "shape", [(20, 300), (20, 1), (120, 2), (20, 21)], ids=lambda shape: "{} queries, {} dimensions".format(*shape)
)
def test_vectors_of_any_width(kind: str, shape: tuple[int, int], outcomes: Outcomes) -> None:
    """Also more dimensions than queries, and dimensions that never vary."""
    rng = np.random.default_rng(1)
    for x in (rng.normal(size=shape).astype(np.float32), np.zeros(shape, dtype=np.float32)):
        few = outcomes.take(range(shape[0]))
        scorer = fitted(kind, few, x)
        check(scorer.forecast(few.queries, x), len(few), few.models)


def test_free_models_have_a_forecast(kind: str, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    """A local model may cost nothing; its forecast is 0, not a NaN."""
    free = outcomes.take(range(60))
    free.cost_usd[:, 0] = 0.0
    forecast = fitted(kind, free, vectors[0][:60]).forecast(NEW, vectors[1])
    assert np.isfinite(forecast.cost_usd).all()
    np.testing.assert_allclose(forecast.cost_usd[:, 0], 0.0, atol=1e-9)
    assert (forecast.cost_usd[:, 1:] > 0).all()


# -- refusals


def test_unknown_options_are_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"Unknown key 'colour' in policy '{kind}'\. Known: "):
        build_scorer(kind, {"colour": 1})


def test_unfitted_ones_say_so(kind: str, vectors: tuple[Vectors, Vectors]) -> None:
    for call in (lambda s: s.forecast(NEW, vectors[1]), lambda s: s.state()):
        with pytest.raises(RoutewrightError, match=f"{kind} is not fitted"):
            call(build_scorer(kind))


def test_too_little_to_fit_is_refused(kind: str, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    with pytest.raises(RoutewrightError, match="at least 2 queries and 1 model"):
        fitted(kind, outcomes.take([0]), vectors[0][:1])
    with pytest.raises(RoutewrightError, match="120 queries came with 119 vectors"):
        fitted(kind, outcomes, vectors[0][:-1])


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'ridge'"):
        build_scorer("rigde")


# -- what a policy reads, and what it rules out


def test_only_task_mean_reads_the_task_label(
    kind: str, scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]
) -> None:
    assert scorer.reads_task == (kind == "task_mean")
    relabelled = [Query(q.text, q.query_id, "logic", q.dataset) for q in NEW]
    one, other = (scorer.forecast(queries, vectors[1]) for queries in (NEW, relabelled))
    if scorer.reads_task:
        assert not np.allclose(one.quality, other.quality)
    else:
        equal(one, other)


def test_only_what_reads_text_tells_queries_apart(
    kind: str, scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]
) -> None:
    forecast = scorer.forecast(outcomes.queries, vectors[0])
    same = (forecast.quality == forecast.quality[0]).all() and (forecast.cost_usd == forecast.cost_usd[0]).all()
    assert same == (not scorer.reads_text)


def test_only_the_one_model_policies_rule_models_out(
    kind: str, scorer: Scorer, outcomes: Outcomes, vectors: tuple[Vectors, Vectors]
) -> None:
    allowed = scorer.forecast(outcomes.queries, vectors[0]).allowed
    assert (allowed is not None) == (kind in ONE_MODEL)
    if allowed is not None:
        assert (allowed.sum(axis=1) == 1).all()
        assert (len(np.unique(allowed.argmax(axis=1))) > 1) == (kind == "random")


def test_fixed_takes_the_best_or_the_one_named(outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    def chosen(options: dict[str, str]) -> str:
        scorer = build_scorer("fixed", options)
        scorer.fit(outcomes, vectors[0])
        allowed = scorer.forecast(NEW, vectors[1]).allowed
        assert allowed is not None
        assert (allowed == allowed[0]).all()
        return outcomes.models[int(allowed[0].argmax())]

    assert chosen({}) == outcomes.models[int(outcomes.quality.mean(axis=0).argmax())] == "sim-large"
    assert chosen({"model": "sim-coder"}) == "sim-coder"
    with pytest.raises(UnknownName, match=r"'sim-smal'.*Did you mean 'sim-small'"):
        chosen({"model": "sim-smal"})


def test_cheapest_is_the_cheapest(outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    allowed = fitted("cheapest", outcomes, vectors[0]).forecast(NEW, vectors[1]).allowed
    assert allowed is not None
    assert allowed[0].argmax() == outcomes.cost_usd.mean(axis=0).argmin()


def test_random_draws_evenly_and_by_the_seed(outcomes: Outcomes, vectors: tuple[Vectors, Vectors]) -> None:
    """Counts of 4,000 draws over 4 models: 1,000 each, deviation 27; the margin is five of those."""
    queries = [Query(f"query number {i}") for i in range(4000)]
    x = np.repeat(vectors[1][:1], len(queries), axis=0)
    picks = []
    for seed in (0, 1):
        allowed = fitted("random", outcomes, vectors[0], seed).forecast(queries, x).allowed
        assert allowed is not None
        picks.append(allowed.argmax(axis=1))
        assert (np.abs(np.bincount(picks[-1], minlength=4) - 1000) < 137).all()
    assert (picks[0] != picks[1]).mean() > 0.5


@pytest.fixture(scope="module")
def sums_and_poems() -> tuple[Outcomes, Outcomes, Vectors, Vectors]:
    """A pool where the query decides who is right: model a on sums, model b on poems. To train on, and to test."""
    rng = np.random.default_rng(0)
    words = ("three", "seven", "apples", "left", "river", "moon", "silver", "night", "song", "count")
    queries, quality = [], []
    for i in range(200):
        tail = " ".join(rng.choice(words, 4))
        queries.append(Query(("add the numbers " if i % 2 else "write a poem about ") + tail, str(i), "ab"[i % 2]))
        quality.append([float(i % 2), float(1 - i % 2)])
    n = len(queries)
    nothing = np.full((n, 2), np.nan)
    table = Outcomes(
        "toy", tuple(queries), ("a", "b"), np.array(quality), np.ones((n, 2)), nothing, nothing, nothing, "correct"
    )
    train, test = table.take(range(150)), table.take(range(150, 200))
    return train, test, *encode(train, test.queries)


@pytest.mark.parametrize("kind", [name for name in SCORERS if name not in {"blind", "elo", *ONE_MODEL}])
def test_what_reads_the_query_learns_from_it(
    kind: str, sums_and_poems: tuple[Outcomes, Outcomes, Vectors, Vectors]
) -> None:
    """Squared error of the blind control is 0.25; anything that reads the query has to halve it."""
    if kind in NEEDS_TORCH:
        needs("torch", "train")
    train, test, x, wanted = sums_and_poems
    forecast = fitted(kind, train, x).forecast(test.queries, wanted)
    assert ((forecast.quality - test.quality) ** 2).mean() < 0.125
