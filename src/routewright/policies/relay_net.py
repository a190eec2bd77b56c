"""The network of `relay`: what every action is worth, by weights that all models share.

    z = sum over features f of E[f] / sqrt(number of features)  +  D dense + b          h = tanh(z)         g = tanh(h V + c)
    Q(m, role) = (g U[role]) . row[m]  -  cost[m, role] / (value + reference)           Q(stop) = g S[stop]

`row[m]` is what is known of a model: 1, how good it is at each kind of task, and the logarithm of its price. So a pool
with another model needs another row, not another network. Values are in units of the return, (value * quality - cost) /
(value + reference): the cost of the call itself is taken off as it is known, and learnt is what comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.encoders.base import Arrays
from routewright.policies.relay_look import DENSE, ROLES
from routewright.policies.relay_text import BUCKETS
from routewright.types import Floats, Ints

STOPS = 2
_FIELDS = ("embed", "dense", "bias", "inner", "shift", "roles", "stops")


@dataclass(frozen=True)
class Rows:
    """The pool as the network sees it: `row` [M, P], `cost_usd` [M, 3] mean cost of a call in each role."""

    row: Floats
    cost_usd: Floats

    def take(self, columns: Sequence[int] | Ints) -> Rows:
        return Rows(self.row[columns], self.cost_usd[columns])

    def arrays(self) -> Arrays:
        return {"rows.row": self.row, "rows.cost_usd": self.cost_usd}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Rows:
        return cls(arrays["rows.row"], arrays["rows.cost_usd"])


@dataclass(frozen=True)
class Texts:
    """Features of N texts, one after the other: those of text n are flat[at[n] : at[n + 1]]."""

    flat: Ints
    at: Ints

    @classmethod
    def of(cls, rows: Sequence[Ints]) -> Texts:
        sizes = np.array([len(row) for row in rows], dtype=np.int64)
        at = np.concatenate([[0], np.cumsum(sizes)])
        return cls(np.concatenate(rows) if len(rows) else np.zeros(0, dtype=np.int64), at)

    def __len__(self) -> int:
        return len(self.at) - 1

    def take(self, rows: Ints) -> Texts:
        sizes = np.diff(self.at)[rows]
        at = np.concatenate([[0], np.cumsum(sizes)])
        index = np.repeat(self.at[:-1][rows] - at[:-1], sizes) + np.arange(at[-1])
        return Texts(self.flat[index], at)


@dataclass(frozen=True)
class Net:
    """`embed` [BUCKETS, H], `dense` [DENSE, H], `bias` [H], `inner` [H, H], `shift` [H], `roles` [H, 3, P], `stops` [H, 2]."""

    embed: Floats
    dense: Floats
    bias: Floats
    inner: Floats
    shift: Floats
    roles: Floats
    stops: Floats

    @classmethod
    def start(cls, hidden: int, width: int, seed: int) -> Net:
        """Small random weights; `width` is P."""
        rng = np.random.default_rng(seed)
        return cls(
            rng.normal(0, 0.1, (BUCKETS, hidden)),
            rng.normal(0, 0.3, (DENSE, hidden)),
            np.zeros(hidden),
            rng.normal(0, 1 / np.sqrt(hidden), (hidden, hidden)),
            np.zeros(hidden),
            rng.normal(0, 0.1 / np.sqrt(hidden), (hidden, ROLES, width)),
            np.zeros((hidden, STOPS)),
        )

    @property
    def size(self) -> int:
        return sum(getattr(self, name).size for name in _FIELDS)

    def hidden(self, texts: Texts, dense: Floats) -> Floats:
        """[B, H] of B texts and [B, DENSE]."""
        size = np.diff(texts.at)
        total = np.zeros((len(texts), self.embed.shape[1]))
        if len(texts.flat):
            total = np.add.reduceat(np.concatenate([self.embed[texts.flat], total[:1]]), texts.at[:-1], axis=0)
            total[size == 0] = 0.0
        h = np.tanh(total / np.sqrt(np.maximum(size, 1))[:, None] + dense @ self.dense + self.bias)
        out: Floats = np.tanh(h @ self.inner + self.shift)
        return out

    def worth(self, texts: Texts, dense: Floats, rows: Rows, scale: Floats) -> Floats:
        """[B, 3M + 2] of every action; `scale` [B] is value + reference."""
        g = self.hidden(texts, dense)
        called = np.einsum("bh,hrp,mp->brm", g, self.roles, rows.row, optimize=True)
        called = called - rows.cost_usd.T[None] / scale[:, None, None]
        return np.concatenate([called.reshape(len(g), -1), g @ self.stops], axis=1)

    def flat_head(self) -> Floats:
        """The last layer as one vector, for evolution."""
        return np.concatenate([self.roles.ravel(), self.stops.ravel()])

    def with_head(self, flat: Floats) -> Net:
        n = self.roles.size
        return replace(self, roles=flat[:n].reshape(self.roles.shape), stops=flat[n:].reshape(self.stops.shape))

    def arrays(self) -> Arrays:
        return {f"net.{name}": getattr(self, name) for name in _FIELDS}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Net:
        return cls(*(np.asarray(arrays[f"net.{name}"], dtype=np.float64) for name in _FIELDS))
