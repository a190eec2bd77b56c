"""`routewright r2`: data are made from files, an interrupted run goes on, and what can not be used is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

Cli = Any
RUN = """decomposer = "small"
form = "lines"
base = "large"
levels = [["small"], ["large"]]
samples = 2
[world]
pool = "{folder}/pool.toml"
queries = "{folder}/asked.csv"
metric = "contains"
"""
POOL = """[providers.quick]
kind = "echo"
prefix = "1. "
[[models]]
name = "small"
provider = "quick"
usd_per_mtok_in = 0.1
usd_per_mtok_out = 0.4
[[models]]
name = "large"
provider = "quick"
usd_per_mtok_in = 3
usd_per_mtok_out = 15
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "pool.toml").write_text(POOL)
    (tmp_path / "asked.csv").write_text("query,reference\nWhat is red?,red\nWhat is blue?,green\n")
    (tmp_path / "run.toml").write_text(RUN.format(folder=tmp_path))
    return tmp_path


def test_plans_are_made_and_counted(files: Path, cli: Cli) -> None:
    """An echo writes the question back behind "1. ": half a plan, for the prompt has two lines."""
    ran = cli("r2", "plans", files / "run.toml", "--out", files / "data")
    assert ran.code == 0, ran.err
    assert "2 questions, 0 different plans, 4 texts refused; 0 pairs" in " ".join(ran.out.split())
    assert len((files / "data" / "plans.jsonl").read_text().splitlines()) == 2
    again = cli("r2", "plans", files / "run.toml", "--out", files / "data")
    assert again.out == ran.out
    ran = cli("r2", "allocations", files / "run.toml", "--out", files / "data")
    assert "0 subtasks x 2 models; 0 of 0 questions solved" in " ".join(ran.out.split())
    assert not list((files / "data").glob("*.parquet"))


def test_allocations_need_plans_first(files: Path, cli: Cli) -> None:
    ran = cli("r2", "allocations", files / "run.toml", "--out", files / "data")
    assert ran.code == 2
    assert "has no plans.jsonl" in ran.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('decomposer = "small"', 'decomposer = "nobody"', "nobody is not in the pool"),
        ("samples = 2", "sample = 2", "Unknown key 'sample'"),
        ('["small"], ["large"]', '["small"], ["small"]', "name a model twice"),
        ("asked.csv", "none.csv", "none.csv"),
    ],
)
def test_what_can_not_be_used_is_one_line(files: Path, cli: Cli, old: str, new: str, said: str) -> None:
    (files / "run.toml").write_text(RUN.format(folder=files).replace(old, new))
    ran = cli("r2", "plans", files / "run.toml", "--out", files / "data")
    assert ran.code == 2
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_base_model_that_is_never_sure_is_refused(files: Path, cli: Cli) -> None:
    """The plan is the echo of a prompt of one line; an echo tells no log probabilities, with which the search begins."""
    (files / "run.toml").write_text('prompt = "{question}"\n' + RUN.format(folder=files))
    assert cli("r2", "plans", files / "run.toml", "--out", files / "data").code == 0
    ran = cli("r2", "allocations", files / "run.toml", "--out", files / "data")
    assert ran.code == 2
    assert "no log probabilities" in ran.err
