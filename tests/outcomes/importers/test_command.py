"""The verb `import`, and the commands of its guide."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from routewright.cli.import_ import import_table
from routewright.errors import ConfigError, UnknownName
from routewright.outcomes import read
from routewright.outcomes.importers import IMPORTERS

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "importing.md").read_text()
COMMANDS = re.findall(r"^routewright import (.+?)$", GUIDE.replace("\\\n", " "), flags=re.MULTILINE)


def run(arguments: str) -> str:
    app = typer.Typer()
    app.command()(import_table)
    result = CliRunner().invoke(app, shlex.split(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_guide_has_a_command_for_every_format() -> None:
    assert {command.split()[0] for command in COMMANDS} == set(IMPORTERS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_guide_run(
    command: str, fixture_copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the fixtures, whose files are called as the published ones."""
    build = {
        "uniform": {"table.parquet": "table.jsonl"},
        "routerbench": {"routerbench_0shot.pkl": "routerbench_0shot.csv"},
    }
    kind = command.split()[0]
    monkeypatch.chdir(fixture_copy(kind, build.get(kind)))
    line = run(command)
    assert line.count("\n") == 1
    assert read(shlex.split(command)[shlex.split(command).index("--out") + 1]).absent == ()


def test_options_reach_the_importer(fixture_copy: Callable[..., Path], tmp_path: Path) -> None:
    folder, out = fixture_copy("routellm"), tmp_path / "t.parquet"
    run(f"routellm {folder}/responses --out {out} --model gpt-4-1106-preview --usd-per-call gpt-4-1106-preview=0.5")
    rows = read(out).frame.collect()
    assert rows["cost_usd"].unique().to_list() == [0.5]
    assert rows["model"].unique().to_list() == ["gpt-4-1106-preview"]


def test_bad_arguments_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"'routerbnch'.*'routerbench'"):
        run(f"routerbnch x --out {tmp_path}/o.parquet")
    with pytest.raises(ConfigError, match="Unknown key 'map'"):
        run(f"uniform x --out {tmp_path}/o.parquet --map a=b")
    with pytest.raises(ConfigError, match="--map 'a' is no pair"):
        run(f"generic x --out {tmp_path}/o.parquet --map a")
    with pytest.raises(ConfigError, match="names 'a' twice"):
        run(f"generic x --out {tmp_path}/o.parquet --map a=b --map a=c")
    with pytest.raises(ConfigError, match="usd_per_call"):
        run(f"routellm x --out {tmp_path}/o.parquet --usd-per-call m=cheap")
