"""From replayed choices to measures with intervals: one table, all policies.

Every number is kept with its bootstrap draws until the end, so that tables can be pooled and policies compared pairwise
on the same draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routewright.evaluate import metrics
from routewright.evaluate.calibration import block
from routewright.evaluate.course import Course
from routewright.evaluate.crossfit import Unit
from routewright.evaluate.curves import TARGETS, Curves, aiq, gain_over_line
from routewright.evaluate.intervals import Draws, interval
from routewright.evaluate.replay import Reference, Replay
from routewright.evaluate.settings import Settings, value_grid
from routewright.types import Floats

Json = dict[str, object]
WORTH_CALLS = 10.0  # regret and shares of calls are quoted where a unit of score is worth this many best single calls


@dataclass(frozen=True)
class Measure:
    """A number and its B bootstrap draws."""

    mean: float
    draws: Floats

    def json(self) -> dict[str, float]:
        return interval(self.mean, self.draws)

    def __sub__(self, other: Measure) -> Measure:
        return Measure(self.mean - other.mean, self.draws - other.draws)


@dataclass(frozen=True)
class PolicyResult:
    """One policy on one table."""

    measures: Mapping[str, Measure]
    frontier: list[Json]
    facts: Json


@dataclass(frozen=True)
class TableResult:
    """All policies and controls on one table."""

    name: str
    n_queries: int
    facts: Json
    controls: Mapping[str, Mapping[str, Measure]]
    line: list[Json]
    singles: list[Json]
    policies: Mapping[str, PolicyResult] = field(default_factory=dict)
    not_recorded: Mapping[str, str] = field(default_factory=dict)  # label -> why it has no numbers here


def judge(
    unit: Unit,
    settings: Settings,
    references: Sequence[Reference],
    replays: Mapping[str, Sequence[Replay]],
    key: int,
    not_recorded: Mapping[str, str] | None = None,
) -> TableResult:
    """Measure every policy of a table.

    Args:
        references: One per seed.
        replays: Policy label -> one per seed.
        key: Number of the table; decides its bootstrap draws.
        not_recorded: Label -> why a policy has no numbers on this table.
    """
    judged = unit.judged
    draws = Draws.make(judged.groups, len(references), settings.draws, (key, 20_26))
    base = _Baseline(unit, references, draws)
    return TableResult(
        unit.name,
        len(judged),
        {
            "queries": len(judged),
            "models": list(unit.train.models),
            "trained_on": len(unit.train),
            "score_kind": judged.score_kind,
            "cost_source": judged.cost_source,
            "tokens_source": judged.tokens_source,
            "dropped": dict(judged.dropped),
            "stream": unit.stream,
        },
        base.controls(),
        base.line_points(),
        base.single_points(),
        {label: _policy(base, settings, list(runs)) for label, runs in replays.items()},
        not_recorded or {},
    )


class _Baseline:
    """What no policy decides: single models, line and oracles, with their draws."""

    def __init__(self, unit: Unit, references: Sequence[Reference], draws: Draws) -> None:
        self.unit, self.judged, self.draws, self.references = unit, unit.judged, draws, references
        quality, cost = self.judged.quality, self.judged.cost_usd
        rows = np.arange(len(quality))
        self.quality, self.cost, self.rows = quality, cost, rows
        lines = [(r.line_cost, r.line_quality) for r in references]
        self.line_mean = [Curves(c.mean(axis=1), q.mean(axis=1)) for c, q in lines]
        self.line_draws = [Curves(draws.means(c), draws.means(q)) for c, q in lines]
        self.best_quality = self.over_seeds([quality[rows, r.best] for r in references])
        self.best_cost = self.over_seeds([cost[rows, r.best] for r in references])
        self.cheapest_quality = self.over_seeds([quality[rows, r.cheapest] for r in references])
        self.cheapest_cost = self.over_seeds([cost[rows, r.cheapest] for r in references])
        top = metrics.oracle(quality, cost)
        task = metrics.per_task(quality, cost, self.judged.strata)
        self.oracle_quality, self.oracle_cost = self.same([quality[rows, top], cost[rows, top]])
        self.task_quality, self.task_cost = self.same([quality[rows, task], cost[rows, task]])

    def over_seeds(self, columns: Sequence[Floats]) -> Measure:
        """Mean over queries and seeds of one column [Q] a seed."""
        stacked = np.stack(columns)
        return Measure(float(stacked.mean()), self.draws.over_seeds(self.draws.means(stacked).T))

    def worth(self, points: Sequence[Course]) -> tuple[Measure, Measure]:
        """Quality and cost of one operating point a seed."""
        quality = self.over_seeds([p.quality(self.quality)[0] for p in points])
        return quality, self.over_seeds([p.cost_usd(self.cost)[0] for p in points])

    def same(self, columns: Sequence[Floats]) -> list[Measure]:
        """Means of columns [Q] that do not depend on the seed."""
        means = self.draws.means(np.stack(columns))
        return [Measure(float(c.mean()), means[:, i]) for i, c in enumerate(columns)]

    def controls(self) -> dict[str, dict[str, Measure]]:
        return {
            "best_single": {"quality": self.best_quality, "cost_usd": self.best_cost},
            "cheapest": {"quality": self.cheapest_quality, "cost_usd": self.cheapest_cost},
            "task_oracle": {"quality": self.task_quality, "cost_usd": self.task_cost},
            "oracle": {"quality": self.oracle_quality, "cost_usd": self.oracle_cost},
        }

    def line_points(self) -> list[Json]:
        cost = np.mean([c.cost for c in self.line_mean], axis=0)
        quality = np.mean([c.quality for c in self.line_mean], axis=0)
        return [{"quality": float(quality[g]), "cost_usd": float(cost[g])} for g in range(TARGETS)]

    def single_points(self) -> list[Json]:
        quality, cost = self.quality.mean(axis=0), self.cost.mean(axis=0)
        return [
            {"model": name, "quality": float(quality[m]), "cost_usd": float(cost[m])}
            for m, name in enumerate(self.unit.train.models)
        ]


def _policy(base: _Baseline, settings: Settings, runs: Sequence[Replay]) -> PolicyResult:
    draws = base.draws
    gains, areas, gain_draws, area_draws = [], [], [], []
    for run, line, line_draws in zip(runs, base.line_mean, base.line_draws, strict=True):
        curve = Curves(run.curve_cost.mean(axis=1), run.curve_quality.mean(axis=1))
        drawn = Curves(draws.means(run.curve_cost), draws.means(run.curve_quality))
        gains.append(gain_over_line(curve, line))
        areas.append(aiq(curve, line))
        gain_draws.append(gain_over_line(drawn, line_draws))
        area_draws.append(aiq(drawn, line_draws))
    keep_quality, keep_cost = base.worth([r.keep for r in runs])
    top_quality, top_cost = base.worth([r.top for r in runs])
    room = base.oracle_quality - base.best_quality
    above = top_quality - base.best_quality
    measures = {
        "gain_over_line": Measure(float(np.mean(gains)), draws.over_seeds(np.stack(gain_draws))),
        "aiq": Measure(float(np.mean(areas)), draws.over_seeds(np.stack(area_draws))),
        "gap_closed": Measure(_ratio(above.mean, room.mean), _ratios(above.draws, room.draws)),
        "saving": Measure(
            1 - _ratio(keep_cost.mean, base.best_cost.mean), 1 - _ratios(keep_cost.draws, base.best_cost.draws)
        ),
        "quality_at_best_single": keep_quality,
        "cost_at_best_single": keep_cost,
        "difference_at_best_single": keep_quality - base.best_quality,
        "top_quality": top_quality,
        "top_cost": top_cost,
        "regret": _regret(base, runs),
    }
    facts: Json = {
        "line_saving": _line_saving(base, keep_quality.mean),
        "value_usd": [list(r.keep_value) for r in runs],
        "fell_back": float(np.mean([v is None for r in runs for v in r.keep_value])),
        "arena_score": metrics.arena_score(keep_quality.mean, keep_cost.mean),
        "cost_log_error": _number(np.mean([r.cost_log_error for r in runs])),
        "quality_squared_error": _number(np.mean([r.quality_error for r in runs])),
        "calibration": _calibration(runs),
        "collapse": _collapse(base, [r.course.at(_fixed_trade_off(base)) for r in runs]),
        "collapse_at_best_single": _collapse(base, [r.keep for r in runs]),
    }
    if len(runs[0].gap):
        facts["pair"] = _pair(base, runs)
    return PolicyResult(measures, _frontier(base, runs), facts)


def _calibration(runs: Sequence[Replay]) -> Json | None:
    """Reliability before and after calibration over all seeds; None where nothing was forecast."""
    before, after = (block([told[i] for run in runs for told in run.told]) for i in (0, 1))
    return None if before is None else {"before": before, "after": after}


def _frontier(base: _Baseline, runs: Sequence[Replay]) -> list[Json]:
    """Quality and cost per query at each trade-off of the grid, with intervals over queries."""
    quality = np.mean([r.course.quality(base.quality) for r in runs], axis=0)
    cost = np.mean([r.course.cost_usd(base.cost) for r in runs], axis=0)
    low, high = np.quantile(base.draws.means(quality), [0.025, 0.975], axis=0)
    return [
        {
            "value_usd": float(value),
            "quality": float(quality[v].mean()),
            "cost_usd": float(cost[v].mean()),
            "quality_low": float(low[v]),
            "quality_high": float(high[v]),
        }
        for v, value in enumerate(value_grid())
    ]


def _regret(base: _Baseline, runs: Sequence[Replay]) -> Measure:
    """Utility lost against the best single call per query, in units of score, at a trade-off fixed by the table.

    regret = mean_q [ max_m (quality - cost / value) - (quality - cost / value) of the policy ]
    """
    at = _fixed_trade_off(base)
    value = value_grid()[at]
    best = (base.quality - base.cost / value).max(axis=1)
    points = [r.course.at(at) for r in runs]
    return base.over_seeds([best - (p.quality(base.quality)[0] - p.cost_usd(base.cost)[0] / value) for p in points])


def _fixed_trade_off(base: _Baseline) -> int:
    """Index of the grid's value nearest to WORTH_CALLS x the best single model's cost: nothing of the policy's choosing."""
    wanted = np.log(max(WORTH_CALLS * base.best_cost.mean, 1e-12))
    return int(np.abs(np.log(np.maximum(value_grid(), 1e-12)) - wanted).argmin())


