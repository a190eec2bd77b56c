"""Cross-fitting: what every policy would have chosen on queries it never saw.

Folds are dealt over groups of equal query texts. With test fold k, the policy is fitted on the other folds and chooses
for fold k. Its operating points are chosen on validation: for every other fold j it is fitted once more without j and k
and chooses for j. A fit without j and k serves both (j, k) and (k, j), so five folds cost 5 + 10 fits a seed. With a
separate test table there is one test part, validated by leaving out one training fold at a time.

Not here: what the choices are worth (`replay.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from routewright.encoders import build_encoder
from routewright.encoders.cache import vectors_of
from routewright.evaluate.calibration import FINE, count
from routewright.evaluate.course import Course
from routewright.evaluate.multistep import follow
from routewright.evaluate.settings import Part, Settings, value_grid
from routewright.outcomes import Outcomes, folds
from routewright.scorers import build_scorer
from routewright.scorers.choose import sweep
from routewright.scorers.held_out import out_of_sample
from routewright.types import Floats, Forecast, Ints


@dataclass(frozen=True)
class Unit:
    """One table to judge on: cross-fitted on itself, or trained here and tested there."""

    name: str
    train: Outcomes
    test: Outcomes | None = None
    stream: bool = False  # merged from tables that are judged apart too

    @property
    def judged(self) -> Outcomes:
        """The outcomes that test queries index into."""
        return self.train if self.test is None else self.test

    @property
    def tables(self) -> tuple[Outcomes, ...]:
        """What it trains on and, if that is another, what it is judged on."""
        return (self.train,) if self.test is None else (self.train, self.test)


@dataclass(frozen=True)
class Job:
    """One fit of every policy: on `train` rows; chooses for `predict` rows of the training or of the test table."""

    unit: int
    seed: int
    held: tuple[int, ...]  # the folds left out; empty: fitted on all, for the test table


@dataclass(frozen=True)
class Chosen:
    """What became of `rows` under one fitted policy at each of the V trade-offs, and the errors of its forecast there."""

    rows: Ints
    on_test_table: bool
    course: Course
    gap: Floats  # [n] a scorer's forecast quality of the second model minus the first, of two; empty otherwise
    cost_log_error: float  # mean |log(forecast / real cost)| over rows and models; NaN: it forecasts nothing
    quality_error: float  # mean squared error of forecast quality; NaN: it forecasts nothing
    told: Floats = field(default_factory=lambda: np.zeros((0, 3, FINE)))
    """[H, 3, FINE] forecasts and outcomes counted, for each fold left out in turn (`calibration.py`); H = 0: none made."""


def fold_of(unit: Unit, settings: Settings, seed: int) -> Ints:
    """[Q] fold of each training query of a unit."""
    return folds(unit.train.groups, unit.train.strata, settings.folds, seed)


def jobs_of(index: int, unit: Unit, settings: Settings, seed: int) -> Iterator[Job]:
    """The fits one seed of one unit needs."""
    every = range(settings.folds)
    for k in every:
        yield Job(index, seed, (k,))
    if unit.test is None:
        for pair in itertools.combinations(every, 2):
            yield Job(index, seed, pair)
    else:
        yield Job(index, seed, ())


def fit_job(
    unit: Unit, job: Job, settings: Settings, parts: Sequence[Part], note: Callable[[str], None] | None = None
) -> Mapping[str, Chosen]:
    """Fit each policy once and let it choose for the rows left out; label -> what it chose."""
    fold = fold_of(unit, settings, job.seed)
    left_out = np.isin(fold, job.held)
    train = unit.train.take(np.flatnonzero(~left_out))
    on_test = not job.held
    source = unit.judged if on_test else unit.train
    rows = np.arange(len(source)) if on_test else np.flatnonzero(left_out)
    target = source.take(rows)
    encoder = build_encoder(settings.encoder.kind, settings.encoder.options)
    texts = [q.text for q in train.queries]
    encoder.fit(texts)
    vectors, wanted = vectors_of(encoder, texts), vectors_of(encoder, [q.text for q in target.queries])
    out: dict[str, Chosen] = {}
    for part in parts:
        kind, options = (part.scorer, {}) if part.several else (part.kind, part.options)
        forecast = None
        if kind:
            scorer = build_scorer(kind, options, job.seed)
            scorer.fit(train, vectors)
            forecast = scorer.forecast(target.queries, wanted)
        gap = np.zeros(0)
        if part.several or forecast is None:
            both = None if forecast is None else (out_of_sample(kind, train, vectors, job.seed), forecast)
            course = follow(part, job.seed, train, target, both)
        else:
            course = Course(sweep(forecast, value_grid()).astype(np.int16))
            if len(train.models) == 2:
                gap = forecast.quality[:, 1] - forecast.quality[:, 0]
        told = np.zeros((0, 3, FINE))
        if forecast is not None:
            mine = [np.ones(len(rows), dtype=bool)] if on_test else [fold[rows] == k for k in job.held]
            told = np.stack([count(forecast.quality[m], target.quality[m]) for m in mine])
        out[part.label] = Chosen(rows, on_test, course, gap, *_errors(forecast, target), told)
        if note is not None:
            note(part.label)
    return out


def _errors(forecast: Forecast | None, target: Outcomes) -> tuple[float, float]:
    """Mean |log(forecast / real cost)| and mean squared error of quality; NaN without a forecast."""
    if forecast is None:
        return float("nan"), float("nan")
    real = np.maximum(target.cost_usd, 1e-12)
    return (
        float(np.abs(np.log(np.maximum(forecast.cost_usd, 1e-12) / real)).mean()),
        float(((forecast.quality - target.quality) ** 2).mean()),
    )
