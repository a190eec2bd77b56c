"""`routewright profile` from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_pages_are_written(cli: Callable[..., Any], small_table: Path, tmp_path: Path) -> None:
    ran = cli("profile", small_table, "--out", tmp_path / "p", "--examples", "1")
    assert ran.code == 0, ran.err
    assert "sim-coder" in ran.out
    files = sorted(p.name for p in (tmp_path / "p").iterdir())
    assert files == ["index.md", "profiles.json", "sim-coder.md", "sim-encyclopedia.md", "sim-large.md", "sim-small.md"]
    told = json.loads((tmp_path / "p" / "profiles.json").read_text())
    assert [m["place"] for m in told["models"]] == [1, 2, 3, 4]
    assert told["models"][0]["latency_s"] is None
    listed = (tmp_path / "p" / "index.md").read_text()
    assert all(f"]({name})" in listed for name in files if name.startswith("sim-"))


def test_refused(cli: Callable[..., Any], small_table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cli("profile", small_table, "--out", tmp_path / "file").code == 2
    ran = cli("profile", small_table, "--out", tmp_path / "p", "--models", "sim-large")
    assert (ran.code, "at least 2" in ran.err) == (2, True)
    ran = cli("profile", small_table, "--out", tmp_path / "p", "--models", "nobody")
    assert (ran.code, "nobody" in ran.err) == (2, True)
