"""What every importer owes, checked for each name of the table.

A format's cases stand in `fixtures/<format>/case.toml` beside the files themselves.
"""

from __future__ import annotations

import gzip
import hashlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from routewright.errors import ConfigError, RoutewrightError
from routewright.outcomes import COLUMNS, load, read
from routewright.outcomes.importers import IMPORTERS, ImportConfig, import_outcomes

FIXTURES = Path(__file__).parent / "fixtures"
CASES = {kind: tomllib.loads((FIXTURES / kind / "case.toml").read_text())["case"] for kind in IMPORTERS}
EVERY_CASE = [pytest.param(kind, case, id=f"{kind}-{i}") for kind in IMPORTERS for i, case in enumerate(CASES[kind])]
SUFFIX = {"uniform": ".parquet", "routerbench": ".pkl", "llmrouterbench": ".json", "llmrouter": ".jsonl"}


def options_of(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    options = dict(case.get("options", {}))
    for name in ("prices", "mapping"):
        if name in options:
            options[name] = folder / options[name]
    return options


def digest(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(str(p).encode() + p.read_bytes() for p in files)).hexdigest()


@pytest.mark.parametrize(("kind", "case"), EVERY_CASE)
def test_a_case_gives_the_table_it_promises(
    kind: str, case: dict[str, Any], fixture_copy: Callable[..., Path], tmp_path: Path
) -> None:
    folder = fixture_copy(kind, case.get("build"))
    before = digest(folder)
    out = tmp_path / "out" / "table.parquet"
    summary = import_outcomes(kind, folder / case["path"], out, options_of(case, folder))
    assert digest(folder) == before, "the source changed"
    assert "\n" not in str(summary)
    assert [p.name for p in out.parent.iterdir()] == ["table.parquet"]

    table = read(out).frame.collect()
    assert table.columns == list(COLUMNS)
    assert (summary.rows, summary.queries, summary.models) == (case["rows"], case["queries"], len(case["models"]))
    assert table.height == case["rows"]
    assert table["score"].sum() == pytest.approx(case["score_sum"])
    if "cost_usd_sum" in case:
        assert table["cost_usd"].sum() == pytest.approx(case["cost_usd_sum"])
    wanted = case["row"]
    keys = [pl.col(name) == wanted[name] for name in ("query_id", "query", "model") if name in wanted]
    (row,) = table.filter(*keys[:2] if "query_id" not in wanted else keys).rows(named=True)
    for name, value in wanted.items():
        assert row[name] == (pytest.approx(value) if isinstance(value, float) else value), name

    dense = load(out)
    assert sorted(dense.models) == case["models"]
    assert dense.quality.shape == (case["queries"], len(case["models"]))
    assert np.isfinite(dense.cost_usd).all()
    assert dense.score_kind == case["kind"]


@pytest.mark.parametrize("kind", IMPORTERS)
def test_the_same_input_gives_the_same_table(kind: str, fixture_copy: Callable[..., Path], tmp_path: Path) -> None:
    case = CASES[kind][0]
    folder = fixture_copy(kind, case.get("build"))
    for name in ("a.parquet", "b.parquet"):
        import_outcomes(kind, folder / case["path"], tmp_path / name, options_of(case, folder))
    assert pl.read_parquet(tmp_path / "a.parquet").equals(pl.read_parquet(tmp_path / "b.parquet"))


@pytest.mark.parametrize("kind", IMPORTERS)
def test_options_are_frozen_and_unknown_ones_refused(kind: str) -> None:
    config = IMPORTERS.load(kind).Config
    assert issubclass(config, ImportConfig)
    assert config.model_config["frozen"]
    with pytest.raises(ConfigError, match="Unknown key 'pries'"):
        import_outcomes(kind, "nowhere", "out.parquet", {"pries": 1})


HOSTILE: dict[str, bytes | None] = {
    "missing": None,
    "empty file": b"",
    "empty folder": None,
    "folder of others": None,
    "binary junk": bytes(range(256)) * 40,
    "zeros": bytes(5000),
    "gzip": gzip.compress(bytes(10_000_000)),
    "zip": b"PK\x03\x04" + bytes(60),
    "text": b"hello, world\nthis is no table\n",
    "byte order mark alone": b"\xef\xbb\xbf",
    "deep": b"[" * 200_000,
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("kind", IMPORTERS)
def test_hostile_input_ends_in_one_line_and_leaves_nothing(
    kind: str, what: str, fixture_copy: Callable[..., Path], tmp_path: Path
) -> None:
    folder = fixture_copy(kind)
    path = folder / ("bad" + SUFFIX.get(kind, ".csv"))
    content = HOSTILE[what]
    if content is not None:
        path.write_bytes(content)
    elif "folder" in what:
        path.mkdir()
        if what == "folder of others":
            (path / "notes.txt").write_text("hello")
    out = tmp_path / "out" / "table.parquet"
    with pytest.raises(RoutewrightError) as caught:
        import_outcomes(kind, path, out, options_of(CASES[kind][0], folder))
    message = str(caught.value)
    assert "\n" not in message.strip()
    assert len(message) < 700
    assert str(path) in message
    assert ".part" not in message
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.mark.parametrize("kind", IMPORTERS)
def test_a_failed_import_keeps_the_table_that_was_there(
    kind: str, fixture_copy: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    out.write_text("an older table")
    with pytest.raises(RoutewrightError):
        import_outcomes(kind, fixture_copy(kind) / "nowhere", out, options_of(CASES[kind][0], FIXTURES / kind))
    assert out.read_text() == "an older table"
