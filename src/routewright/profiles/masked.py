"""Profiles trained to restore what is hidden: edges between models and queries, and vectors of nodes.

    h'[v] = tanh( h[v] W0 + sum over kinds of neighbours k of  A_k[v, :] h W_k )       a weight a kind and hop
    loss  = mean over hidden edges of (z[q] . h[m] / K - r[q, m] / s)^2  +  mean over hidden queries of |h[q] - z[q]|^2 / K

At every step 3 of 10 edges weigh nothing and 2 of 10 queries start from zeros. s is the deviation of the edges. Adam, one
thread, no labels: the routers' target is not seen but through the edges of the training part.

Called by `vectors.py` and `joining.py`. Needs torch (extra `train`). Reference: RouteProfile, arXiv:2605.00180, trainable profiles.
Differs: one linear map a kind of edge where the paper's HANConv has attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from routewright.errors import MissingExtra
from routewright.types import Floats

if TYPE_CHECKING:
    from routewright.profiles.vectors import Graph

_STEPS, _RATE = 40, 0.03
_HIDE_EDGES, _HIDE_QUERIES = 0.3, 0.2


Maps = dict[tuple[int, str, str], Floats]  # (hop, to, from) -> [K, K]; `own` is the node itself


def trained(graph: Graph, z: Floats, depth: int, seed: int) -> Floats:
    """[M, K] profiles after training; arguments as `train`."""
    from routewright.profiles.vectors import unit

    return unit(hops(graph, graph.start(z, seed), train(graph, z, depth, seed), depth)[-1]["model"])


def hops(graph: Graph, start: Mapping[str, Floats], maps: Maps, depth: int) -> list[dict[str, Floats]]:
    """Every node's vector after 0 to `depth` hops, nothing hidden."""
    out = [dict(start)]
    for hop in range(depth):
        now = out[-1]
        out.append(
            {
                kind: np.tanh(
                    own @ maps[hop, kind, "own"]
                    + sum(w @ (now[to] @ maps[hop, kind, to]) for to, w in graph.weights[kind].items())
                )
                for kind, own in now.items()
            }
        )
    return out


def train(graph: Graph, z: Floats, depth: int, seed: int) -> Maps:
    """The maps of every hop.

    Args:
        graph: Of the training part of a table.
        z: [Q, K] vectors of its queries.
        depth: Hops, 1 to 4.
        seed: Of the start and of what is hidden when.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("Training profiles", "torch", "train") from None

    dice = torch.Generator().manual_seed(seed)
    k = z.shape[1]
    start = {kind: torch.tensor(rows, dtype=torch.float32) for kind, rows in graph.start(z, seed).items()}
    weights = {
        kind: {to: torch.tensor(w, dtype=torch.float32) for to, w in kinds.items()}
        for kind, kinds in graph.weights.items()
    }
    spread = max(float(graph.edges.std()), 1e-6)
    wanted = torch.tensor(graph.edges / spread, dtype=torch.float32)
    maps = {
        (hop, kind, to): (
            torch.eye(k) * (1.0 if to == "own" else 0.5) + 0.05 * torch.randn(k, k, generator=dice)
        ).requires_grad_()
        for hop in range(depth)
        for kind in weights
        for to in ("own", *weights[kind])
    }

    def run(first: dict[str, torch.Tensor], seen: torch.Tensor) -> dict[str, torch.Tensor]:
        now = first
        for hop in range(depth):
            after = {}
            for kind, own in now.items():
                total = own @ maps[hop, kind, "own"]
                for to, w in weights[kind].items():
                    if {kind, to} == {"model", "query"}:
                        w = w * (seen if kind == "query" else seen.T)
                    total = total + w @ (now[to] @ maps[hop, kind, to])
                after[kind] = torch.tanh(total)
            now = after
        return now

    steps = torch.optim.Adam(list(maps.values()), lr=_RATE)
    for _ in range(_STEPS):
        seen = (torch.rand(wanted.shape, generator=dice) >= _HIDE_EDGES).float()
        blank = torch.rand(len(z), generator=dice) < _HIDE_QUERIES
        first = {**start, "query": start["query"] * (~blank)[:, None]}
        end = run(first, seen)
        gap = start["query"] @ end["model"].T / k - wanted
        loss = (gap**2 * (1 - seen)).sum() / (1 - seen).sum().clamp(min=1)
        loss = loss + ((end["query"] - start["query"])[blank] ** 2).sum() / (k * blank.sum().clamp(min=1))
        steps.zero_grad()
        loss.backward()
        steps.step()
    return {name: weight.detach().double().numpy().astype(np.float64) for name, weight in maps.items()}
