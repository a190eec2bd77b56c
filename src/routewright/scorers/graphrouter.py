"""`graphrouter`: GraphRouter itself: task, query and model nodes, edges with quality and cost, edges forecast.

    q      = [z(x), t(x)] A                          a query beside its task node, aligned to 2d numbers
    h0[m]  = [mean quality, log price, 1] B          a model by its card
    h1[m]  = relu( norm( mean_q (q W1 + e[q, m] E1) + h0[m] ) ),     q1 = relu( norm( q ) )
    h2[m]  =       norm( mean_q (q1 W2 + e[q, m] E2) + h1[m] )       e = (quality, cost) of the visible edges
    score  = mean_k q[k] h2[m, k]                    the query's *initial* vector, as in the paper's code

In that sum queries and edges never meet: with every model asked on every query it says how good a model is, never on what. So
"regress" adds  mean_q (quality[q, m] - mean[m]) (q G1)  to the first layer, and the same with q1 and G2 to the second.

Edges point from queries to models, so queries gather nothing, and with all models asked on all queries a layer is a masked
matrix product: PyTorch Geometric's GeneralConv with means, which a test compares it with. At every step half of the edges
are hidden and forecast. A task node is the mean of its queries; a query belongs to the nearest, so that live traffic needs
no label. Stopped early on a fifth of the queries.

    objective "regress"   quality[q, m] = mean[m] + score                squared error: ours, and the default
    objective "winner"    quality[q, m] = sigmoid(score)                 cross-entropy of one-hot labels argmax_m u[q, m]
                          u = a P - b C, P and C scaled to [0, 1] over the training part: the paper's own

The scenarios are the paper's: performance (a, b) = (1, 0), balance (0.5, 0.5), cost (0.2, 0.8). With "winner" a forecast is how
sure the network is of the scenario's winner, not a score to expect, and cost is in it already: ask it at a high value_usd.

Model nodes are constant once trained, so serving needs NumPy alone; training needs torch (extra `train`). A new model is
one pass of messages in NumPy (`newcomer`).

Reference: Feng et al. 2025 (GraphRouter), arXiv:2410.03834.
Differs: "regress" is ours, its messages too; means for sums, so that ten edges or a thousand are of one scale; full graph and early stopping where the code
takes a fixed number of epochs and looks at the test part every epoch; a model's card is its price and mean, for tables have no
descriptions; the shared cost forecast of all scorers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Arrays, Meta
from routewright.errors import MissingExtra, RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.scorers.adam import sigmoid
from routewright.scorers.base import Scorer
from routewright.scorers.profiled import Space
from routewright.types import Floats, Query

SCENARIOS = {"performance": (1.0, 0.0), "balance": (0.5, 0.5), "cost": (0.2, 0.8)}
_HIDE, _EVERY, _HELD_OUT, _EPS = 0.5, 10, 0.2, 1e-5
_FLOOR = 1e-12  # USD


class GraphRouterConfig(Config):
    """Options of `graphrouter`."""

    objective: Literal["regress", "winner"] = Field("regress", description="each model's quality, or the winner")
    scenario: Literal["performance", "balance", "cost"] = Field(
        "performance", description="what the winner wins at; read by objective winner alone"
    )
    d: int = Field(8, ge=1, description="half the numbers in a node's vector")
    width: int = Field(32, ge=1, description="principal directions of the text vectors read")
    steps: int = Field(150, ge=1, description="gradient steps at most")
    rate: float = Field(0.01, gt=0, description="step size")
    decay: float = Field(0.01, ge=0, description="weight decay")


class GraphRouter(Scorer):
    """The published graph router; see the module."""

    Config = GraphRouterConfig
    kind: ClassVar[str] = "graphrouter"
    summary: ClassVar[str] = "graph of tasks, queries and models, trained with torch (GraphRouter)"
    config: GraphRouterConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        self._space = Space.fit(x, self.config.width)
        z = self._space.rows(x)
        self._tasks = task_nodes(z, outcomes.strata)
        logs = np.log(np.maximum(outcomes.cost_usd, _FLOOR))
        self._price = np.array([logs.mean(), max(float(logs.std()), 1e-6)])
        self._std = outcomes.quality.std(axis=0)
        if self.config.objective == "winner":
            target = winners(outcomes.quality, outcomes.cost_usd, *SCENARIOS[self.config.scenario])
        else:
            target = outcomes.quality
        edges = np.stack([outcomes.quality, (logs - self._price[0]) / self._price[1]], axis=2)
        q = self._beside_task(z)
        self._p = train(self.config, q, cards(edges), edges, target, self.seed)
        self._nodes = models(self._p, q, cards(edges), edges)
        self._mean = outcomes.quality.mean(axis=0)

    def _beside_task(self, z: Floats) -> Floats:
        """[Q, 2 K] each query beside the task node nearest to it."""
        near = ((z[:, None] - self._tasks[None]) ** 2).sum(axis=2).argmin(axis=1)
        return np.hstack([z, self._tasks[near]])

    def _scored(self, x: Floats, nodes: Floats, mean: Floats) -> Floats:
        said = score(self._p, self._beside_task(self._space.rows(x)), nodes)
        return sigmoid(said) if self.config.objective == "winner" else mean + said

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        return self._scored(x, self._nodes, self._mean), self._std

    def newcomer(self, probed: Floats, quality: Floats, cost_usd: Floats, x: Floats) -> Floats:
        """Forecast a model that training never saw, from its price and a few outcomes, without a gradient step.

        Args:
            probed: [N, D] text vectors of the queries it was tried on.
            quality, cost_usd: [N] what it scored there, and what the calls cost.
            x: [Q, D] text vectors of the queries to forecast.

        Returns:
            [Q] what `forecast` would hold in its column.
        """
        if self._cost is None:
            raise RoutewrightError(
                "graphrouter is not fitted; fit it on the models that are known before a new one joins."
            )
        if not 1 <= len(probed) == len(quality) == len(cost_usd):
            raise RoutewrightError(
                f"{len(probed)} probed queries came with {len(quality)} scores and {len(cost_usd)} costs; expected one each, "
                "and at least one."
            )
        logs = (np.log(np.maximum(cost_usd, _FLOOR)) - self._price[0]) / self._price[1]
        edges = np.stack([quality, logs], axis=1)[:, None]
        nodes = models(self._p, self._beside_task(self._space.rows(probed)), cards(edges), edges)
        said: Floats = self._scored(x, nodes, np.array([quality.mean()]))[:, 0]
        return np.clip(said, 0.0, 1.0)

    def _state(self) -> tuple[Arrays, Meta]:
        own = {"nodes": self._nodes, "tasks": self._tasks, "price": self._price, "mean": self._mean, "std": self._std}
        axes = np.ascontiguousarray(self._space.axes)
        return {**own, "centre": self._space.centre, "axes": axes, **{f"p.{k}": v for k, v in self._p.items()}}, {}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        self._space = Space(arrays["centre"], arrays["axes"])
        self._nodes, self._tasks, self._price = arrays["nodes"], arrays["tasks"], arrays["price"]
        self._mean, self._std = arrays["mean"], arrays["std"]
        self._p = {k.removeprefix("p."): v for k, v in arrays.items() if k.startswith("p.")}


def winners(quality: Floats, cost_usd: Floats, a: float, b: float) -> Floats:
    """[Q, M] 1 at the model of the largest a P - b C; ties to the cheaper, then to the earlier, as nowhere in the paper's code."""

    def scaled(values: Floats) -> Floats:
        low, high = values.min(), values.max()
        out: Floats = (values - low) / (high - low) if high > low else np.zeros_like(values)
        return out

    worth = a * scaled(quality) - b * scaled(cost_usd)
    tied = worth >= worth.max(axis=1, keepdims=True) - 1e-12
    out: Floats = np.eye(quality.shape[1])[np.where(tied, cost_usd, np.inf).argmin(axis=1)]
    return out


