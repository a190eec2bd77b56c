"""`hops` told more: each model's profile beside what its head already looks at. Controls for `trainers.py`.

ByProfile   the structured embedding of RouteProfile, 2 hops, of the queries the classes were fitted on: where a model is
            better than others, as a direction among texts
ByIndex     a random vector of as many numbers in its place: tells models apart, and nothing else

A head reads them as further features of the action that asks the model. It knows what a profile's score and cost say from the
classes (`right` and `cost_usd` before any reply), and reads no text, so there is no query to hold a direction against.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from routewright.encoders import build_encoder
from routewright.outcomes import Outcomes
from routewright.policies import hops, hops_head
from routewright.policies.hops import Hops
from routewright.policies.hops_classes import Classes
from routewright.policies.hops_head import Head, Seen
from routewright.policies.observe import Observation
from routewright.profiles.vectors import Graph, RouteProfile, vectors
from routewright.scorers.profiled import Space
from routewright.train import rollout
from routewright.types import Floats, Ints

NUMBERS = 8  # of a profile
INDEX = RouteProfile(form="flat", representation="index", depth=0)


@dataclass(frozen=True)
class Known(Classes):
    """Classes, and [M, 8] a vector a model."""

    profile: Floats

    def take(self, columns: Ints) -> Known:
        few = super().take(columns)
        return Known(few.share, few.chance, few.right, few.cost_usd, self.profile[columns])


def look(classes: Classes, columns: Ints, obs: Observation, *given: Any) -> Seen:
    """As in `hops_head`, and the profile behind; nothing for answers."""
    seen = hops_head.look(classes, columns, obs, *given)
    assert isinstance(classes, Known)
    more = np.zeros((*seen.x.shape[:2], NUMBERS))
    more[:, : len(columns)] = classes.profile
    return replace(seen, x=np.concatenate([seen.x, more], axis=2))


@contextmanager
def wider() -> Iterator[None]:
    """Heads and their looks are wider in here."""
    policy, training = cast(Any, hops), cast(Any, rollout)
    before = policy.look, training.look, policy.FEATURES
    policy.look = training.look = look
    policy.FEATURES = hops_head.FEATURES + NUMBERS
    try:
        yield
    finally:
        policy.look, training.look, policy.FEATURES = before


class ByProfile(Hops):
    """A head that looks at profiles."""

    profile = RouteProfile(depth=2)

    def _classes(self, outcomes: Outcomes) -> Classes:
        found = super()._classes(outcomes)
        encoder = build_encoder("hashing")
        texts = [q.text for q in outcomes.queries]
        encoder.fit(texts)
        x = encoder.encode(texts).astype(np.float64)
        z = Space.fit(x, NUMBERS).rows(x)
        told = vectors(self.profile, Graph(outcomes), z, self.seed)
        return Known(found.share, found.chance, found.right, found.cost_usd, told)

    def _train(self, *given: Any) -> Head:
        with wider():
            return super()._train(*given)

    def _best(self, obs: Observation) -> Ints:
        with wider():
            return super()._best(obs)


class ByIndex(ByProfile):
    """A head that can tell models apart."""

    profile = INDEX
