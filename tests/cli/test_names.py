"""Policies under names of their own, from the configuration to the printed table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from routewright.config import parse
from routewright.errors import ConfigError
from routewright.evaluate.settings import Settings
from routewright.scorers import SCORERS

NAMED = """
policies = [
  { kind = "knn", name = "near", options = { k = 5 } },
  { kind = "task_mean", name = "labels" },
]
seeds = 1
folds = 3
draws = 20
reference = "near"
jobs = 1
"""


def test_named_policies_are_judged_printed_and_marked(
    small_table: Path, tmp_path: Path, cli: Callable[..., object]
) -> None:
    (tmp_path / "run.toml").write_text(NAMED)
    ran = cli("evaluate", str(small_table), "--config", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out"))
    assert ran.code == 0, ran.err  # type: ignore[attr-defined]
    assert "near " in ran.out  # type: ignore[attr-defined]
    assert "labels*" in ran.out  # type: ignore[attr-defined]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(report["policies"]) == {"near", "labels"}
    assert report["comparisons"]["reference"] == "near"
    assert "knn" in report["controls"]


def test_a_control_keeps_its_name() -> None:
    with pytest.raises(ConfigError, match="a control's"):
        parse(Settings, {"policies": [{"kind": "ridge", "name": "knn"}]}, "run.toml")


def test_a_table_of_names_knows_what_it_holds() -> None:
    assert "ridge" in SCORERS
    assert "near" not in SCORERS


def test_long_work_in_a_log_tells_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from routewright.cli import show

    monkeypatch.setattr(show, "_LOG_EVERY_S", 0.0)
    with show.progress("fits") as bar:
        bar(3, 7, "gsm8k")
    assert capsys.readouterr().err == "fits: 3 of 7 gsm8k\n"
    monkeypatch.setattr(show, "_LOG_EVERY_S", 60.0)
    with show.progress("fits") as bar:
        bar(3, 7, "gsm8k")
    assert capsys.readouterr().err == ""
