"""Profiles for routers: which designs exist, who belongs to whom, and what hops gather."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from routewright.outcomes import Outcomes
from routewright.profiles.vectors import Graph, RouteProfile, designs, domain, family, texts, vectors


def test_there_are_fourteen_designs_and_each_has_a_name() -> None:
    assert len(designs()) == len({d.name for d in designs()}) == 14
    for wrong in (
        {"form": "flat"},
        {"depth": 0},
        {"representation": "index"},
        {"representation": "text", "learning": "masked"},
        {"depth": 5},
    ):
        with pytest.raises(ValidationError):
            RouteProfile(**wrong)  # type: ignore[arg-type]


def test_families_and_domains_go_by_exact_name() -> None:
    assert family("gpt-4o-2024-05-13") == family("gpt-4o-mini-2024-07-18") != family("gpt-4-0314")
    assert family("nobody's model") == "nobody's model"
    assert domain("gsm8k", "x") == "mathematics"
    assert domain("a task nobody knows", "its set") == "its set"


def test_hops_bring_models_of_one_kind_together(outcomes: Outcomes) -> None:
    """Two models with equal outcomes end nearer to each other than to one with opposite outcomes."""
    few = outcomes.take(range(60)).with_models(outcomes.models[:3])
    few.quality[:, 0] = few.quality[:, 1] = np.arange(60) % 2
    few.quality[:, 2] = 1 - few.quality[:, 0]
    z = np.random.default_rng(0).normal(size=(60, 8))
    for depth in (1, 2, 3, 4):
        p = vectors(RouteProfile(depth=depth), Graph(few), z, 0)
        assert p.shape == (3, 8)
        assert p[0] @ p[1] > p[0] @ p[2]


def test_texts_grow_with_depth_and_name_the_model(outcomes: Outcomes) -> None:
    few = outcomes.take(range(60))
    graph = Graph(few)
    said = [texts(RouteProfile(form="flat", representation="text", depth=0), few, graph)]
    said += [texts(RouteProfile(representation="text", depth=d), few, graph) for d in (1, 2)]
    for m, name in enumerate(few.models):
        assert all(name in t[m] for t in said)
        assert len(said[0][m]) < len(said[1][m]) < len(said[2][m])