def task_nodes(z: Floats, labels: Sequence[str]) -> Floats:
    """[T, K] mean vector of each task's queries."""
    _, number = np.unique(np.asarray(labels), return_inverse=True)
    belongs = np.eye(number.max() + 1)[number]
    out: Floats = belongs.T @ z / belongs.sum(axis=0)[:, None]
    return out


def cards(edges: Floats) -> Floats:
    """[M, 3] what a model starts as: mean quality, mean standardised log price, 1; of edges [Q, M, 2]."""
    return np.column_stack([edges.mean(axis=0), np.ones(edges.shape[1])])


def score(p: Mapping[str, Any], q: Floats, nodes: Floats) -> Floats:
    """[Q, M] of queries beside their tasks [Q, 2 K] and model nodes [M, 2 d]."""
    out: Floats = (q @ p["align"] + p["align_b"]) @ nodes.T / nodes.shape[1]
    return out


def models(p: Mapping[str, Any], q: Floats, card: Floats, edges: Floats) -> Floats:
    """[M, 2 d] model nodes after both layers, in NumPy, with the norms as they were at the end of training.

    Args:
        p: Trained parameters; `scale` and `shift` [2, 2 d] are the two norms.
        q: [N, 2 K] the queries that the models have edges to.
        card: [M, 3], see `cards`.
        edges: [N, M, 2] quality and standardised log cost.
    """
    at, own = q @ p["align"] + p["align_b"], card @ p["card"]
    above = edges[:, :, 0] - edges[:, :, 0].mean(axis=0)  # [N, M]
    for layer in (0, 1):
        sent = at @ p["message"][layer] + p["message_b"][layer]
        own = sent.mean(axis=0) + edges.mean(axis=0) @ p["edge"][layer] + own
        if "met" in p:
            own = own + above.T @ (at @ p["met"][layer]) / len(at)
        own = own * p["scale"][layer] + p["shift"][layer]
        if layer == 0:
            own = np.maximum(own, 0.0)
            at = np.maximum(at * p["scale"][0] + p["shift"][0], 0.0)
    out: Floats = own
    return out


