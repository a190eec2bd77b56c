"""`profiled`: a model is known by its profile alone, built from the training part by RouteProfile's dimensions.

    z = (x - mean) V / s                    query vectors in K principal directions of the training part
    quality[q, m] = router(z[q], profile[m])                       router: sim, mlp or graph (`pairs.py`)

Which profile: `profiles/vectors.py`. Where it is text, queries and profiles are read by a hashing encoder of this scorer's
own, fitted on both, for the words of profiles occur in no query. Serving needs NumPy alone, whatever the design.

Reference: RouteProfile, arXiv:2605.00180.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Arrays, Encoder, Meta, build_encoder, restore_encoder
from routewright.outcomes.arrays import Outcomes
from routewright.profiles.vectors import Graph, RouteProfile, texts, unit, vectors
from routewright.scorers.base import Scorer
from routewright.scorers.pairs import Kind, fit, forecast
from routewright.types import Floats, Query


class ProfiledConfig(Config):
    """Options of `profiled`."""

    profile: RouteProfile = Field(RouteProfile(), description="what a model's profile is made of")
    router: Kind = Field("graph", description="what reads it: sim, mlp or graph")
    width: int = Field(32, ge=1, description="principal directions of the queries kept")


class Space:
    """Where queries and profiles meet: the principal directions of the training queries, scaled to entries of size 1."""

    def __init__(self, centre: Floats, axes: Floats, encoder: Encoder | None = None) -> None:
        self.centre, self.axes, self.encoder = centre, axes, encoder

    @classmethod
    def fit(cls, x: Floats, width: int, encoder: Encoder | None = None) -> Space:
        centre = x.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(x - centre, rowvar=False, bias=True).reshape(x.shape[1], x.shape[1]))
        axes = axes[:, ::-1][:, :width]
        scale = float(np.sqrt(max(values[::-1][:width].mean(), 1e-12)))
        return cls(centre, axes / scale if scale > 1e-5 else 0.0 * axes, encoder)

    def rows(self, x: Floats) -> Floats:
        out: Floats = (x - self.centre) @ self.axes
        return out

    def queries(self, queries: Sequence[Query], x: Floats) -> Floats:
        """[Q, K]; `x` are the vectors of the comparison's encoder, not read where this space has its own."""
        if self.encoder is None:
            return self.rows(x)
        return self.rows(self.encoder.encode([q.text for q in queries]).astype(np.float64))


def sides(
    profile: RouteProfile, table: Outcomes, graph: Graph, x: Floats, width: int, seed: int
) -> tuple[Space, Floats, Floats]:
    """The space, the training queries [Q, K] and the profiles [M, K] in it."""
    if profile.representation != "text":
        space = Space.fit(x, width)
        z = space.rows(x)
        return space, z, vectors(profile, graph, z, seed)
    said = texts(profile, table, graph)
    encoder = build_encoder("hashing")
    asked = [q.text for q in table.queries]
    encoder.fit([*asked, *said])
    own = encoder.encode(asked).astype(np.float64)
    space = Space.fit(own, width, encoder)
    return space, space.rows(own), unit(space.rows(encoder.encode(said).astype(np.float64)))


class Profiled(Scorer):
    """Profiles and a router that reads them; see the module."""

    Config = ProfiledConfig
    kind: ClassVar[str] = "profiled"
    summary: ClassVar[str] = "models known by their profiles alone (RouteProfile)"
    config: ProfiledConfig

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        profile, graph = self.config.profile, Graph(outcomes)
        self._space, z, self._profiles = sides(profile, outcomes, graph, x, self.config.width, self.seed)
        self._p = fit(self.config.router, z, self._profiles, outcomes.quality, self.seed)
        self._std = outcomes.quality.std(axis=0)

    def _quality(self, queries: Sequence[Query], x: Floats) -> tuple[Floats, Floats]:
        z = self._space.queries(queries, x)
        if not len(z):
            return np.zeros((0, len(self.models))), self._std
        return forecast(self.config.router, self._p, z, self._profiles), self._std

    def _state(self) -> tuple[Arrays, Meta]:
        mine: Arrays = {
            "profiles": self._profiles,
            "std": self._std,
            "centre": self._space.centre,
            "axes": np.ascontiguousarray(self._space.axes),
            **{f"router.{k}": np.atleast_1d(v) for k, v in self._p.items()},
        }
        if self._space.encoder is None:
            return mine, {}
        arrays, meta = self._space.encoder.state()
        return {**mine, **{f"encoder.{k}": v for k, v in arrays.items()}}, {"encoder": meta}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        def under(prefix: str) -> dict[str, NDArray[Any]]:
            return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

        encoder = restore_encoder("hashing", under("encoder."), meta["encoder"]) if "encoder" in meta else None
        self._space = Space(arrays["centre"], arrays["axes"], encoder)
        self._profiles, self._std = arrays["profiles"], arrays["std"]
        self._p = under("router.")