def _line_saving(base: _Baseline, quality: float) -> float:
    """What mixing single models saves at that quality: 1 - cost of the line there / cost of the best single model.

    Where the line does not reach the quality, it is quoted at the best it does reach.
    """
    saved = []
    for line in base.line_mean:
        reached = np.maximum.accumulate(line.quality)
        wanted = min(quality, float(reached[-1]))
        i = int(np.argmax(reached >= wanted))
        cost = float(line.cost[i])
        if i and line.quality[i] > line.quality[i - 1]:
            share = (line.quality[i] - wanted) / (line.quality[i] - line.quality[i - 1])
            cost -= float(np.clip(share, 0, 1) * (line.cost[i] - line.cost[i - 1]))
        saved.append(max(0.0, 1 - _ratio(cost, base.best_cost.mean)))
    return float(np.mean(saved))


def _collapse(base: _Baseline, points: Sequence[Course]) -> Json:
    """The collapse block over one operating point of each of S seeds; all models asked count, not the answer's alone."""
    models = base.unit.train.models
    choices = np.concatenate([p.answer for p in points])  # [S, Q]
    calls = np.sum([p.calls(len(models)) for p in points], axis=0)
    share = calls / max(1, int(calls.sum()))
    _, task = np.unique(np.asarray(base.judged.strata), return_inverse=True)
    return {
        "share": {models[m]: float(share[m]) for m in np.argsort(-share, kind="stable") if share[m] > 0},
        "entropy_bits": metrics.entropy_bits(share),
        "calls_per_query": float(calls.sum() / choices.size),
        "query_information_bits": metrics.query_information_bits(choices),
        "task_information_bits": float(np.mean([metrics.information_bits(row, task) for row in choices])),
        "collapsed": bool(share.max() > 0.95),
    }


