"""Reliability: the error of known forecasts, that calibration repairs and never peeks, and the page."""

from __future__ import annotations

import numpy as np
import pytest

from routewright.evaluate.calibration import FINE, block, calibrated, count
from routewright.evaluate.crossfit import Unit
from routewright.evaluate.page import render
from routewright.evaluate.report import build
from routewright.evaluate.run import evaluate
from routewright.evaluate.schema import check_report
from routewright.evaluate.settings import Part, Settings
from tests.evaluate.test_report import outcomes


def error(counts: np.ndarray) -> float:
    said = block([counts])
    assert said is not None
    assert isinstance(said["error"], float)
    return said["error"]


def test_the_error_of_known_forecasts() -> None:
    """Half of the forecasts say 0.95 and come true 7 times in 10, half say 0.15 and come true never."""
    forecast = np.repeat([0.95, 0.15], 10)
    outcome = np.r_[np.repeat([1.0, 0.0], [7, 3]), np.zeros(10)]
    assert error(count(forecast, outcome)) == pytest.approx((0.25 + 0.15) / 2)
    assert error(count(outcome, outcome)) == 0
    assert block([np.zeros((3, FINE))]) is None


def test_counts_add_up_whatever_the_shape() -> None:
    rng = np.random.default_rng(0)
    f, y = rng.random((50, 4)), rng.random((50, 4))
    np.testing.assert_allclose(count(f, y).sum(axis=1), [200, f.sum(), y.sum()])
    np.testing.assert_allclose(count(f[:20], y[:20]) + count(f[20:], y[20:]), count(f, y))


def test_overconfident_forecasts_are_put_right() -> None:
    """True chances p, forecasts pushed away from 0.5: the error falls from about 0.14 to below 0.02 on other draws."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 0.8, (2, 20_000))
    y = (rng.random(p.shape) < p).astype(float)
    f = np.clip(0.5 + 2 * (p - 0.5), 0, 1)
    seen, told = count(f[0], y[0]), count(f[1], y[1])
    after = calibrated(seen, told)
    assert error(told) > 0.1
    assert error(after) < 0.02
    np.testing.assert_allclose(after[[0, 2]].sum(axis=1), told[[0, 2]].sum(axis=1))


def test_calibration_never_reads_the_test_outcomes() -> None:
    rng = np.random.default_rng(1)
    f, y = rng.random(500), (rng.random(500) < 0.5).astype(float)
    seen = count(rng.random(500), y)
    one, other = (calibrated(seen, count(f, truth)) for truth in (y, 1 - y))
    np.testing.assert_array_equal(one[:2], other[:2])


def test_report_and_page_have_it_resumed_or_not(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings(policies=(Part(kind="ridge"),), seeds=1, folds=3, draws=20, jobs=1)
    units, work = [Unit("sums", outcomes("sums", 0))], tmp_path_factory.mktemp("work")
    made = {"command": "routewright evaluate", "date": "2025-01-01", "device": "a test"}
    first, again = (build(settings, evaluate(units, settings, work), None, [], made) for _ in range(2))
    check_report(first)
    said = first["tables"]["sums"]["policies"]["ridge"]["calibration"]  # type: ignore[index]
    assert said == again["tables"]["sums"]["policies"]["ridge"]["calibration"]  # type: ignore[index]
    for name in ("before", "after"):
        assert sum(p["share"] for p in said[name]["points"]) == pytest.approx(1)
        assert 0 <= said[name]["error"] < 0.5
    page = render(first)
    assert "Do forecasts come true?" in page
    assert page.count('class="before"') >= len(said["before"]["points"])
