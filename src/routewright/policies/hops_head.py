"""The head of `hops`: a score for every action, by one small network that all models share.

    score(a) = w . x(a) + v . tanh(W x(a) + b)

x(a) holds what the replies so far say of that action (`hops_belief.py`), the trade-off, the stage, and whether the
guide, a policy fitted beforehand, would take it. Weights are shared over models: a pool with other models needs other
rows of the classes, not another head. At the start the guide's weight is all there is, so the head begins as the guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays
from routewright.policies.hops_belief import Belief, believe
from routewright.policies.hops_classes import Classes
from routewright.policies.observe import LAST, Observation, last, voted
from routewright.types import Bools, Floats, Ints

FEATURES = 14  # of an action
LENGTHS = 2  # more, where lengths are looked at
FACTS = 7  # of a situation, for what it is worth
GUIDE = 2  # the feature that says: the guide would take this
MIDDLE = 10.0  # mean costs of the best single model: the trade-off of those who are told none
STRENGTH = 1.0  # of the guide at the start, in log-odds against any other action


@dataclass(frozen=True)
class Head:
    """`linear` [F], `inner` [F, H], `bias` [H], `outer` [H]."""

    linear: Floats
    inner: Floats
    bias: Floats
    outer: Floats

    @classmethod
    def start(cls, hidden: int, seed: int, features: int = FEATURES) -> Head:
        """The guide, and noise for the hidden units to begin with."""
        rng = np.random.default_rng(seed)
        linear = np.zeros(features)
        linear[GUIDE] = STRENGTH
        return cls(linear, rng.normal(0, 0.3, (features, hidden)), np.zeros(hidden), np.zeros(hidden))

    def scores(self, x: Floats) -> Floats:
        """[B, A] of x [B, A, F]."""
        out: Floats = x @ self.linear + np.tanh(x @ self.inner + self.bias) @ self.outer
        return out

    @property
    def size(self) -> int:
        return sum(len(getattr(self, name).ravel()) for name in _FIELDS)

    def flat(self) -> Floats:
        return np.concatenate([getattr(self, name).ravel() for name in _FIELDS])

    def like(self, flat: Floats) -> Head:
        """A head of this shape from a flat vector."""
        parts, at = [], 0
        for name in _FIELDS:
            shape = getattr(self, name).shape
            n = int(np.prod(shape))
            parts.append(np.asarray(flat[at : at + n]).reshape(shape))
            at += n
        return Head(*parts)

    def arrays(self) -> Arrays:
        return {f"head.{name}": getattr(self, name) for name in _FIELDS}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Head:
        return cls(*(arrays[f"head.{name}"] for name in _FIELDS))


_FIELDS = ("linear", "inner", "bias", "outer")


@dataclass(frozen=True)
class Seen:
    """What a head decides on: `x` [B, C + 2, F], the last two actions being answers; `facts` [B, G]; `mask` [B, C + 2]."""

    x: Floats
    facts: Floats
    mask: Bools


def look(
    classes: Classes,
    columns: Ints,
    obs: Observation,
    guided: Ints,
    deepest: int,
    reference_usd: float,
    exactly: bool = False,
    without: str = "",
    usual: Floats | None = None,
) -> Seen:
    """The features of every action.

    Args:
        classes: Over the columns.
        columns: [C] models of the pool that may be asked.
        obs: B episodes.
        guided: [B] the guide's actions, numbered as in an observation; -1: there is no guide.
        deepest: Calls at most.
        reference_usd: A mean cost to measure trade-offs by.
        exactly: No answer before `deepest` calls, and then the last reply (HierRouter's setting).
        without: What is kept from the head, to see what it is worth. `replies`: what they say; chances stay those from
            before the first. `forecasts`: the chances; there are counts of who agrees instead, and each model's mean score.
            `trade_off`: it is always the middle one.
        usual: [M] mean log(1 + tokens) of each model's replies: lengths are looked at, against these.
    """
    n, c, m = len(obs), len(columns), len(obs.models)
    if without == "trade_off":
        obs = replace(obs, value_usd=np.full(n, reference_usd * MIDDLE))
    known = _unheard(classes, obs, columns) if without in ("replies", "forecasts") else believe(classes, obs, columns)
    worth = np.maximum(obs.value_usd, 1e-9)
    price = np.minimum(known.cost_usd / worth[:, None], 3.0)
    stage = obs.steps / deepest
    trade = np.log10(np.maximum(worth / reference_usd, 1e-4)) / 3
    guide = np.concatenate([guided[:, None] == columns, guided[:, None] == [m, m + 1]], axis=1)
    x = np.zeros((n, c + 2, FEATURES + (0 if usual is None else LENGTHS)))
    x[:, :c, 0] = 1.0
    x[:, c:, 1] = 1.0
    x[:, :, GUIDE] = guide
    x[:, :c, 3], x[:, :c, 4], x[:, :c, 5] = known.right, known.joins, known.gain
    x[:, :c, 6] = price
    x[:, :c, 7] = (known.gain - price).clip(-1, 1) * 4
    x[:, :c, 8] = np.log10(np.maximum(known.cost_usd / reference_usd, 1e-5))
    x[:, c, 9], x[:, c + 1, 9] = known.last, known.vote
    x[:, c + 1, 10] = 1.0
    x[:, :c, 11], x[:, c:, 12] = stage[:, None], stage[:, None]
    x[:, :, 13] = trade[:, None]
    if usual is not None:
        length = [_longer(obs, who, usual) for who in (last(obs), voted(obs))]
        x[:, :c, FEATURES] = length[1][:, None]
        x[:, c, FEATURES + 1], x[:, c + 1, FEATURES + 1] = length
    if without == "forecasts":
        largest, groups, joined = _counts(obs)
        x[:, :c, 4], x[:, :c, 5], x[:, :c, 7] = largest[:, None] / deepest, groups[:, None] / deepest, 0.0
        x[:, c, 9], x[:, c + 1, 9] = joined, largest / deepest
        known = replace(known, gain=np.zeros((n, c)), best=largest / deepest, second=groups / deepest, vote=joined)
    spent = np.minimum(obs.spent_usd / worth, 3.0)
    net = (known.gain - price).max(axis=1).clip(-1, 1)
    facts = np.stack([known.best, known.second, known.vote, stage, trade, spent, net], axis=1)
    going: Bools = np.asarray(obs.steps < deepest)
    may = obs.mask[:, columns] & going[:, None]
    stop = obs.mask[:, m:] & np.asarray(obs.usable.any(axis=1))[:, None]
    if exactly:
        done: Bools = np.asarray(obs.steps >= deepest) | ~np.asarray(may.any(axis=1))
        stop = stop & done[:, None] & (np.arange(2) == LAST)
    allowed = np.concatenate([may, stop], axis=1)
    # Where nothing of this is left (nothing usable, and no column may be asked), the answer is all there is.
    some: Bools = np.asarray(allowed.any(axis=1))
    mask: Bools = allowed | (~some[:, None] & (np.arange(c + 2) >= c))
    return Seen(x, facts, mask)


def _unheard(classes: Classes, obs: Observation, columns: Ints) -> Belief:
    """What was known before anybody replied; of the answers there are, the usual score of who gave them."""
    nobody = np.full(obs.order.shape, -1)
    known = believe(classes, replace(obs, called=nobody >= 0, order=nobody), columns)
    score = np.zeros(len(obs.models) + 1)  # the last is nobody's
    score[columns] = classes.share @ (classes.chance * classes.right).sum(axis=2)
    return replace(known, last=score[last(obs)], vote=score[voted(obs)])


def _counts(obs: Observation) -> tuple[Floats, Floats, Floats]:
    """[B] replies in the largest group of equal answers, the number of groups, and whether the last reply is in the largest."""
    agree = np.where(obs.usable & (obs.key >= 0), obs.agree, 0)
    largest = agree.max(axis=1)
    groups = np.where(agree > 0, 1.0 / np.maximum(agree, 1), 0.0).sum(axis=1)
    mine = last(obs)
    return (
        largest.astype(np.float64),
        groups,
        (mine >= 0) & (agree[np.arange(len(obs)), mine] == largest) & (largest > 0),
    )


def _longer(obs: Observation, who: Ints, usual: Floats) -> Floats:
    """[B] by how much the reply of that model is longer than is usual for it, in logarithms within 2; 0: nobody's, unknown."""
    tokens = obs.tokens_out[np.arange(len(obs)), who.clip(0)]
    longer = np.where((who >= 0) & (tokens > 0), np.log1p(tokens) - usual[who.clip(0)], 0.0)
    return np.nan_to_num(longer).clip(-2, 2)