def _pair(base: _Baseline, runs: Sequence[Replay]) -> Json:
    """The two-model measures of RouteLLM; the strong model is the better one on the training queries."""
    train = base.unit.train.quality.mean(axis=0)
    strong = int(train[1] > train[0])
    sign = 1.0 if strong == 1 else -1.0
    weak_quality, strong_quality = base.quality[:, 1 - strong], base.quality[:, strong]
    if np.isclose(weak_quality.mean(), strong_quality.mean()):
        return {"strong": base.unit.train.models[strong], "apgr": None, "cpt50": None, "cpt80": None, "pgr": None}
    keep = float(np.mean([r.keep.quality(base.quality)[0].mean() for r in runs]))
    return {
        "strong": base.unit.train.models[strong],
        "apgr": float(np.mean([metrics.apgr(weak_quality, strong_quality, sign * r.gap) for r in runs])),
        "cpt50": float(np.mean([metrics.cpt(weak_quality, strong_quality, sign * r.gap, 0.5) for r in runs])),
        "cpt80": float(np.mean([metrics.cpt(weak_quality, strong_quality, sign * r.gap, 0.8) for r in runs])),
        "pgr": float(metrics.pgr(keep, float(weak_quality.mean()), float(strong_quality.mean()))),
    }


def _number(value: np.floating[Any]) -> float | None:
    """NaN, the error of a forecast nobody made, is null in the report."""
    return None if np.isnan(value) else float(value)


def _ratio(a: float, b: float) -> float:
    return a / b if abs(b) > 1e-12 else 0.0


def _ratios(a: Floats, b: Floats) -> Floats:
    safe = np.where(np.abs(b) > 1e-12, b, 1.0)
    out: Floats = np.where(np.abs(b) > 1e-12, a / safe, 0.0)
    return out
