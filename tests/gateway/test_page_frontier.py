"""The frontier on the page: from a report of `evaluate`, and what becomes of anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routewright.errors import ConfigError
from routewright.gateway.app import build_app
from routewright.gateway.page.frontier import read_frontier
from routewright.gateway.settings import check_settings
from tests.evaluate.test_page import report as real_report
from tests.gateway.test_page import EVIL, asked
from tests.gateway.world import Running, listening

POOL = '[providers.up]\nkind = "echo"\n[[models]]\nname = "small"\nprovider = "up"\nusd_per_mtok_in = 1\nusd_per_mtok_out = 2\n'


def point(cost: float, quality: float, **more: Any) -> dict[str, Any]:
    return {"cost_usd": cost, "quality": quality, **more}


def table(queries: int, *policies: str) -> dict[str, Any]:
    curve = [
        point(c, q, value_usd=c, quality_low=q - 0.02, quality_high=q + 0.02)
        for c, q in ((1e-5, 0.4), (1e-4, 0.7), (1e-3, 0.8))
    ]
    interval = {"quality": {"mean": 0.9}, "cost_usd": {"mean": 5e-5}}
    return {
        "queries": queries,
        "comparisons": {"reference": policies[0]},
        "policies": {name: {"frontier": curve} for name in policies},
        "singles": [{"model": EVIL, **point(1e-5, 0.4)}, {"model": "dear", **point(1e-3, 0.75)}],
        "controls": {"line": [point(1e-5, 0.4), point(1e-3, 0.75)], "oracle": interval, "task_oracle": interval},
    }


def report(folder: Path, **tables: Any) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps({"tables": tables, "made": {"date": "2026-01-02"}}))
    return path


def test_the_largest_table_is_drawn_for_the_policy_that_serves(tmp_path: Path) -> None:
    path = report(tmp_path, few=table(10, "ridge"), many=table(500, "ridge", "knn"))
    found = read_frontier(path, "knn")
    assert (found.policy, found.table, found.queries, found.singles, found.date) == (
        "knn",
        "many",
        500,
        2,
        "2026-01-02",
    )
    assert found.svg.count('class="curve"') == 1
    assert "<script>" not in found.svg
    assert "&lt;script&gt;" in found.svg
    assert read_frontier(path, "decompose").policy == "ridge", "the reference, where it was not judged"


def test_a_real_report_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(real_report(2, True)))
    found = read_frontier(path, "task_mean")
    assert (found.policy, found.table, found.queries, found.singles, found.date) == (
        "task_mean",
        "stream",
        120,
        3,
        "2025-01-01",
    )
    assert "<script>" not in found.svg


def test_the_page_shows_it(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text(POOL)
    report(tmp_path, many=table(500, "ridge"))
    values = {"pool": "pool.toml", "coordinators": {"auto": {"policy": "vote", "report": "report.json"}}}
    with listening(build_app(check_settings(values, "here"), tmp_path)) as url:
        text = asked(Running(None, url)).text  # type: ignore[arg-type]
    assert '<svg class="plot"' in text
    assert "on 500 recorded queries of many" in text
    assert "What serves is vote, which this report does not judge." in text
    assert "No frontier is known" not in text
    assert "<script>alert" not in text


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"tables": {}}', '{"tables": {"t": {"queries": 1}}}', '{"tables": {"t": 1}}']
)
def test_what_is_no_report_is_refused_at_the_start(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    (tmp_path / "pool.toml").write_text(POOL)
    values = {"pool": "pool.toml", "coordinators": {"auto": {"policy": "single", "report": "report.json"}}}
    with pytest.raises(ConfigError, match=r"Expected report\.json of `routewright evaluate`"):
        build_app(check_settings(values, "here"), tmp_path)


def test_a_report_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can not be read"):
        read_frontier(tmp_path / "none.json")
