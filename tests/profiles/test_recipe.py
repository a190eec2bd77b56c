"""Seeds of the recipes over cut tables are kept: an interrupted run goes on and ends as an uninterrupted one."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routewright.outcomes import Outcomes

RECIPE = Path(__file__).parents[2] / "recipes" / "route_profile"


@pytest.fixture
def cut() -> Iterator[Any]:
    sys.path.insert(0, str(RECIPE))
    try:
        yield importlib.import_module("cut")
    finally:
        sys.path.remove(str(RECIPE))
        sys.modules.pop("cut", None)


def test_finished_seeds_are_not_measured_again(cut: Any, outcomes: Outcomes, tmp_path: Path) -> None:
    ran: list[int] = []

    def run(seed: int) -> dict[str, np.ndarray]:
        if seed == 2 and len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(seed)
        return {"a: label": np.random.default_rng(seed).random(5)}

    given = argparse.Namespace(out=tmp_path, seeds=3)
    with pytest.raises(KeyboardInterrupt):
        cut.seeds(outcomes, given, run)
    assert ran == [0, 1]
    ran.append(-1)
    found = cut.seeds(outcomes, given, run)
    assert ran == [0, 1, -1, 2]
    for seed, kept in enumerate(found):
        np.testing.assert_array_equal(kept["a: label"], np.random.default_rng(seed).random(5))
    assert not list(tmp_path.rglob("*.part"))


def test_another_cut_is_another_file(cut: Any, outcomes: Outcomes, tmp_path: Path) -> None:
    given = argparse.Namespace(out=tmp_path, seeds=1)
    for table in (outcomes, outcomes.take(range(40))):
        found = cut.seeds(table, given, lambda seed, table=table: {"n": np.array(len(table))})
        assert int(found[0]["n"]) == len(table)
