"""The verifier: how likely is it that the answer so far is right? A calibrated logistic model of what has been seen.

    z(seen) = b + base[a] + sum over the others i that say the same  yes[i] + sum over those that differ  no[i]
              + w . (length, |length|, no key, forecast, replies that agree, replies that differ)
    P(right | seen) = sigmoid(slope * z + offset)

a is the model whose reply the answer is: the largest group's first, or the last reply if no two agree. `length` is the
logarithm of the reply's tokens over the model's usual (geometric mean); `forecast` the scorer's log-odds of that
model on this query less its usual, 0 where no scorer is used. base, yes and no make it a vote in which every model's word
has its own weight; under independent errors that is the optimal one.

The weights are fitted by ridge logistic regression (Newton's method) on replies of many short lists. They are fitted
once more without each part of the queries; `slope` and `offset` are fitted on the scores of those left-out parts, which
is what makes the probabilities calibrated, and thresholds are chosen on them too. Fractional scores count as fractions
of a right answer.

Reference: Chen et al. 2023 (FrugalGPT), arXiv:2305.05176, learn such a score with a language model that reads the
reply. Here nothing is read: agreement, length and the query's forecast are all there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays
from routewright.outcomes.arrays import Outcomes
from routewright.policies.observe import Observation, last, voted
from routewright.types import Floats, Ints

_RIDGE = 0.5  # per weight, in queries; 2 and 8 were worse on held-out queries of every table tried
_STEPS = 30
_OTHERS = 6  # features beside the models'


@dataclass(frozen=True)
class Seen:
    """What has been seen of B episodes over M models: the part of an observation that the verifier reads."""

    order: Ints  # [B, M] when the model was asked, from 0; -1: not asked or no usable reply
    key: Ints  # [B, M]
    tokens_out: Floats  # [B, M], NaN: unknown
    answer: Ints  # [B] the model whose reply is the answer


def seen_of(obs: Observation) -> Seen:
    """The verifier's part of an observation; rows without a usable reply mean nothing."""
    agreed = (obs.usable & (obs.agree >= 2)).any(axis=1)
    answer = np.where(agreed, voted(obs), last(obs)).clip(0)
    return Seen(np.where(obs.usable, obs.order, -1), obs.key, obs.tokens_out, answer)


def seen_after(outcomes: Outcomes, asked: Sequence[int]) -> Seen:
    """What is seen of every query of a table once these models have been asked, in this order."""
    assert outcomes.keys is not None
    order = np.full(outcomes.keys.shape, -1)
    order[:, list(asked)] = np.arange(len(asked))
    mine = outcomes.keys[:, list(asked)]
    size = ((mine[:, :, None] == mine[:, None]) & (mine >= 0)[:, None]).sum(axis=2)
    pick = np.where(size.max(axis=1) >= 2, size.argmax(axis=1), len(asked) - 1)
    return Seen(order, outcomes.keys, outcomes.tokens_out, np.array(asked)[pick])


