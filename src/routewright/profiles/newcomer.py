"""A model that joins: its forecast on every query of a table from its price and a few probes, and what a pool gains by it.

    quality[q] = sigmoid( easy[q] + a[q] . theta )          theta's posterior from the probes (`abilities.py`)
    cost[q]    = usual[q] * exp( mean over probes of log(cost / usual) )     usual[q]: geometric mean of the known models'

On probed queries the forecast is what came back. An interval of the mean score is

    mean +- 1.96 * scale * sqrt( g' P g + sum_q p (1 - p) / Q^2 )          g = mean_q p (1 - p) a[q]

where `scale` makes such intervals right on the known models: each is left out, in parts, and joins by as many probes
drawn at random (`calibrate`). It covers what the model leaves out: that abilities are few and loads are estimates.

    gain(value) = mean_q U(pool with the model) - mean_q U(pool without)          U = score - cost / value

by a router that forecasts from the text (ridge, each query left out of its own forecast). Known models count as recorded,
the new one by draws of its belief. The break-even price is the largest multiple of its cost at which that gain is above
`worth` points.

Not here: asking (`routewright.collect.probing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routewright.errors import RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.prices import call_usd
from routewright.profiles.abilities import Abilities, Belief, fit_abilities, prior, update
from routewright.scorers.linear import decompose, ridge
from routewright.types import Floats, Ints, ModelCard, Vectors

DIMENSIONS = (1, 2, 4)  # tried by `calibrate`
PARTS = 5  # into which the known models are dealt for it
WORTH = 0.001  # score units a query: below that nobody notices
DRAWS = 200
_Z = 1.96
_FACTORS = np.geomspace(0.01, 100.0, 81)  # of the new model's cost
_LEAST_SCALE = 1.0


@dataclass(frozen=True)
class Calibration:
    """What joining as a known model taught: how many abilities to use, and how wide intervals have to be."""

    dimensions: int
    scale: float
    error: float  # mean squared error of unprobed scores, known models left out
    blind_error: float  # the same of "every query as its mean over the known models, shifted"
    mean_error: float  # mean absolute error of the mean score
    probes: int


@dataclass(frozen=True)
class Newcomer:
    """The forecast of one new model on the Q queries of a table."""

    quality: Floats  # [Q]; recorded where probed
    cost_usd: Floats  # [Q]
    probed: Ints
    belief: Belief
    at: Abilities
    scale: float

    def mean(self) -> dict[str, float]:
        """Forecast mean score and its 95% interval."""
        return interval_of_mean(self.at, self.belief, self.quality, self.probed, self.scale)

    def draws(self, n: int, rng: np.random.Generator) -> Floats:
        """[n, Q] scores that may be: draws of the belief, its covariance widened by scale^2; recorded where probed."""
        wide = Belief(self.belief.theta, self.belief.cov * self.scale**2)
        out = wide.draw(self.at, n, rng)
        out[:, self.probed] = self.quality[self.probed]
        return out


def interval_of_mean(
    at: Abilities, belief: Belief, quality: Floats, probed: Ints, scale: float = 1.0
) -> dict[str, float]:
    """{mean, low, high, std}: the mean score over all queries of the table, 95%; `std` before the scale."""
    p = quality.copy()
    slope = p * (1 - p)
    slope[probed] = 0.0
    g = slope @ at.loads / len(p)
    std = float(np.sqrt(g @ belief.cov @ g + slope.sum() / len(p) ** 2))
    mean, half = float(p.mean()), _Z * scale * std
    return {"mean": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half), "std": std}


def forecast(
    known: Outcomes,
    at: Abilities,
    probed: Ints,
    score: Floats,
    cost: Floats,
    card_usd: float | None = None,
    scale: float = 1.0,
) -> Newcomer:
    """The forecast from probes.

    Args:
        known: Outcomes of the known models.
        at: What `fit_abilities` made of them.
        probed: [N] rows of `known` that the new model has answered; may be empty.
        score, cost: [N] its scores, and what the calls cost, USD.
        card_usd: What a call costs by the price list, USD; None: only the probes tell.
        scale: See the module.
    """
    if not len(probed) and card_usd is None:
        raise RoutewrightError(
            "Neither probes nor a price are given, so nothing is known of the new model's cost. Give one."
        )
    usual = np.exp(np.log(np.maximum(known.cost_usd, 1e-12)).mean(axis=1))
    if len(probed) and (cost > 0).any():
        paid = cost > 0
        ratio = float(cost[paid].sum() / usual[probed][paid].sum())
    else:
        ratio = (card_usd or 0.0) / float(usual.mean())
    mean_usd = ratio * float(usual.mean())
    belief = update(prior(at, known.cost_usd.mean(axis=0), mean_usd or None), at.take(probed), score)
    quality, cost_usd = belief.quality(at), ratio * usual
    quality[probed], cost_usd[probed] = score, cost
    return Newcomer(quality, cost_usd, probed, belief, at, scale)


def calibrate(known: Outcomes, probes: int, seed: int = 0, dimensions: Sequence[int] = DIMENSIONS) -> Calibration:
    """Let every known model join with `probes` random probes, its part of the models left out; see the module."""
    rng = np.random.default_rng(seed)
    n_queries, n_models = known.quality.shape
    if n_models < 3:
        raise RoutewrightError(
            f"{known.name} has {n_models} known model(s); how far a forecast can be trusted is told by leaving some out. "
            "Expected at least 3."
        )
    part = rng.permutation(n_models) % min(PARTS, n_models)
    probes = min(probes, n_queries - 1)
    asked = [rng.permutation(n_queries)[:probes] for _ in range(n_models)]
    best: Calibration | None = None
    for k in dimensions:
        if best is not None and k >= n_models - 1:
            break
        squared, blind, off, z = [], [], [], []
        for held in np.unique(part):
            rest = known.with_models([m for m, p in zip(known.models, part, strict=True) if p != held])
            if len(rest.models) < 2:
                continue
            at = fit_abilities(rest.quality, k)
            usual = rest.quality.mean(axis=1)
            for m in np.flatnonzero(part == held):
                rows, truth, cost = asked[m], known.quality[:, m], known.cost_usd[:, m]
                one = forecast(rest, at, rows, truth[rows], cost[rows], float(cost.mean()))
                left = np.ones(n_queries, dtype=bool)
                left[rows] = False
                shift = float((truth[rows] - usual[rows]).mean()) if len(rows) else 0.0
                squared.append(((truth - one.quality)[left] ** 2).mean())
                blind.append(((truth - np.clip(usual + shift, 0, 1))[left] ** 2).mean())
                told = one.mean()
                off.append(abs(told["mean"] - truth.mean()))
                z.append(off[-1] / max(told["std"], 1e-9))
        # The largest of n errors lies, of n + 1, at n / (n + 1): the conformal quantile of 95%.
        level = min(1.0, 0.95 * (len(z) + 1) / len(z))
        scale = max(_LEAST_SCALE, float(np.quantile(z, level, method="higher")) / _Z)
        found = Calibration(k, scale, float(np.mean(squared)), float(np.mean(blind)), float(np.mean(off)), probes)
        if best is None or found.error < best.error:
            best = found
    assert best is not None
    return best


def out_of_sample(vectors: Vectors, columns: Floats) -> Floats:
    """[Q, C] ridge forecasts from the text of each column, every query left out of its own."""
    out: Floats = np.clip(ridge(decompose(vectors.astype(np.float64)), columns, each=True).loo, 0.0, 1.0)
    return out


@dataclass(frozen=True)
class Gain:
    """What a pool gains at one trade-off, score units a query, and how far its price may rise for it."""

    value_usd: float
    gain: dict[str, float]  # mean, low, high
    share: float  # of the queries that go to the new model
    break_even: float  # the largest multiple of its cost that still gains WORTH; 0: not even for nothing
    break_even_low: float  # the same for the gain's lower end


def pool_gain(
    known: Outcomes, new: Newcomer, vectors: Vectors, values_usd: Sequence[float], seed: int = 0
) -> list[Gain]:
    """The gain of the pool `known` by the model `new`; see the module.

    The interval covers what is not known of the new model and, by a bootstrap over the queries, of the queries to come.
    """
    rng = np.random.default_rng(seed)
    expected = out_of_sample(vectors, np.column_stack([known.quality, new.quality]))
    draws = new.draws(DRAWS, rng)
    weight = rng.multinomial(len(known), np.full(len(known), 1 / len(known)), DRAWS) / len(known)
    return [_gain_at(known, new, expected, draws, weight, value) for value in values_usd]


def _gain_at(known: Outcomes, new: Newcomer, expected: Floats, draws: Floats, weight: Floats, value: float) -> Gain:
    at = np.arange(len(known))
    usual = known.cost_usd.mean(axis=0)  # what a call costs is not told by its own bill
    worth = expected[:, :-1] - usual / value
    old = worth.argmax(axis=1)
    now = known.quality[at, old] - known.cost_usd[at, old] / value
    best, price = worth.max(axis=1), float(new.cost_usd.mean())

    def by(factor: float) -> tuple[Floats, float]:
        picked = expected[:, -1] - factor * price / value > best
        more = np.where(picked, draws - factor * new.cost_usd / value - now, 0.0)
        return (more * weight).sum(axis=1), float(picked.mean())

    here, share = by(1.0)
    means, lows = [], []
    for factor in _FACTORS:
        gains, _ = by(float(factor))
        means.append(gains.mean())
        lows.append(np.quantile(gains, 0.025))
    low, high = np.quantile(here, [0.025, 0.975])
    return Gain(
        value,
        {"mean": float(here.mean()), "low": float(low), "high": float(high)},
        share,
        _last(np.asarray(means)),
        _last(np.asarray(lows)),
    )


def _last(gains: Floats) -> float:
    """The largest factor at which a gain is still worth it."""
    good = np.flatnonzero(gains > WORTH)
    return float(_FACTORS[good[-1]]) if len(good) else 0.0


def card_usd(card: ModelCard, known: Outcomes) -> float | None:
    """What a call costs by the card at the known models' mean tokens, USD; None where the table has no token counts."""
    counted = all(np.isfinite(tokens).any() for tokens in (known.tokens_in, known.tokens_out))
    return call_usd(card, known) if counted else None


def trade_offs(known: Outcomes) -> list[float]:
    """Five values of a right answer, USD: 3 to 1,000 times the mean cost of the best single model's calls."""
    mean, cost = known.quality.mean(axis=0), known.cost_usd.mean(axis=0)
    best = float(cost[int(np.lexsort((cost, -mean))[0])])
    return [float(v) for v in best * np.array([3, 10, 30, 100, 1000])]
