"""What an outcome table says of each model: how good, at what, how surely, at what cost; with examples.

Per task t, with p[q] what one expects of the model on query q by how the others do there,

    p[q]      sigmoid( u + v logit((right[q] + 1/2) / (M - 1 + 1)) )      right[q]: summed scores of the M - 1 others; u, v fitted
    score     mean of its scores, with Wilson's 95% interval
    expected  mean of p
    surely    |sum_q (score - p)| > z sqrt(sum_q p (1 - p)),  z for 95% over all tasks of the model (Bonferroni)

so a model is called good at a task for being better there than the task's ease for others and its own level say.
`reliability` is of forecasts from the text that never saw the query: does what is forecast at 70% come out at 70%?

Not here: pages (`pages.py`), new models (`newcomer.py`). Called by `routewright profile`.

Reference: the flat profile of RouteProfile, arXiv:2605.00180, with tasks and queries. Differs: numbers with intervals
instead of a language model's words; strengths are tested; no families, no domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from pydantic import Field
from scipy.special import expit as sigmoid

from routewright.config import Config
from routewright.errors import RoutewrightError
from routewright.intervals import wilson
from routewright.outcomes.arrays import Outcomes
from routewright.profiles.abilities import Abilities, Belief, update
from routewright.profiles.newcomer import out_of_sample
from routewright.types import Floats, Vectors


class ProfileConfig(Config):
    """How profiles are made."""

    examples: int = Field(3, ge=0, le=50, description="queries shown of each kind")
    bins: int = Field(5, ge=2, le=20, description="bins of the reliability of forecasts")
    least: int = Field(10, ge=1, description="queries a task needs to be called a strength or a weakness")


@dataclass(frozen=True)
class TaskProfile:
    """A model on one task."""

    task: str
    queries: int
    score: float
    low: float
    high: float
    expected: float  # by how the others do there and its own level
    best: float  # mean score of the best model there
    verdict: str  # "strength", "weakness" or ""


@dataclass(frozen=True)
class Profile:
    """A model on a table. Costs in USD a query, latency in seconds; NaN where the table has none."""

    model: str
    queries: int
    score: float
    low: float
    high: float
    place: int  # by score, 1 is best
    cost_usd: float
    tokens_in: float
    tokens_out: float
    latency_s: float
    dominated_by: str  # a model that is no dearer and no worse, and better in one; "" if there is none
    tasks: tuple[TaskProfile, ...]
    reliability: tuple[tuple[int, float, float], ...]  # queries, mean forecast, mean score of each bin
    calibration_error: float
    alone_right: tuple[str, ...]  # queries that it gets right and few others do
    alone_wrong: tuple[str, ...]


def profiles(outcomes: Outcomes, vectors: Vectors, config: ProfileConfig | None = None) -> list[Profile]:
    """A profile of every model, best first.

    Args:
        outcomes: Q queries by at least 2 models.
        vectors: [Q, D] of the texts, for the forecasts whose reliability is told.
        config: Options.
    """
    config = config or ProfileConfig()
    if len(outcomes.models) < 2:
        raise RoutewrightError(
            f"{outcomes.name} has 1 model, and a profile says what tells it from others. Expected at least 2."
        )
    foretold = out_of_sample(vectors, outcomes.quality)
    mean, cost = outcomes.quality.mean(axis=0), outcomes.cost_usd.mean(axis=0)
    order = np.lexsort((cost, -mean))
    made = []
    for place, m in enumerate(order.tolist(), 1):
        low, high = wilson(float(mean[m]), len(outcomes))
        bins, error = reliability(foretold[:, m], outcomes.quality[:, m], config.bins)
        better = [
            i
            for i in order.tolist()
            if mean[i] >= mean[m] and cost[i] <= cost[m] and (mean[i], cost[i]) != (mean[m], cost[m])
        ]
        right, wrong = _examples(outcomes, m, config.examples)
        made.append(
            Profile(
                outcomes.models[m],
                len(outcomes),
                float(mean[m]),
                low,
                high,
                place,
                float(cost[m]),
                _mean(outcomes.tokens_in[:, m]),
                _mean(outcomes.tokens_out[:, m]),
                _mean(outcomes.latency_s[:, m]),
                outcomes.models[better[0]] if better else "",
                _tasks(outcomes, expected(outcomes.quality, m), m, config.least),
                bins,
                error,
                right,
                wrong,
            )
        )
    return made


def expected(quality: Floats, m: int) -> Floats:
    """[Q] what one expects of model m by how the others do on each query; see the module."""
    n = quality.shape[1] - 1
    share = (quality.sum(axis=1) - quality[:, m] + 0.5) / (n + 1)
    x = np.column_stack([np.ones(len(quality)), np.log(share / (1 - share))])
    at = Abilities(np.zeros(len(quality)), x, np.zeros((1, 2)))
    fitted = update(Belief(np.array([0.0, 1.0]), 100 * np.eye(2)), at, quality[:, m])
    out: Floats = sigmoid(x @ fitted.theta)
    return out


def reliability(forecast: Floats, score: Floats, bins: int) -> tuple[tuple[tuple[int, float, float], ...], float]:
    """Queries, mean forecast and mean score in bins of equal size, and the expected calibration error over them."""
    parts = np.array_split(np.argsort(forecast, kind="stable"), bins)
    rows = tuple((len(i), float(forecast[i].mean()), float(score[i].mean())) for i in parts if len(i))
    return rows, sum(n * abs(f - s) for n, f, s in rows) / len(score)


def _tasks(outcomes: Outcomes, told: Floats, m: int, least: int) -> tuple[TaskProfile, ...]:
    strata = np.asarray(outcomes.strata)
    names = sorted(set(outcomes.strata))
    z = NormalDist().inv_cdf(1 - 0.025 / len(names))
    out = []
    for name in names:
        rows = np.flatnonzero(strata == name)
        score, p = outcomes.quality[rows], told[rows]
        mean = float(score[:, m].mean())
        over = float((score[:, m] - p).sum()) / float(np.sqrt(np.maximum(p * (1 - p), 1e-4).sum()))
        verdict = "" if len(rows) < least or len(names) < 2 or abs(over) < z else "strength" if over > 0 else "weakness"
        best = float(score.mean(axis=0).max())
        out.append(TaskProfile(name, len(rows), mean, *wilson(mean, len(rows)), float(p.mean()), best, verdict))
    return tuple(out)


def _examples(outcomes: Outcomes, m: int, n: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    mine = outcomes.quality[:, m]
    others = (outcomes.quality.sum(axis=1) - mine) / max(1, len(outcomes.models) - 1)
    over = mine - others

    def texts(rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(outcomes.queries[i].text for i in rows)

    order = np.argsort(-over, kind="stable")
    return texts([i for i in order[:n] if over[i] > 0.5]), texts([i for i in order[::-1][:n] if over[i] < -0.5])


def _mean(values: Floats) -> float:
    good = values[np.isfinite(values)]
    return float(good.mean()) if len(good) else float("nan")