@dataclass(frozen=True)
class Verifier:
    """A fitted verifier; `columns` [C] are the models it knows, `weights` [1 + 3 C + 6]."""

    columns: Ints
    weights: Floats
    usual_log_tokens: Floats  # [M]
    usual_log_odds: Floats  # [M] of the forecasts; empty: fitted without
    slope: float
    offset: float

    def probability(self, seen: Seen, forecast: Floats | None) -> Floats:
        """[B] the answer's chance of being right; `forecast` [B, M] as in the fit."""
        return sigmoid(self.slope * (self.features(seen, forecast) @ self.weights) + self.offset)

    def features(self, seen: Seen, forecast: Floats | None) -> Floats:
        """[B, 1 + 3 C + 6] in the order of the formula."""
        rows = np.arange(len(seen.answer))
        mine = seen.key[rows, seen.answer]
        here = seen.order >= 0
        same = here & (seen.key == mine[:, None]) & (mine >= 0)[:, None]
        others = here.copy()
        others[rows, seen.answer] = False
        with_it, against = others & same, others & ~same
        base = seen.answer[:, None] == self.columns[None]
        tokens = np.nan_to_num(seen.tokens_out[rows, seen.answer])
        length = np.where(tokens > 0, np.log(np.maximum(tokens, 1.0)) - self.usual_log_tokens[seen.answer], 0.0)
        length = length.clip(-2.0, 2.0)
        odds = np.zeros(len(rows))
        if forecast is not None and len(self.usual_log_odds):
            odds = log_odds(forecast[rows, seen.answer]) - self.usual_log_odds[seen.answer]
        rest = [length, np.abs(length), mine < 0, odds, with_it.sum(axis=1), against.sum(axis=1)]
        return np.concatenate(
            [
                np.ones((len(rows), 1)),
                base,
                with_it[:, self.columns],
                against[:, self.columns],
                np.stack([np.asarray(x, dtype=np.float64) for x in rest], axis=1),
            ],
            axis=1,
        )

    def arrays(self) -> Arrays:
        return {
            "verifier.columns": self.columns,
            "verifier.weights": self.weights,
            "verifier.usual_log_tokens": self.usual_log_tokens,
            "verifier.usual_log_odds": self.usual_log_odds,
            "verifier.calibration": np.array([self.slope, self.offset]),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Verifier:
        slope, offset = arrays["verifier.calibration"].tolist()
        mine = {
            name: arrays[f"verifier.{name}"] for name in ("columns", "weights", "usual_log_tokens", "usual_log_odds")
        }
        return cls(**mine, slope=slope, offset=offset)


@dataclass(frozen=True)
class Fitted:
    """A verifier, and its [F] fellows fitted without each part, calibrated alike."""

    verifier: Verifier
    without: tuple[Verifier, ...]

    def held_out(self, seen: Seen, forecast: Floats | None, part: Ints) -> Floats:
        """[Q] the probability for every query of the fit by the verifier that did not see its part."""
        weights = np.stack([v.weights for v in self.without], axis=1)
        z = (self.verifier.features(seen, forecast) @ weights)[np.arange(len(part)), part]
        return sigmoid(self.verifier.slope * z + self.verifier.offset)


def fit_verifier(
    outcomes: Outcomes, forecast: Floats | None, columns: Ints, prefixes: Sequence[Sequence[int]], part: Ints
) -> Fitted:
    """Fit a verifier on the states that these lists of models lead to.

    Args:
        outcomes: Q queries with answer keys.
        forecast: [Q, M] forecast quality by a scorer that saw none of these queries, or None.
        columns: [C] models that get weights of their own.
        prefixes: Lists of models; each gives Q rows.
        part: [Q] part of each query, 0 .. F-1; F of at least 2.
    """
    tokens = np.nan_to_num(outcomes.tokens_out)
    counted = np.maximum((tokens > 0).sum(axis=0), 1)
    usual = np.log(np.maximum(tokens, 1.0)).sum(axis=0) / counted  # unknown lengths are neither long nor short
    odds = np.zeros(0) if forecast is None else log_odds(forecast).mean(axis=0)
    size = 1 + 3 * len(columns) + _OTHERS
    blank = Verifier(columns, np.zeros(size), usual, odds, 1.0, 0.0)
    seen = [seen_after(outcomes, asked) for asked in prefixes]
    x = np.concatenate([blank.features(s, forecast) for s in seen])
    rows = np.arange(len(outcomes))
    y = np.concatenate([outcomes.quality[rows, s.answer] for s in seen]).clip(0.0, 1.0)
    of = np.tile(part, len(seen))
    ridge = _RIDGE * len(seen)
    whole = logistic(x, y, ridge)
    parts = [logistic(x[of != k], y[of != k], ridge, whole) for k in range(int(part.max()) + 1)]
    z = (x * np.stack(parts)[of]).sum(axis=1)
    offset, slope = logistic(np.stack([np.ones(len(z)), z], axis=1), y, 0.0, np.array([0.0, 1.0])).tolist()
    done = replace(blank, weights=whole, slope=slope, offset=offset)
    return Fitted(done, tuple(replace(done, weights=w) for w in parts))


def logistic(x: Floats, y: Floats, ridge: float, start: Floats | None = None) -> Floats:
    """Ridge logistic regression by Newton's method.

        argmin over w of  sum_n log(1 + exp(x_n w)) - y_n x_n w  +  ridge / 2 * sum_{d>0} w_d^2

    Args:
        x: [N, D], the first column ones: its weight is not shrunk.
        y: [N] in [0, 1].
        ridge: At least 0.
        start: [D] where to start from.

    Returns:
        [D].
    """
    w = np.zeros(x.shape[1]) if start is None else start.copy()
    shrink = np.full(len(w), max(ridge, 1e-6))
    shrink[0] = 1e-6

    def loss(w: Floats) -> float:
        z = x @ w
        return float(np.logaddexp(0.0, z).sum() - y @ z + 0.5 * (shrink * w) @ w)

    now = loss(w)
    for _ in range(_STEPS):
        p = sigmoid(x @ w)
        gradient = x.T @ (p - y) + shrink * w
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(shrink)
        step = np.linalg.solve(curvature, gradient)
        scale = 1.0
        while loss(w - scale * step) > now and scale > 1e-6:  # separable data overshoot
            scale /= 2
        w = w - scale * step
        before, now = now, loss(w)
        if before - now < 1e-6 * max(1.0, abs(now)):
            break
    return w


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def log_odds(p: Floats) -> Floats:
    """log(p / (1 - p)), p held within [0.02, 0.98]."""
    inside = p.clip(0.02, 0.98)
    return np.asarray(np.log(inside / (1 - inside)))


def calibration_error(p: Floats, y: Floats, bins: int = 10) -> float:
    """Expected calibration error: the mean over equally full bins of | mean p - mean y |, weighted by size."""
    order = np.argsort(p, kind="stable")
    groups = np.array_split(order, bins)
    return float(sum(abs(p[g].mean() - y[g].mean()) * len(g) for g in groups if len(g)) / len(p))
