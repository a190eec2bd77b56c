"""What the documentation shows, works: Python runs, commands parse, configurations load.

A block after the comment `<!-- not run -->` is left out.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from routewright.cli.app import app
from routewright.config import parse
from routewright.evaluate.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "recipes") for path in sorted((ROOT / folder).rglob("*.md"))),
]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- *not run *-->\s*\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int  # of its first line of content
    body: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        if found["language"] in languages and not NOT_RUN.search(text[: found.start()]):
            body = re.sub(f"^{found['indent']}", "", found["body"], flags=re.MULTILINE)
            yield Block(page, text[: found.start("body")].count("\n") + 1, body)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p, "python"))], ids=named)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's blocks run in order, in one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        # Empty lines in front make a traceback point at the line of the page.
        exec(compile("\n" * (block.line - 1) + block.body, str(page), "exec"), names)


def commands(block: Block) -> Iterator[list[str]]:
    """The `routewright` calls of a block: continued lines joined, redirections and comments cut off."""
    for line in block.body.replace("\\\n", " ").splitlines():
        call: list[str] = []
        for word in [*(shlex.split(line.removeprefix("$ "), comments=True) if "routewright " in line else []), ";"]:
            if word not in {"&&", "||", "|", ";", ">", ">>", "2>"}:
                call.append(word)
                continue
            while call and (call[0] in {"time", "nice"} or re.match(r"\w+=", call[0])):
                call.pop(0)
            if call[:1] == ["routewright"] and call[1:]:
                yield call[1:]
            call = []


CALLS = [
    pytest.param(words, id=f"{block.place} {words[0]}")
    for page in PAGES
    for block in blocks(page, "sh", "bash", "shell", "console")
    for words in commands(block)
]


@pytest.mark.parametrize("words", CALLS)
def test_commands_parse(words: list[str]) -> None:
    """The verb exists, and so do the options; required ones are there and values have the right type."""
    group: Any = typer.main.get_command(app)
    if words[0].startswith("--"):
        known = {option for parameter in group.params for option in parameter.opts} | {"--help"}
        assert set(words) <= known
        return
    assert words[0] in group.commands, f"no verb {words[0]}"
    if words[1:] == ["--help"]:
        return
    command, name, rest = group.commands[words[0]], words[0], list(words[1:])
    while True:  # verbs of verbs
        context = command.make_context(name, rest)
        if not hasattr(command, "resolve_command"):
            return
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])


def check_settings(values: dict[str, Any], place: str) -> None:
    if "policies" in values:
        from routewright.encoders import build_encoder
        from routewright.evaluate.multistep import check_part

        settings = parse(Settings, values, place)
        for part in settings.all_parts:
            check_part(part)
        build_encoder(settings.encoder.kind, settings.encoder.options)


def check_serve(values: dict[str, Any], place: str) -> None:
    if {"coordinators", "keys", "limits", "store"} & set(values):
        from routewright.gateway.settings import check_settings

        check_settings(values, place)


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks(page, "toml")], ids=lambda block: block.place)
def test_toml_blocks_load(block: Block) -> None:
    check_settings(tomllib.loads(block.body), block.place)
    check_serve(tomllib.loads(block.body), block.place)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.toml")), ids=named)
def test_recipes_load(path: Path) -> None:
    check_settings(tomllib.loads(path.read_text(encoding="utf-8")), named(path))


# -- the checks themselves


def page_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text)
    return tmp_path / "page.md"


def test_blocks_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of(
        tmp_path,
        monkeypatch,
        "```python\na = 1\n```\n<!-- not run -->\n\n```python\nb\n```\n- in a list\n\n  ```python\n  if a:\n      c\n  ```\n"
        "```sh\nroutewright train t.parquet \\\n  --out r  # why\npip install routewright\n"
        'routewright inspect t && OMP_NUM_THREADS=1 routewright route r --query "a | b" | head\n```\n',
    )
    assert [(b.line, b.body) for b in blocks(page, "python")] == [(2, "a = 1\n"), (12, "if a:\n    c\n")]
    (shell,) = blocks(page, "sh")
    assert list(commands(shell)) == [
        ["train", "t.parquet", "--out", "r"],
        ["inspect", "t"],
        ["route", "r", "--query", "a | b"],
    ]


@pytest.mark.parametrize(
    "call",
    ["trian t --out r", "train t", "train t --out r --seeds 3", "train t --out r --seed x", "--verzion", "inspect t u"],
)
def test_wrong_commands_are_noticed(call: str) -> None:
    with pytest.raises((AssertionError, typer.BadParameter.__mro__[1])):
        test_commands_parse(call.split())


def test_there_is_something_to_check() -> None:
    assert len(CALLS) > 5
    assert any(any(blocks(page, "python")) for page in PAGES)
