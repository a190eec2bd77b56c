"""What a policy's choices were worth on the recorded outcomes: one seed, one table.

For every test part the operating points are chosen on its validation queries: the mixtures that make the curve, and
the points at which the policy is quoted. They are then applied to the test queries, whose outcomes nothing has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from routewright.evaluate.calibration import calibrated
from routewright.evaluate.course import Course, join, one_model
from routewright.evaluate.crossfit import Chosen, Job, Unit, fold_of
from routewright.evaluate.curves import TARGETS, log_targets, mixtures
from routewright.evaluate.settings import Settings, value_grid
from routewright.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Fold:
    """One test part: its rows in the judged table, and the training queries it is validated on."""

    key: int
    test_rows: Ints
    nontest: Ints


@dataclass(frozen=True)
class Reference:
    """The single models of one table and seed, chosen on the non-test queries of each part; arrays over test queries."""

    best: Ints  # [Q] index of the best single model
    cheapest: Ints  # [Q]
    line_quality: Floats  # [G, Q] expected quality of the mixture that costs target g
    line_cost: Floats  # [G, Q]


@dataclass(frozen=True)
class Replay:
    """One policy, one seed, one table; arrays over the Q test queries."""

    course: Course  # at each value_usd of the grid
    curve_quality: Floats  # [G, Q] expected quality of the validated mixture aiming at cost target g
    curve_cost: Floats  # [G, Q]
    keep: Course  # at the operating point that keeps the best single model's quality
    keep_value: tuple[
        float | None, ...
    ]  # that point's value_usd in each part; None: fell back to the best single model
    top: Course  # at the point with the best validated quality
    gap: Floats  # [Q] forecast quality gap for two-model pools, empty otherwise
    cost_log_error: float
    quality_error: float
    told: list[tuple[Floats, Floats]] = field(default_factory=list)  # a test part: counts before and after calibration


def parts_of(unit: Unit, settings: Settings, seed: int) -> list[Fold]:
    """The test parts of one seed."""
    if unit.test is not None:
        return [Fold(-1, np.arange(len(unit.test)), np.arange(len(unit.train)))]
    fold = fold_of(unit, settings, seed)
    return [Fold(k, np.flatnonzero(fold == k), np.flatnonzero(fold != k)) for k in range(settings.folds)]


def single_models(unit: Unit, settings: Settings, seed: int) -> Reference:
    """Best single model, cheapest, and the line between single models, each chosen without the test queries."""
    judged, train = unit.judged, unit.train
    n = len(judged)
    best, cheapest = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    line_quality, line_cost = np.zeros((TARGETS, n)), np.zeros((TARGETS, n))
    for part in parts_of(unit, settings, seed):
        quality, cost = train.quality[part.nontest].mean(axis=0), train.cost_usd[part.nontest].mean(axis=0)
        top, low = _best(quality, cost), _cheapest(quality, cost)
        best[part.test_rows], cheapest[part.test_rows] = top, low
        weights = mixtures(cost, quality, log_targets(cost[low], cost[top]))
        line_quality[:, part.test_rows] = weights @ judged.quality[part.test_rows].T
        line_cost[:, part.test_rows] = weights @ judged.cost_usd[part.test_rows].T
    return Reference(best, cheapest, line_quality, line_cost)


def replay(unit: Unit, settings: Settings, seed: int, chosen: Mapping[Job, Chosen], unit_index: int) -> Replay:
    """Put one policy's fits of one seed together."""
    judged, train = unit.judged, unit.train
    n, grid = len(judged), value_grid()
    curve_quality, curve_cost = np.zeros((TARGETS, n)), np.zeros((TARGETS, n))
    whole, keep, top = [], [], []
    told: list[tuple[Floats, Floats]] = []
    gaps = np.zeros(n if all(len(c.gap) for c in chosen.values()) else 0)
    keep_value: list[float | None] = []
    for part in parts_of(unit, settings, seed):
        final = chosen[Job(unit_index, seed, () if part.key < 0 else (part.key,))]
        rows = part.test_rows
        whole.append((rows, final.course))
        if len(gaps):
            gaps[rows] = final.gap
        if len(final.told):
            mine = final.told[0]
            told.append((mine, calibrated(_counted(part, settings, seed, chosen, unit_index), mine)))
        seen = _validation(part, unit, settings, seed, chosen, unit_index)
        quality, cost = train.quality[part.nontest], train.cost_usd[part.nontest]
        mean_quality, mean_cost = quality.mean(axis=0), cost.mean(axis=0)
        best, low = _best(mean_quality, mean_cost), _cheapest(mean_quality, mean_cost)
        val_quality, val_cost = seen.quality(quality), seen.cost_usd(cost)  # [V, nontest]
        ends = _validated_ends(unit, settings, seed, part)  # [2, nontest]: cheapest and best single model
        end_quality, end_cost = _take(quality, ends), _take(cost, ends)
        at = _keeping(
            val_quality - end_quality[1], val_cost.mean(axis=1), end_cost[1].mean(), settings.kept_points / 100
        )
        real_quality, real_cost = judged.quality[rows], judged.cost_usd[rows]
        kept = one_model(best, len(rows)) if at is None else final.course.at(at)
        keep.append((rows, kept.spelled_out(real_quality, real_cost) if final.course.steps else kept))
        keep_value.append(None if at is None else float(grid[at]))
        top.append((rows, final.course.at(_best(val_quality.mean(axis=1), val_cost.mean(axis=1)))))
        # The curve: mixtures of the policy's own points and of the line's two ends, which anybody can fall back to.
        points_cost = np.concatenate([val_cost.mean(axis=1), end_cost.mean(axis=1)])
        points_quality = np.concatenate([val_quality.mean(axis=1), end_quality.mean(axis=1)])
        weights = mixtures(points_cost, points_quality, log_targets(mean_cost[low], mean_cost[best]))
        ends_at = [low, best]
        curve_quality[:, rows] = weights @ np.vstack([final.course.quality(real_quality), real_quality.T[ends_at]])
        curve_cost[:, rows] = weights @ np.vstack([final.course.cost_usd(real_cost), real_cost.T[ends_at]])
    finals = [
        c for job, c in chosen.items() if job.seed == seed and (not job.held if unit.test else len(job.held) == 1)
    ]
    return Replay(
        join(whole, n),
        curve_quality,
        curve_cost,
        join(keep, n),
        tuple(keep_value),
        join(top, n),
        gaps,
        float(np.mean([c.cost_log_error for c in finals])),
        float(np.mean([c.quality_error for c in finals])),
        told,
    )


