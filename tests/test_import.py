"""Importing does nothing: no heavy package, no file, little time. Each look is in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import routewright

HEAVY = (
    "torch",
    "starlette",
    "uvicorn",
    "aiohttp",
    "polars",
    "sklearn",
    "lightgbm",
    "scipy",
    "onnxruntime",
    "pydantic",
)
LOADED = f"import sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
MODULES = sorted(
    ".".join(("routewright", *path.relative_to(Path(routewright.__path__[0])).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in Path(routewright.__path__[0]).rglob("*.py")
)


def run(code: str, cwd: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    assert json.loads(run(f"import routewright; {LOADED}", tmp_path)) == []


def test_importing_the_package_is_quick(tmp_path: Path) -> None:
    """CPU seconds of the process, the interpreter's start included: below 0.3, best of three; 0.08 as measured."""
    code = "import routewright, os; t = os.times(); print(t.user + t.system)"
    assert min(float(run(code, tmp_path)) for _ in range(3)) < 0.3


def test_the_table_of_policies_loads_none_of_them(tmp_path: Path) -> None:
    code = "from routewright.scorers.table import SCORERS; from routewright.encoders.table import ENCODERS; "
    loaded = json.loads(run(code + "list(SCORERS), list(ENCODERS); " + LOADED, tmp_path))
    assert not {"torch", "sklearn", "lightgbm", "onnxruntime"} & set(loaded)


def test_help_loads_no_learner(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['routewright', '--help']\nfrom routewright.cli import main; main()\n" + LOADED
    out = run(code, tmp_path)
    assert "Usage: routewright" in out
    loaded = json.loads(out.splitlines()[-1])
    assert not {"torch", "sklearn", "lightgbm", "onnxruntime", "starlette", "uvicorn", "aiohttp"} & set(loaded)


@pytest.mark.parametrize("arguments", [["--help"], ["policies"], ["--version"]], ids=" ".join)
def test_the_command_runs(arguments: list[str], tmp_path: Path) -> None:
    out = run(
        f"import sys; sys.argv = ['routewright', *{arguments}]; from routewright.cli import main; main()", tmp_path
    )
    assert out.strip()
    assert list(tmp_path.iterdir()) == []


def test_policies_lists_every_policy_and_encoder(tmp_path: Path) -> None:
    from routewright.encoders import ENCODERS
    from routewright.scorers import SCORERS

    out = run("import sys; sys.argv = ['routewright', 'policies']; from routewright.cli import main; main()", tmp_path)
    for name in (*SCORERS, *ENCODERS):
        assert name in out


def test_every_module_imports_without_side_effects(tmp_path: Path) -> None:
    """In one process, in an empty folder, with no home to write to: nothing printed, no file left, no thread started."""
    code = (
        "import importlib, threading, os\n"
        f"for name in {MODULES!r}:\n    importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "cwd").mkdir()
    ended = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:routewright", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path / "cwd",
        env={"HOME": str(home), "PATH": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ended.stderr == ""
    assert list((tmp_path / "cwd").rglob("*")) == list(home.rglob("*")) == []