def train(
    config: GraphRouterConfig, q: Floats, card: Floats, edges: Floats, target: Floats, seed: int
) -> dict[str, Floats]:
    """Parameters, as arrays; arguments as `models`, and target [Q, M]."""
    try:
        import torch
    except ImportError:
        raise MissingExtra("Training policy 'graphrouter'", "torch", "train") from None

    width = 2 * config.d
    dice = torch.Generator().manual_seed(seed)
    rows = np.random.default_rng((seed, 2410)).permutation(len(q))
    held = np.zeros(len(q), dtype=bool)
    held[rows[: min(max(1, int(_HELD_OUT * len(q))), len(q) - 1)]] = True
    sees, wants = (torch.tensor(q[part], dtype=torch.float32) for part in (~held, held))
    e = torch.tensor(edges[~held], dtype=torch.float32)
    y, y_held = (torch.tensor(target[part], dtype=torch.float32) for part in (~held, held))
    cards_ = torch.tensor(card, dtype=torch.float32)

    def drawn(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=dice) * shape[-2] ** -0.5).requires_grad_()

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(*shape).requires_grad_()

    p = {
        "align": drawn(q.shape[1], width),
        "align_b": zeros(width),
        "card": drawn(card.shape[1], width),
        "message": drawn(2, width, width),
        "message_b": zeros(2, width),
        "edge": drawn(2, 2, width),
        "gain": torch.ones(2, width).requires_grad_(),
        "lift": zeros(2, width),
    }
    if config.objective == "regress":
        p["met"] = drawn(2, width, width)

    def normed(own: torch.Tensor, at: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What a batch norm over all nodes multiplies by and adds."""
        nodes = torch.cat([own, at])
        scale = p["gain"][layer] / (nodes.var(dim=0, unbiased=False) + _EPS).sqrt()
        return scale, p["lift"][layer] - nodes.mean(dim=0) * scale

    def run(at: torch.Tensor, e: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, list[tuple[Any, Any]]]:
        n = seen.sum(dim=0).clamp(min=1)[:, None]  # [M, 1] edges a model is seen to have
        own, norms = cards_ @ p["card"], []
        for layer in (0, 1):
            sent = at @ p["message"][layer] + p["message_b"][layer]
            own = (seen.T @ sent + torch.einsum("qm,qme->me", seen, e) @ p["edge"][layer]) / n + own
            if "met" in p:
                above = (e[:, :, 0] - (seen * e[:, :, 0]).sum(dim=0) / n[:, 0]) * seen
                own = own + above.T @ (at @ p["met"][layer]) / n
            scale, shift = normed(own, at, layer)
            norms.append((scale, shift))
            own = own * scale + shift
            if layer == 0:
                own, at = own.relu(), (at * scale + shift).relu()
        return own, norms

    def said(at: torch.Tensor, nodes: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        out = at @ nodes.T / width
        return out if config.objective == "winner" else mean + out

    def loss(forecast: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if config.objective == "winner":
            every = torch.nn.functional.binary_cross_entropy_with_logits(forecast, wanted, reduction="none")
        else:
            every = (forecast - wanted) ** 2
        return (every * weight).sum() / weight.sum().clamp(min=1)

    everything = torch.ones_like(y)
    mean = y.mean(dim=0)

    def held_loss() -> float:
        with torch.no_grad():
            nodes, _ = run(sees @ p["align"] + p["align_b"], e, everything)
            return float(loss(said(wants @ p["align"] + p["align_b"], nodes, mean), y_held, torch.ones_like(y_held)))

    optimiser = torch.optim.AdamW(list(p.values()), lr=config.rate, weight_decay=config.decay)
    best, least = {k: v.detach().clone() for k, v in p.items()}, float("inf")
    for t in range(1, config.steps + 1):
        seen = (torch.rand(y.shape, generator=dice) >= _HIDE).float()
        at = sees @ p["align"] + p["align_b"]
        nodes, _ = run(at, e, seen)
        wrong = loss(said(at, nodes, mean), y, 1 - seen)
        optimiser.zero_grad()
        wrong.backward()
        optimiser.step()
        if (t % _EVERY == 0 or t == config.steps) and (now := held_loss()) < least:
            best, least = {k: v.detach().clone() for k, v in p.items()}, now
    with torch.no_grad():
        for k, v in best.items():
            p[k].copy_(v)
        _, norms = run(sees @ p["align"] + p["align_b"], e, everything)
        p |= {"scale": torch.stack([n[0] for n in norms]), "shift": torch.stack([n[1] for n in norms])}
        return {k: v.numpy().astype(np.float64) for k, v in p.items() if k not in ("gain", "lift")}
