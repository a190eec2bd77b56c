"""`graph`: queries and models as the two sides of a graph; a model is what its edges say of it.

    z[q] = tanh(P x[q])                                          a query's vector, [K]
    u[m] = sum_q z[q] (quality[q, m] - mean[m]) / (n[m] + shrink)   what its recorded edges send to model m, [K]
    quality[q, m] = mean[m] + z[q] . C u[m]                      an edge forecast

P [K, D] and C [K, K] are shared by all models, so nothing is learned *per model*: a model that was not there in training
has a vector as soon as a few of its outcomes are known (`newcomer`), without a gradient step. Trained by hiding a random
half of the queries at every step, all their edges with them: the visible half sends messages, the hidden half is forecast,
as a live query will be, which has no edges either. Squared error, Adam, L2 penalty on P chosen on held-out rows.

Model vectors are constant once trained, so serving is one product of small matrices, and needs NumPy alone.

Reference: Feng et al. 2025 (GraphRouter), arXiv:2410.03834.
Differs: regresses quality instead of naming the winner of a fixed trade-off (most such labels are ties), and leaves cost to
the forecast that all scorers share; no task nodes, since live traffic has no task labels; model nodes start from their
edges instead of a written description; one round of linear messages over the complete graph, with gradients by hand, where
the paper stacks two layers: its query side reads the *initial* vector too, so both are two towers and a bilinear score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.encoders.base import Arrays, Meta
from routewright.errors import RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.adam import Parameters, descend, penalised
from routewright.scorers.base import Scorer
from routewright.scorers.factored import DescentConfig
from routewright.types import Floats, Query


class GraphConfig(DescentConfig):
    """Options of `graph`."""

    width: int = Field(16, ge=1, description="numbers in a node's vector")
    shrink: float = Field(10.0, gt=0, description="edges that a model is given of which none says anything")


class Graph(Scorer):
    """Edge forecasts between queries and models; see the module."""

    Config = GraphConfig
    kind: ClassVar[str] = "graph"
    summary: ClassVar[str] = "edges between queries and models, new models without training (GraphRouter)"
    config: GraphConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        self._centre = x.mean(axis=0)
        x, y = x - self._centre, outcomes.quality
        penalty = penalised(self._fitted, x, y, self.seed)
        self._p = self._descend(x, y, penalty)
        self._mean, self._std = y.mean(axis=0), y.std(axis=0)
        self._nodes = self._p["c"] @ messages(nodes(self._p, x), y - self._mean, self.config.shrink)

    def _fitted(self, x: Floats, y: Floats, penalty: float) -> Any:
        p, mean = self._descend(x, y, penalty), y.mean(axis=0)
        models = p["c"] @ messages(nodes(p, x), y - mean, self.config.shrink)
        return lambda rows: mean + nodes(p, rows) @ models

    def _descend(self, x: Floats, y: Floats, penalty: float) -> Parameters:
        rng = np.random.default_rng(self.seed)
        k = self.config.width
        start = {"p": rng.normal(0, 1, (x.shape[1], k)), "c": np.eye(k)}
        half = len(x) // 2

        def slope(p: Parameters) -> Parameters:
            rows = rng.permutation(len(x))
            seen, hidden = (rows[:half], rows[half:]) if half > 1 else (rows, rows)  # too few to hide any
            return gradient(p, x[seen], y[seen], x[hidden], y[hidden], self.config.shrink, penalty)

        return descend(start, slope, steps=self.config.steps, rate=self.config.rate)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        return self._mean + nodes(self._p, x - self._centre) @ self._nodes, self._std

    def newcomer(self, probed: Floats, quality: Floats, x: Floats) -> Floats:
        """Forecast a model that training never saw, from a few of its outcomes and no gradient step.

        Args:
            probed: [N, D] text vectors of the queries it was tried on.
            quality: [N] what it scored there, in [0, 1].
            x: [Q, D] text vectors of the queries to forecast.

        Returns:
            [Q] quality in [0, 1]. With few probes the mean is as uncertain as any mean of N numbers.
        """
        if self._cost is None:
            raise RoutewrightError("graph is not fitted; fit it on the models that are known before a new one joins.")
        if len(probed) < 1 or len(probed) != len(quality):
            raise RoutewrightError(
                f"{len(probed)} probed queries came with {len(quality)} scores; expected one each, and at least one."
            )
        mean = float(quality.mean())
        edges = messages(nodes(self._p, probed - self._centre), (quality - mean)[:, None], self.config.shrink)
        said: Floats = mean + (nodes(self._p, x - self._centre) @ (self._p["c"] @ edges))[:, 0]
        return np.clip(said, 0.0, 1.0)

    def _state(self) -> tuple[Arrays, Meta]:
        facts = {"nodes": self._nodes, "centre": self._centre, "mean": self._mean, "std": self._std}
        return {**self._p, **facts}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._p = {"p": arrays["p"], "c": arrays["c"]}
        self._nodes, self._centre = arrays["nodes"], arrays["centre"]
        self._mean, self._std = arrays["mean"], arrays["std"]


def nodes(p: Parameters, x: Floats) -> Floats:
    """Queries' vectors [Q, K] of centred text vectors [Q, D]."""
    z: Floats = np.tanh(x @ p["p"])
    return z


def messages(z: Floats, edges: Floats, shrink: float) -> Floats:
    """What edges [Q, M] and the vectors [Q, K] at their ends send to the models: [K, M]."""
    u: Floats = z.T @ edges / (len(z) + shrink)
    return u


def loss(p: Parameters, x: Floats, y: Floats, hidden: Floats, wanted: Floats, shrink: float, penalty: float) -> float:
    """Half the squared error on hidden queries, summed over models, plus the penalty on P; arguments as `gradient`."""
    mean = y.mean(axis=0)
    forecast = mean + nodes(p, hidden) @ (p["c"] @ messages(nodes(p, x), y - mean, shrink))
    return float(((forecast - wanted) ** 2).sum() / (2 * len(hidden)) + penalty / 2 * (p["p"] ** 2).sum())


def gradient(
    p: Parameters, x: Floats, y: Floats, hidden: Floats, wanted: Floats, shrink: float, penalty: float
) -> Parameters:
    """Gradient of `loss` by P and C.

    Args:
        x, y: [S, D], [S, M] the visible queries and their outcomes.
        hidden, wanted: [T, D], [T, M] the queries whose edges are hidden, and what these are.
    """
    mean = y.mean(axis=0)
    z, far, edges = nodes(p, x), nodes(p, hidden), y - mean
    u = messages(z, edges, shrink)
    error = (mean + far @ (p["c"] @ u) - wanted) / len(hidden)
    by_far = error @ (p["c"] @ u).T
    by_z = edges @ (p["c"].T @ (far.T @ error)).T / (len(x) + shrink)
    return {
        "p": hidden.T @ (by_far * (1 - far**2)) + x.T @ (by_z * (1 - z**2)) + penalty * p["p"],
        "c": far.T @ error @ u.T,
    }
