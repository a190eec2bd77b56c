"""A model that joins a graph of profiles: the known ones stay, and with all its edges it lands where it would have been."""

from __future__ import annotations

import numpy as np
import pytest

from routewright.errors import RoutewrightError
from routewright.outcomes import Outcomes
from routewright.profiles.joining import Joining
from routewright.profiles.vectors import Graph, RouteProfile, vectors
from tests.extras import needs


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a @ b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture
def world(outcomes: Outcomes) -> tuple[Outcomes, np.ndarray]:
    few = outcomes.take(range(80))
    return few, np.random.default_rng(0).normal(size=(80, 8))


@pytest.fixture(params=["free", "masked"])
def config(request: pytest.FixtureRequest) -> RouteProfile:
    if request.param == "masked":
        needs("torch", "train")
    return RouteProfile(learning=request.param)


def test_known_models_are_what_they_were(world: tuple[Outcomes, np.ndarray], config: RouteProfile) -> None:
    table, z = world
    graph = Graph(table)
    joining = Joining(config, graph, z, 3)
    np.testing.assert_allclose(joining.profiles, vectors(config, graph, z, 3), atol=1e-9)


def test_probes_bring_a_newcomer_to_its_twin(world: tuple[Outcomes, np.ndarray], config: RouteProfile) -> None:
    """A new model that answers like a known one is nearer to it than without probes, and nearer than to its opposite."""
    table, z = world
    table.quality[:, 0] = np.arange(80) % 2
    table.quality[:, 1] = 1 - table.quality[:, 0]
    joining = Joining(config, Graph(table), z, 3)
    usual = table.quality.mean(axis=1)
    rows = np.arange(60)
    none = joining.profile("a stranger", rows[:0], table.quality[:0, 0], usual)[0]
    many = joining.profile("a stranger", rows, table.quality[rows, 0], usual)[0]
    twin, opposite = joining.profiles[:2]
    assert cosine(many, twin) > cosine(none, twin) + 0.1
    assert cosine(many, twin) > cosine(many, opposite) + 0.1


def test_without_probes_a_family_is_all_that_is_known(world: tuple[Outcomes, np.ndarray]) -> None:
    table, z = world
    joining = Joining(RouteProfile(), Graph(table), z, 3)
    usual = table.quality.mean(axis=1)
    nobody = np.zeros(0, dtype=np.int64), np.zeros(0)
    kin = table.models[0]  # unlisted models are families of their own, so its name is its family
    a, b = (joining.profile(name, *nobody, usual) for name in (kin, "a stranger"))
    assert not np.allclose(a, b)
    flat = Joining(RouteProfile(form="flat", representation="index", depth=0), Graph(table), z, 3)
    assert np.allclose(flat.profile(kin, *nobody, usual), flat.profile("a stranger", *nobody, usual))


def test_texts_are_not_read(world: tuple[Outcomes, np.ndarray]) -> None:
    table, z = world
    with pytest.raises(RoutewrightError, match="index or an embedding"):
        Joining(RouteProfile(representation="text"), Graph(table), z, 0)
