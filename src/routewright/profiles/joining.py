"""The profile of a model that no training saw: one more node of a graph that stays as it was.

    free     h'[new] = unit( h[new] + mean over kinds of w[new, :] h )
    masked   h'[new] = tanh( h[new] W_own + sum over kinds of w[new, :] h W_kind )       the maps as they were trained

The newcomer hears its neighbours and tells them nothing, so the known models keep their profiles, and a router fitted on
those reads the new one as it is. Its edges are its probes, r[q] = quality[q] - mean of the known models on q, the means
of those by task, and its family where somebody there is of it. Without probes only the family and its own random vector speak.

Called by the recipe that leaves models out of trained profiles. Not here: profiles in words; forecasts from abilities,
which `onboard` uses (`newcomer.py`).

Reference: RouteProfile, arXiv:2605.00180, on models added later.
"""

from __future__ import annotations

import numpy as np

from routewright.errors import RoutewrightError
from routewright.profiles.vectors import Graph, RouteProfile, family, index, unit
from routewright.types import Floats, Ints


class Joining:
    """A graph of known models, its nodes after every hop, and what one more model would be there.

    Args:
        config: An index or an embedding; texts are not read here.
        graph: Of the training part of the known models.
        z: [Q, K] vectors of its queries.
        seed: Of indices and of training.
    """

    def __init__(self, config: RouteProfile, graph: Graph, z: Floats, seed: int) -> None:
        if config.representation == "text":
            raise RoutewrightError(
                "A profile in words is written by `texts`, from a table. Expected an index or an embedding."
            )
        self.graph = graph
        self.maps = None
        start = graph.start(z, seed)
        if config.learning == "masked":
            from routewright.profiles.masked import hops, train

            self.maps = train(graph, z, config.depth, seed)
            self.nodes = hops(graph, start, self.maps, config.depth)
        else:
            self.nodes = graph.hops(start, config.depth)
        self.own = index(len(graph.models) + 1, z.shape[1], seed)[-1:]

    @property
    def profiles(self) -> Floats:
        """[M, K] of the known models, as `vectors` makes them."""
        return unit(self.nodes[-1]["model"])

    def profile(self, model: str, probed: Ints, quality: Floats, usual: Floats) -> Floats:
        """[1, K] of one more model.

        Args:
            model: Its name, which tells its family.
            probed: [N] rows of the training part that it answered; may be empty.
            quality: [N] what it scored there.
            usual: [Q] mean of the known models on each query.
        """
        weights = self._weights(model, probed, quality - usual[probed])
        own = self.own
        for hop, now in enumerate(self.nodes[:-1]):
            if self.maps is None:
                own = unit(own + np.mean([w @ now[to] for to, w in weights.items()], axis=0))
            else:
                sent = sum(w @ (now[to] @ self.maps[hop, "model", to]) for to, w in weights.items())
                own = np.tanh(own @ self.maps[hop, "model", "own"] + sent)
        return unit(own)

    def _weights(self, model: str, probed: Ints, edges: Floats) -> dict[str, Floats]:
        """The newcomer's rows of the graph's weights, each [1, nodes]; absolute sums are 1 or 0."""
        to_query = np.zeros((1, len(self.graph.edges)))
        to_query[0, probed] = edges
        task = self.graph.task[probed]
        count = np.bincount(task, minlength=len(self.graph.tasks))
        to_task = np.bincount(task, edges, len(self.graph.tasks)) / np.maximum(count, 1)
        kin = np.array([[f == family(model) for f in self.graph.families]], dtype=np.float64)
        rows = {"query": to_query, "task": to_task[None], "family": kin}
        for name, w in rows.items():
            total = np.abs(w).sum()
            rows[name] = w / total if total > 1e-12 else np.zeros_like(w)
        return rows
