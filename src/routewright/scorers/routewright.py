"""`routewright`: the default. Three simple forecasts averaged, and trusted as far as they pay on queries left out.

    quality[q, m] = mean[m] + a * common[q] + trust * b * (delta[q, m] - common[q])
    delta[q, m]   = average of  ridge, forest, task              deviations from the mean
    common[q]     = mean_m delta[q, m]                           how easy a query is for everybody; moves no choice
    cost[q, m]    = mean cost[m]^(1 - g) * forecast cost[q, m]^g

- ridge: each principal direction of the outcomes linear in the text vector, with a strength of its own by
  leave-one-out. Low-variance directions stay: they tell models apart, the first one only how hard a query is.
- forest: extremely randomised trees, grown on the directions (scaled to their deviation's root, so that difficulty
  for everybody does not choose every split) and on the task labels of the training queries.
- task: the tree's leaf says how likely each task is; times the mean outcome of each task, shrunk to the overall one.
  Only labels of training queries are read. Left out where there is one task.
- a, b: what makes the out-of-sample delta (leave-one-out, out-of-bag) fit best; zero where it says nothing.
- trust, g: every pair of a small grid routes the training queries by their out-of-sample forecasts at nine
  trade-offs. The pair that gains most per query wins, if by more than `caution` standard errors over full trust;
  averaged over bootstrap draws, which makes a soft choice of a hard one.

With many models somebody looks best by luck (the winner's curse), so a table without signal ends at low trust: the
mean, and the mean cost. Queries of equal text are averaged first, or leaving one out would leave its twin in.

Averages, not fitted weights: weights by non-negative least squares fit the outcomes better and chose worse models.
Reference: trees as in `forest.py`; averages against weights as in Claeskens et al. 2016 (forecast combination puzzle).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Arrays, Meta
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.base import Scorer
from routewright.scorers.forest import Forest, grow, means, out_of_bag
from routewright.scorers.linear import decompose, ridge
from routewright.types import Floats, Ints, Query

_DIRECTIONS = 12  # of the outcomes that trees are grown on
_TASK_COLUMNS = 8  # into which task labels are projected for them
_TASK_PRIOR = 10.0  # queries' worth of overall mean in a task's mean
_RARE = 5  # tasks with fewer training queries are one
_TRUSTS = (1.0, 0.75, 0.5, 0.25, 0.0)
_POWERS = (1.0, 0.5, 0.0)
_TRADE_OFFS = 9
_DRAWS = 50
_NOTHING = 0.001  # score units a query: a gain below it is none
_MOST_COMMON, _MOST_APART = 1.5, 1.0  # averages underfit; undone for all models at once, not for differences


class RoutewrightConfig(Config):
    """Options of `routewright`."""

    trees: int = Field(64, ge=1, description="trees of the forest")
    leaf: int = Field(0, ge=0, description="training queries in a leaf, at least; 0: a sixth of their root")
    dims: int = Field(64, ge=1, description="principal dimensions of the text vector that trees read")
    tail: int = Field(16, ge=0, description="last dimensions of it that they read beside (the text's shape)")
    caution: float = Field(1.0, ge=0, description="standard errors by which less trust has to win")


@dataclass(frozen=True)
class _Rows:
    """Training queries, those of equal text averaged into one."""

    x: Floats  # [N, D]
    quality: Floats  # [N, M]
    cost_usd: Floats  # [N, M]
    cost_left_out: Floats  # [N, M] leave-one-out forecasts of it
    task: Ints  # [N]


class Routewright(Scorer):
    """Average of ridge, forest and task means, gated by what it gains out of sample; see the module."""

    Config = RoutewrightConfig
    kind: ClassVar[str] = "routewright"
    summary: ClassVar[str] = "ridge, forest and predicted task, trusted as far as they pay"
    config: RoutewrightConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        rows = self._rows(outcomes, x)
        mean = rows.quality.mean(axis=0)
        centred = rows.quality - mean
        variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
        axes, variance = axes[:, ::-1], np.maximum(variance[::-1], 1e-9)
        scores = centred @ axes

        parts = decompose(rows.x)
        linear = ridge(parts, scores, each=True)
        self._centre = linear.centre
        self._basis = np.ascontiguousarray(parts[3][-self.config.dims :].T)  # rows of V' come by rising singular value
        seen = self._read(rows.x)
        one_hot = np.eye(int(rows.task.max()) + 1)[rows.task]
        leaf_rows = self.config.leaf or max(2, round(np.sqrt(len(seen)) / 6))
        self._forest, drawn = grow(
            seen, self._targets(scores, variance, one_hot), self.config.trees, leaf_rows, 0.3, self.seed
        )
        leaf, n = self._forest.leaves(seen), self._forest.n_leaves

        left_out = [linear.loo, out_of_bag(leaf, n, scores, drawn)]
        values = means(leaf, n, scores)
        if one_hot.shape[1] > 1:
            per_task, left_out_task = _task_means(scores, one_hot, out_of_bag(leaf, n, one_hot, drawn), rows.task)
            left_out.append(left_out_task)
            values = values + means(leaf, n, one_hot) @ per_task
        guess = np.mean(left_out, axis=0)

        delta = guess @ axes.T
        common = _slope(delta.mean(axis=1), centred.mean(axis=1), _MOST_COMMON)
        apart = _slope(_differences(delta), _differences(centred), _MOST_APART)
        trust, power = self._trust(rows, mean, delta @ _scaled(common, apart, len(mean)))
        scale = _scaled(common, trust * apart, len(mean))
        back = axes.T @ scale / len(left_out)  # from directions to models
        self._mean = mean
        self._weights = np.ascontiguousarray(linear.weights @ back)
        self._values = (values @ back).astype(np.float32)
        self._fit_spread(rows.quality, mean + delta @ scale)
        self._scales = np.array([common, apart, trust, power])
        if self._cost is not None:
            self._cost = self._cost.tempered(power)

    def _rows(self, outcomes: Outcomes, x: Floats) -> _Rows:
        loo = self._cost.left_out if self._cost is not None else None
        cost_left_out = outcomes.cost_usd if loo is None else loo
        names, label = np.unique(np.asarray(outcomes.strata), return_inverse=True)
        size = np.bincount(label, minlength=len(names))
        _, task = np.unique(np.where(size[label] < _RARE, -1, label), return_inverse=True)
        _, first, group = np.unique(outcomes.groups, return_index=True, return_inverse=True)
        if len(first) == len(x) or len(first) < 2:
            return _Rows(x, outcomes.quality, outcomes.cost_usd, cost_left_out, task.astype(np.int64))

        def merged(column: Floats) -> Floats:
            total = np.zeros((len(first), column.shape[1]))
            np.add.at(total, group, column)
            mean: Floats = total / np.bincount(group)[:, None]
            return mean

        return _Rows(
            merged(x),
            merged(outcomes.quality),
            merged(outcomes.cost_usd),
            merged(cost_left_out),
            task[first].astype(np.int64),
        )

    def _targets(self, scores: Floats, variance: Floats, one_hot: Floats) -> Floats:
        """[N, K] what splits are chosen by: outcome directions, and as much variance of projected task labels."""
        k = min(_DIRECTIONS, scores.shape[1])
        targets: Floats = scores[:, :k] / variance[:k] ** 0.25
        if one_hot.shape[1] > 1:
            rng = np.random.default_rng(self.seed)
            tasks = one_hot - one_hot.mean(axis=0)
            if one_hot.shape[1] > _TASK_COLUMNS:
                tasks = tasks @ rng.standard_normal((one_hot.shape[1], _TASK_COLUMNS))
            tasks = tasks * np.sqrt(targets.var(axis=0).sum() / max(tasks.var(axis=0).sum(), 1e-12))
            targets = np.hstack([targets, tasks])
        return targets

    def _trust(self, rows: _Rows, mean: Floats, delta: Floats) -> tuple[float, float]:
        """Trust in differences of quality and power of the cost forecast that pay on training queries."""
        grid = [(trust, power) for power in _POWERS for trust in _TRUSTS]
        mean_cost = np.maximum(rows.cost_usd.mean(axis=0), 1e-12)
        values_usd = _trade_offs(mean_cost, mean)
        worth = np.empty((len(grid), len(delta)))  # score units, cost charged at the trade-off
        at = np.arange(len(delta))
        believed = {trust: _within(mean + delta @ _scaled(1.0, trust, len(mean))) for trust in _TRUSTS}
        for i, (trust, power) in enumerate(grid):
            cost = mean_cost ** (1 - power) * np.maximum(rows.cost_left_out, 1e-12) ** power
            cost *= mean_cost / cost.mean(axis=0)
            total = np.zeros(len(delta))
            for value in values_usd:
                pick = (believed[trust] - cost / value).argmax(axis=1)
                total += rows.quality[at, pick] - rows.cost_usd[at, pick] / value
            worth[i] = total / len(values_usd)
        over = worth - worth[0]
        margin = self.config.caution * over.std(axis=1) / np.sqrt(len(delta)) + _NOTHING
        rng = np.random.default_rng(self.seed)
        share = rng.multinomial(len(delta), np.full(len(delta), 1 / len(delta)), _DRAWS) / len(delta)
        margin[0] = 0.0
        won = (over @ share.T - margin[:, None]).argmax(axis=0)
        trust, power = np.asarray(grid)[won].mean(axis=0)
        return float(trust), float(power)

    def _fit_spread(self, quality: Floats, forecast: Floats) -> None:
        """Deviation of an outcome from its forecast: ratio[m] * sqrt(p (1 - p)), as for a coin of that chance."""
        p = _within(forecast)
        self._ratio = np.sqrt(((quality - p) ** 2 / _coin(p)).mean(axis=0))

    def _read(self, x: Floats) -> Floats:
        tail = min(self.config.tail, x.shape[1])
        return np.hstack([(x - self._centre) @ self._basis, x[:, x.shape[1] - tail :]])

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        quality = self._mean + (x - self._centre) @ self._weights
        quality = _within(quality + self._forest.mean(self._read(x), self._values))
        return quality, self._ratio * np.sqrt(_coin(quality))

    def _state(self) -> tuple[Arrays, Meta]:
        own = {
            "mean": self._mean,
            "centre": self._centre,
            "weights": self._weights,
            "basis": self._basis,
            "values": self._values,
            "ratio": self._ratio,
            "scales": self._scales,
        }
        return own | {f"forest.{name}": array for name, array in self._forest.arrays().items()}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._mean, self._centre, self._weights = arrays["mean"], arrays["centre"], arrays["weights"]
        self._basis, self._values, self._ratio = arrays["basis"], arrays["values"], arrays["ratio"]
        self._scales = arrays["scales"]
        inside = {k.removeprefix("forest."): v for k, v in arrays.items() if k.startswith("forest.")}
        self._forest = Forest.restore(inside)


def _scaled(common: float, apart: float, n: int) -> Floats:
    """[M, M] matrix that scales the mean over models by `common` and what is left by `apart`."""
    out: Floats = apart * np.eye(n) + (common - apart) / n
    return out


def _differences(rows: Floats) -> Floats:
    """Rows less their mean."""
    out: Floats = rows - rows.mean(axis=1, keepdims=True)
    return out


def _slope(guess: Floats, truth: Floats, most: float) -> float:
    """Factor in [0, most] that makes an out-of-sample guess fit best; 0 for guesses that say nothing."""
    return float(np.clip((guess * truth).sum() / max(float((guess**2).sum()), 1e-12), 0.0, most))


def _within(quality: Floats) -> Floats:
    """Into [0, 1] by moving whole rows as far as that goes: clipping would make the best models of a row equal."""
    low, high = quality.min(axis=1, keepdims=True), quality.max(axis=1, keepdims=True)
    moved = quality - np.maximum(high - 1.0, 0.0) + np.maximum(-low, 0.0)
    out: Floats = np.clip(moved, 0.0, 1.0)
    return out


def _coin(p: Floats) -> Floats:
    """Variance of a coin of chance p; nobody is surer than three in a hundred."""
    out: Floats = np.maximum(p * (1 - p), 0.03)
    return out


def _task_means(scores: Floats, one_hot: Floats, likely: Floats, task: Ints) -> tuple[Floats, Floats]:
    """Mean scores of each task [tasks, K], and what they forecast for training rows [N, K] without the row itself.

    `likely` [N, tasks] is out-of-bag; the row's own outcome still sits in the mean of its task, and is taken out.
    """
    total, size = one_hot.T @ scores, one_hot.sum(axis=0)[:, None] + _TASK_PRIOR
    per_task = total / size
    without = (total[task] - scores) / (size[task] - 1)
    own = likely[np.arange(len(task)), task][:, None]
    return per_task, likely @ per_task + own * (without - per_task[task])


def _trade_offs(cost: Floats, quality: Floats) -> Floats:
    """[T] USD per unit of score, from a third of the flattest slope of the single models' hull to thrice the steepest.

    Never below the cheapest call: a right answer worth less is not worth asking for.
    """
    slopes = []
    here = int(np.lexsort((-quality, cost))[0])
    lowest = float(cost[here])
    while (better := np.flatnonzero(quality > quality[here])).size:
        price = np.maximum(cost[better] - cost[here], 0) / np.maximum(quality[better] - quality[here], 1e-4)
        slopes.append(float(price.min()))
        here = int(better[np.lexsort((-quality[better], price))[0]])
    low = max(min(slopes, default=0.0) / 3, lowest)
    return np.geomspace(low, max(3 * max(slopes, default=0.0), 10 * low), _TRADE_OFFS)
