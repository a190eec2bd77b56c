"""Choosing probes."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from routewright.errors import UnknownName
from routewright.profiles.abilities import fit_abilities, prior
from routewright.profiles.design import Design, choose_probes
from tests.profiles.worlds import made

WHOLE = made()
AT = fit_abilities(WHOLE.quality, 2)


def chosen(design: Any, n: int = 30, free: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    open_ = np.ones(len(WHOLE), dtype=bool) if free is None else free
    return choose_probes(AT, prior(AT), open_, n, design, np.random.default_rng(seed), WHOLE.strata)


@pytest.mark.parametrize("design", get_args(Design))
def test_every_design_chooses_free_queries_once(design: Design) -> None:
    free = np.arange(len(WHOLE)) % 2 == 0
    rows = chosen(design, 50, free)
    assert len(set(rows.tolist())) == 50
    assert free[rows].all()
    assert rows.tolist() == chosen(design, 50, free).tolist()
    assert len(chosen(design, 10_000, free)) == free.sum()


def test_an_unknown_design() -> None:
    with pytest.raises(UnknownName, match="adaptive"):
        chosen("adaptiv")


def test_stratified_probes_are_in_proportion() -> None:
    rows = chosen("stratified", 30)
    assert sorted(np.bincount(rows % 3).tolist()) == [10, 10, 10]


def left_over(rows: np.ndarray) -> float:
    """log det of what is not known of the abilities after probes there, at the prior's forecasts."""
    belief = prior(AT)
    p = belief.quality(AT)
    a = AT.loads[rows]
    return -float(np.linalg.slogdet(np.linalg.inv(belief.cov) + (a * (p * (1 - p))[rows, None]).T @ a)[1])


def test_informative_probes_leave_less_unknown_than_random_ones() -> None:
    random = np.mean([left_over(chosen("random", 20, seed=s)) for s in range(20)])
    assert left_over(chosen("information", 20)) < random - 1.0  # seen: 2.0 below
    assert left_over(chosen("adaptive", 20)) < random - 0.5


def test_a_third_of_adaptive_probes_is_drawn() -> None:
    assert len({tuple(chosen("adaptive", 12, seed=s)[2::3].tolist()) for s in range(5)}) == 5
