"""The scorers there are, in the order they are listed to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.scorers.base import Scorer

SCORERS: Table[type[Scorer]] = Table(
    "policy",
    {
        "routewright": "routewright.scorers.routewright:Routewright",
        "fixed": "routewright.scorers.fixed:Fixed",
        "random": "routewright.scorers.random:Random",
        "cheapest": "routewright.scorers.cheapest:Cheapest",
        "blind": "routewright.scorers.blind:Blind",
        "task_mean": "routewright.scorers.task_mean:TaskMean",
        "kmeans": "routewright.scorers.kmeans:KMeans",
        "knn": "routewright.scorers.knn:KNN",
        "ridge": "routewright.scorers.ridge:Ridge",
        "mlp": "routewright.scorers.mlp:MLP",
        "mf": "routewright.scorers.mf:MF",
        "irt": "routewright.scorers.irt:IRT",
        "graph": "routewright.scorers.graph:Graph",
        "profiled": "routewright.scorers.profiled:Profiled",
        "graphrouter": "routewright.scorers.graphrouter:GraphRouter",
        "elo": "routewright.scorers.elo:Elo",
        "gbdt": "routewright.scorers.gbdt:GBDT",
    },
)