def _validation(
    part: Fold, unit: Unit, settings: Settings, seed: int, chosen: Mapping[Job, Chosen], unit_index: int
) -> Course:
    """[V, nontest] what became of each validation query when the policy had seen neither it nor the test part."""
    pieces = []
    for j in range(settings.folds):
        if j == part.key:
            continue
        held = (j,) if part.key < 0 else tuple(sorted((j, part.key)))
        fit = chosen[Job(unit_index, seed, held)]
        mine: Bools = fold_of(unit, settings, seed)[fit.rows] == j
        pieces.append((fit.rows[mine], fit.course.take(mine)))
    return join(pieces, len(unit.train)).take(part.nontest)


def _counted(part: Fold, settings: Settings, seed: int, chosen: Mapping[Job, Chosen], unit_index: int) -> Floats:
    """[3, FINE] forecasts of the validation queries, counted; the fits had seen neither them nor the test part."""
    total = []
    for j in range(settings.folds):
        if j == part.key:
            continue
        held = (j,) if part.key < 0 else tuple(sorted((j, part.key)))
        total.append(chosen[Job(unit_index, seed, held)].told[held.index(j)])
    out: Floats = np.sum(total, axis=0)
    return out


def _validated_ends(unit: Unit, settings: Settings, seed: int, part: Fold) -> NDArray[np.int16]:
    """[2, nontest] cheapest and best single model for each validation query, chosen without its fold and the test part.

    A policy is validated on queries its fits have not seen. The best of fifty models on the very queries it is quoted
    on looks better than it is, so the single models are validated the same way.
    """
    fold = fold_of(unit, settings, seed)
    ends = np.zeros((2, len(unit.train)), dtype=np.int16)
    for j in range(settings.folds):
        if j == part.key:
            continue
        seen = part.nontest[fold[part.nontest] != j]
        quality, cost = unit.train.quality[seen].mean(axis=0), unit.train.cost_usd[seen].mean(axis=0)
        ends[:, fold == j] = np.array([[_cheapest(quality, cost)], [_best(quality, cost)]])
    return ends[:, part.nontest]


def _take(values: Floats, picks: NDArray[np.int16]) -> Floats:
    """[V, Q] values [Q, M] at the picks [V, Q]."""
    return values[np.arange(len(values))[None], picks]


def _best(quality: Floats, cost: Floats) -> int:
    return int(np.lexsort((cost, -quality))[0])


def _cheapest(quality: Floats, cost: Floats) -> int:
    return int(np.lexsort((-quality, cost))[0])


def _keeping(difference: Floats, cost: Floats, best_cost: float, kept: float) -> int | None:
    """The cheapest point that validation says keeps the best single model's quality for less; None if none does.

    A point passes if its validated quality, less one standard error of the paired difference [V, n], is at most half
    of `kept` below the best single model's. Without the standard error the cheapest lucky point of a noisy sweep wins;
    the other half of `kept` is left to the noise of the test queries, which decide whether the quality was kept.
    """
    error = difference.std(axis=1) / np.sqrt(difference.shape[1])
    passing = np.flatnonzero((difference.mean(axis=1) - error >= -kept / 2) & (cost < best_cost))
    return int(passing[cost[passing].argmin()]) if len(passing) else None
