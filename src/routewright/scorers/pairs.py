"""Routers that know a model by its profile alone: from a query's vector z and a profile p to a quality.

    sim     a + b * cos(z, p), b > 0                           nothing trained but a and b (least squares)
    mlp     o + v . relu(A z + B p + c)                        one hidden layer
    graph   o + (z, 1) . (B p + C u) / (K + 1)     u[m] = mean over m's recorded edges of (z, 1) * (quality - mean)

`mlp` and `graph` are fitted by Adam on squared error, batch by batch, and stopped where a fifth of the queries, held out,
says so; `graph` forecasts in every step queries whose edges are hidden. Both start as the mean outcome.

Called by the scorer `profiled` and by the recipe that compares profiles. Reference: the three routers of RouteProfile,
arXiv:2605.00180. Differs: all forecast quality by squared error, where the paper has a hinge over pairs of models (MLP) and
cross-entropy of the best one (graph); one round of linear messages where it has attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from routewright.scorers.adam import Parameters
from routewright.types import Floats, Ints

Kind = Literal["sim", "mlp", "graph"]
HIDDEN = 16
_STEPS, _EVERY, _BATCH, _DECAY = 120, 10, 64, 1e-3
_RATE = {"mlp": 0.01, "graph": 0.003}
_HELD_OUT = 0.2


def fit(kind: Kind, z: Floats, profiles: Floats, quality: Floats, seed: int) -> Parameters:
    """Parameters of a router.

    Args:
        kind: See the module.
        z: [Q, K] query vectors with entries of size 1.
        profiles: [M, P].
        quality: [Q, M] in [0, 1].
        seed: Of the start, the batches and the rows held out.
    """
    if kind == "sim":
        return _similarity(z, profiles, quality)
    rng = np.random.default_rng((seed, 31))
    rows = rng.permutation(len(z))
    cut = min(max(1, int(_HELD_OUT * len(z))), len(z) - 1)
    held, train = rows[:cut], rows[cut:]
    k, p = z.shape[1], profiles.shape[1]
    offset = np.array(quality[train].mean())
    if kind == "mlp":
        start = {
            "a": rng.normal(0, k**-0.5, (k, HIDDEN)),
            "b": rng.normal(0, p**-0.5, (p, HIDDEN)),
            "c": np.zeros(HIDDEN),
            "v": rng.normal(0, 0.01, HIDDEN),
            "o": offset,
        }

        def slope(now: Parameters, batch: Ints) -> Parameters:
            return mlp_gradient(now, z[batch], profiles, quality[batch])
    else:
        start = {"b": np.zeros((p, k + 1)), "c": np.zeros((k + 1, k + 1)), "o": offset}
        edges, ends = quality[train] - offset, _one(z[train])
        sent = {int(q): i for i, q in enumerate(train)}
        total = ends.T @ edges

        def slope(now: Parameters, batch: Ints) -> Parameters:
            mine = [sent[int(q)] for q in batch]
            left = max(1, len(train) - len(batch))
            u = (total - ends[mine].T @ edges[mine]) / left  # the batch's own edges are hidden
            return graph_gradient(now, z[batch], profiles, quality[batch], u)

    def whole(now: Parameters, on: Ints) -> Parameters:
        return now if kind == "mlp" else {**now, "u": _one(z[on]).T @ (quality[on] - offset) / len(on)}

    def loss(now: Parameters) -> float:
        return float(((forecast(kind, whole(now, train), z[held], profiles) - quality[held]) ** 2).mean())

    best = _descend(start, slope, loss, train, rng, _RATE[kind])
    return whole(best, np.arange(len(z)))


def forecast(kind: Kind, p: Mapping[str, Any], z: Floats, profiles: Floats) -> Floats:
    """[Q, M] quality, not yet held to [0, 1]."""
    out: Floats
    if kind == "sim":
        out = p["a"] + p["b"] * cosine(z, profiles)
    elif kind == "mlp":
        out = np.maximum((z @ p["a"])[:, None] + (profiles @ p["b"])[None] + p["c"], 0.0) @ p["v"] + p["o"]
    else:
        out = p["o"] + _one(z) @ ((profiles @ p["b"]).T + p["c"] @ p["u"]) / (z.shape[1] + 1)
    return out


def mlp_gradient(p: Parameters, z: Floats, profiles: Floats, y: Floats) -> Parameters:
    """Gradient of half the mean squared error over queries and models, and of the decay."""
    hidden = np.maximum((z @ p["a"])[:, None] + (profiles @ p["b"])[None] + p["c"], 0.0)  # [Q, M, H]
    error = (hidden @ p["v"] + p["o"] - y) / y.size
    back = error[:, :, None] * p["v"] * (hidden > 0)
    return {
        "a": z.T @ back.sum(axis=1) + _DECAY * p["a"],
        "b": profiles.T @ back.sum(axis=0) + _DECAY * p["b"],
        "c": back.sum(axis=(0, 1)),
        "v": np.einsum("qm,qmh->h", error, hidden) + _DECAY * p["v"],
        "o": error.sum(),
    }


def graph_gradient(p: Parameters, z: Floats, profiles: Floats, y: Floats, u: Floats) -> Parameters:
    """The same for `graph`; u [K + 1, M] is what the visible edges send."""
    ends = _one(z)
    scale = ends.shape[1]
    error = (p["o"] + ends @ ((profiles @ p["b"]).T + p["c"] @ u) / scale - y) / y.size
    by_model = ends.T @ error / scale  # [K + 1, M]
    return {
        "b": profiles.T @ by_model.T + _DECAY * p["b"],
        "c": by_model @ u.T + _DECAY * p["c"],
        "o": error.sum(),
    }


def cosine(z: Floats, profiles: Floats) -> Floats:
    """[Q, M]; 0 where either is zero."""

    def ones(x: Floats) -> Floats:
        length = np.linalg.norm(x, axis=1, keepdims=True)
        scaled: Floats = np.divide(x, length, out=np.zeros_like(x), where=length > 1e-12)
        return scaled

    out: Floats = ones(z) @ ones(profiles).T
    return out


def _similarity(z: Floats, profiles: Floats, quality: Floats) -> Parameters:
    s = cosine(z, profiles)
    spread = float(s.var())
    b = float(((s - s.mean()) * (quality - quality.mean())).mean()) / spread if spread > 1e-12 else 0.0
    b = max(b, 1e-3)  # the most similar model is chosen even where similar is worse: that is the method
    return {"a": np.array(quality.mean() - b * s.mean()), "b": np.array(b)}


def _one(z: Floats) -> Floats:
    """[Q, K + 1] with a 1 behind, so that a model's level is a message too."""
    return np.column_stack([z, np.ones(len(z))])


def _descend(
    start: Parameters,
    slope: Callable[[Parameters, Ints], Parameters],
    loss: Callable[[Parameters], float],
    rows: Ints,
    rng: np.random.Generator,
    rate: float,
) -> Parameters:
    """Adam in batches; the parameters that were best on what was held out."""
    p = {k: np.array(v, dtype=np.float64) for k, v in start.items()}
    first, second = ({k: np.zeros_like(v) for k, v in p.items()} for _ in range(2))
    best, least = {k: v.copy() for k, v in p.items()}, loss(p)
    for t in range(1, _STEPS + 1):
        for k, g in slope(p, rng.choice(rows, min(_BATCH, max(1, len(rows) // 2)), replace=False)).items():
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.99 * second[k] + 0.01 * g**2
            p[k] = p[k] - rate * first[k] / (1 - 0.9**t) / (np.sqrt(second[k] / (1 - 0.99**t)) + 1e-8)
        if t % _EVERY == 0 and (now := loss(p)) < least:
            best, least = {k: v.copy() for k, v in p.items()}, now
    return best
