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
    pages = ["sim-coder.md", "sim-encyclopedia.md", "sim-large.md", "sim-small.md"]
    assert files == ["descriptions.toml", "index.md", "profiles.json", *pages]
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


def test_descriptions_are_what_r1_takes(tmp_path: Path, cli: Callable[..., Any]) -> None:
    import tomllib

    from routewright.policies.base import build_policy

    assert cli("profile", "src/routewright/data/simulated.parquet", "--out", tmp_path / "p").code == 0
    told = tomllib.loads((tmp_path / "p" / "descriptions.toml").read_text())
    policy = build_policy("r1", {"router": "sim-large", **told})
    said = policy.config.descriptions  # type: ignore[attr-defined]
    assert said["sim-encyclopedia"].startswith("scores 45% on 600 queries, 0.073 USD per 1,000 queries; good at facts")
    assert "weak at" not in said["sim-large"]
