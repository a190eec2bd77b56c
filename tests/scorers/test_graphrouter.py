"""`graphrouter`: its layers are GeneralConv, its winners are winners, a model joins without training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routewright.errors import RoutewrightError
from routewright.outcomes import Outcomes
from routewright.scorers.base import build_scorer
from routewright.scorers.graphrouter import GraphRouter, cards, models, winners
from routewright.types import Floats, Query
from tests.extras import needs

needs("torch", "train")


def specialists() -> tuple[Floats, Floats]:
    """600 queries of two kinds in 6 dimensions, and five models of which each is good at one kind: right 9 times in 10."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], 600)
    x = rng.normal(size=(600, 6))
    x[:, 0] = 2 * sign
    good = np.where(sign[:, None] == np.array([1, -1, 1, -1, 1]), 0.9, 0.1)
    return x, (rng.random(good.shape) < good).astype(float)


def fitted(options: dict[str, Any] | None = None) -> tuple[GraphRouter, Floats, Floats]:
    """Fitted on 400 queries and the models b to e; the first model is new to it."""
    x, y = specialists()
    nothing = np.full(y[:, 1:].shape, np.nan)
    queries = tuple(Query(str(i), str(i)) for i in range(len(x)))
    cost = np.ones(nothing.shape) * [1.0, 2.0, 3.0, 4.0]
    table = Outcomes("toy", queries, tuple("bcde"), y[:, 1:], cost, nothing, nothing, nothing, "correct").take(
        range(400)
    )
    scorer = build_scorer("graphrouter", options or {})
    assert isinstance(scorer, GraphRouter)
    scorer.fit(table, x[:400].astype(np.float32))
    return scorer, x, y


def test_the_layers_are_general_convolutions() -> None:
    """The NumPy pass against PyTorch Geometric's GeneralConv and torch's batch norm on the graph spelled out, to 1e-5."""
    torch = pytest.importorskip("torch")
    nn = needs("torch_geometric.nn", "dev")
    scorer, x, y = fitted({"steps": 30, "objective": "winner"})
    p = scorer._p
    q = scorer._beside_task(scorer._space.rows(x[:50]))
    edges = np.stack([y[:50, 1:], np.random.default_rng(1).normal(size=(50, 4))], axis=2)
    width = p["align"].shape[1]

    def t(a: Floats) -> Any:
        return torch.tensor(a, dtype=torch.float64)

    nodes = torch.cat([t(q @ p["align"] + p["align_b"]), t(cards(edges) @ p["card"])])
    source, target = np.meshgrid(np.arange(50), 50 + np.arange(4), indexing="ij")
    index = torch.tensor(np.stack([source.ravel(), target.ravel()]))
    for layer in (0, 1):
        conv = nn.GeneralConv(width, width, in_edge_channels=2, aggr="mean", bias=False).double()
        norm = torch.nn.BatchNorm1d(width, eps=0.0).double().eval()
        with torch.no_grad():
            conv.lin_msg.weight.copy_(t(p["message"][layer].T))
            conv.lin_edge.weight.copy_(t(p["edge"][layer].T))
            for bias in (conv.lin_msg.bias, conv.lin_edge.bias):
                if bias is not None:
                    bias.zero_()
            if conv.lin_msg.bias is not None:
                conv.lin_msg.bias.copy_(t(p["message_b"][layer]))
            norm.weight.copy_(t(p["scale"][layer]))
            norm.bias.copy_(t(p["shift"][layer]))
            nodes = conv(nodes, index, edge_attr=t(edges.reshape(-1, 2)))
            if conv.lin_msg.bias is None:
                nodes[50:] += t(p["message_b"][layer])
            nodes = norm(nodes)
            nodes = nodes.relu() if layer == 0 else nodes
    np.testing.assert_allclose(models(p, q, cards(edges), edges), nodes[50:].numpy(), atol=1e-5)


def test_numpy_and_torch_agree() -> None:
    """Model nodes as torch has them with every edge's message spelled out, and as serving computes them: to 1e-5."""
    torch = pytest.importorskip("torch")
    for objective in ("regress", "winner"):
        scorer, x, y = fitted({"steps": 20, "objective": objective})
        p = {k: torch.tensor(v, dtype=torch.float32) for k, v in scorer._p.items()}
        q = torch.tensor(scorer._beside_task(scorer._space.rows(x[:90])), dtype=torch.float32)
        edges = np.stack([y[:90, 1:], np.random.default_rng(1).normal(size=(90, 4))], axis=2)
        e = torch.tensor(edges, dtype=torch.float32)
        at, own = q @ p["align"] + p["align_b"], torch.tensor(cards(edges), dtype=torch.float32) @ p["card"]
        for layer in (0, 1):
            every = (at @ p["message"][layer] + p["message_b"][layer])[:, None] + e @ p["edge"][layer]  # [Q, M, 2 d]
            if objective == "regress":
                every = every + (e[:, :, :1] - e[:, :, :1].mean(dim=0)) * (at @ p["met"][layer])[:, None]
            own = (every.mean(dim=0) + own) * p["scale"][layer] + p["shift"][layer]
            if layer == 0:
                own, at = own.relu(), (at * p["scale"][0] + p["shift"][0]).relu()
        mine = models(scorer._p, q.double().numpy(), cards(edges), edges)
        np.testing.assert_allclose(mine, own.numpy(), rtol=1e-5, atol=1e-5)


def test_winners_are_the_best_and_then_the_cheapest() -> None:
    quality = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    cost = np.array([[4.0, 2.0, 1.0], [4.0, 2.0, 1.0], [1.0, 4.0, 2.0]])
    assert winners(quality, cost, 1.0, 0.0).argmax(axis=1).tolist() == [1, 2, 1]
    assert winners(quality, cost, 0.2, 0.8).argmax(axis=1).tolist() == [2, 2, 0]


def test_the_winner_of_each_query_is_found() -> None:
    """Two of the four are right on each kind of query; the winner among those right is the cheaper."""
    scorer, x, y = fitted({"objective": "winner"})
    queries = [Query(str(i)) for i in range(200)]
    said = scorer.forecast(queries, x[400:].astype(np.float32)).quality.argmax(axis=1)
    right = y[400:, 1:][np.arange(200), said].mean()
    assert right > 0.8, f"0.9 is the best anyone can do, 0.5 a constant: {right}"


def test_a_model_joins_from_forty_outcomes() -> None:
    """Its own mean errs by 0.25 (squared); the best anyone can do is 0.09. The bound is halfway."""
    scorer, x, y = fitted()
    forecast = scorer.newcomer(x[:40], y[:40, 0], np.ones(40), x[400:])
    assert ((forecast - y[400:, 0]) ** 2).mean() < 0.17
    wrong = np.random.default_rng(1).permutation(y[:40, 0])
    assert ((scorer.newcomer(x[:40], wrong, np.ones(40), x[400:]) - y[400:, 0]) ** 2).mean() > 0.2


def test_newcomers_need_a_fit_and_outcomes() -> None:
    unfitted = build_scorer("graphrouter")
    assert isinstance(unfitted, GraphRouter)
    one = np.ones(1)
    with pytest.raises(RoutewrightError, match="graphrouter is not fitted"):
        unfitted.newcomer(np.ones((1, 6)), one, one, np.ones((1, 6)))
    scorer, x, _ = fitted({"steps": 1})
    with pytest.raises(RoutewrightError, match="expected one each"):
        scorer.newcomer(x[:2], one, one, x)
