"""Routers that know a model by its profile: gradients, and that the published rule of similarity is kept."""

from __future__ import annotations

import numpy as np
import pytest

from routewright.scorers.pairs import fit, forecast, graph_gradient, mlp_gradient
from routewright.types import Floats

STEP = 1e-6
DECAY = 1e-3


@pytest.mark.parametrize("kind", ["mlp", "graph"])
def test_gradients_are_those_of_the_loss(kind: str) -> None:
    rng = np.random.default_rng(0)
    z, profiles, y, u = rng.normal(size=(7, 3)), rng.normal(size=(4, 5)), rng.random((7, 4)), rng.normal(size=(4, 4))
    if kind == "mlp":
        shapes: dict[str, tuple[int, ...]] = {"a": (3, 6), "b": (5, 6), "c": (6,), "v": (6,), "o": ()}
    else:
        shapes = {"b": (5, 4), "c": (4, 4), "o": ()}
    p = {k: np.array(rng.normal(size=s)) for k, s in shapes.items()}
    decayed = ("a", "b", "v") if kind == "mlp" else ("b", "c")

    def loss(now: dict[str, Floats]) -> float:
        given = now if kind == "mlp" else {**now, "u": u}
        gap = forecast(kind, given, z, profiles) - y  # type: ignore[arg-type]
        return float((gap**2).mean() / 2 + DECAY / 2 * sum((now[k] ** 2).sum() for k in decayed))

    slopes = mlp_gradient(p, z, profiles, y) if kind == "mlp" else graph_gradient(p, z, profiles, y, u)
    for name, slope in slopes.items():
        for at in np.ndindex(np.shape(slope)):
            up, down = ({k: v.copy() for k, v in p.items()} for _ in range(2))
            up[name][at] += STEP
            down[name][at] -= STEP
            assert np.asarray(slope)[at] == pytest.approx((loss(up) - loss(down)) / (2 * STEP), abs=1e-6), (name, at)


def test_the_most_similar_is_chosen_even_where_similar_is_worse() -> None:
    z, profiles = np.eye(2), np.eye(2)
    p = fit("sim", z, profiles, 1 - np.eye(2), 0)
    assert forecast("sim", p, z, profiles).argmax(axis=1).tolist() == [0, 1]
