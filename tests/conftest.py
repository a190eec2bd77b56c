"""Shared by all tests: one small simulated table, and the command line run in this process."""
# ruff: noqa: E402

from __future__ import annotations

import os

# Before NumPy comes in: on small arrays and a busy machine, BLAS threads mostly wait for each other (2.5 times the CPU).
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from routewright.outcomes import COLUMNS, Outcomes, load
from routewright.outcomes.simulated import simulate
from routewright.outcomes.table import write
from tests.extras import needs
from tests.servers import Server, postgresql

MODELS = ("sim-coder", "sim-encyclopedia", "sim-large", "sim-small")


@pytest.fixture(scope="session")
def rows() -> pl.DataFrame:
    """120 queries x 4 models of the simulated pool, the columns of the schema alone."""
    frame = simulate(120).filter(pl.col("model").is_in(MODELS))
    return frame.select([name for name in COLUMNS if name in frame.columns])


@pytest.fixture(scope="session")
def small_table(rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those rows as a file; not to be changed."""
    path = tmp_path_factory.mktemp("tables") / "small.parquet"
    write(rows, path)
    return path


@pytest.fixture(scope="session")
def outcomes(small_table: Path) -> Outcomes:
    return load(small_table)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, one for all tests of a session; take a prefix of your own, and do not stop it."""
    needs("psycopg", "postgres")
    with postgresql() as server:
        yield server


@dataclass(frozen=True)
class Ran:
    """What one command line ended with."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `routewright ARGUMENTS` through its entry point; anything but an orderly end raises."""
    from routewright.cli import main

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["routewright", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run
