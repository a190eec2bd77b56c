"""The page about providers knows every kind and every option, with its default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from routewright.config import Config
from routewright.pools.providers.base import build_provider
from routewright.pools.providers.http import HttpConfig
from routewright.pools.providers.table import PROVIDERS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "providers.md").read_text(encoding="utf-8")
KINDS = ["openai", "anthropic", "local", "litellm", "simulated", "echo"]


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[0]


def options(text: str) -> dict[str, str]:
    """The first two cells of the rows of an option table."""
    table = text.split("| option |")[1].split("\n\n")[0] if "| option |" in text else ""
    return dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", table, re.MULTILINE))


def defaults(config: type[Config]) -> dict[str, Any]:
    return {name: field.default for name, field in config.model_fields.items()}


def shown(default: Any) -> str:
    if default is None or default in ("", {}) or type(default).__name__ == "PydanticUndefinedType":
        return ""
    return (
        str(default).lower()
        if isinstance(default, bool)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
    )


def test_every_kind_has_a_row() -> None:
    kinds = re.findall(r"^\| `(\w+)` \|", PAGE.split("\n\n## ")[0], re.MULTILINE)
    assert sorted(kinds) == sorted(PROVIDERS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_has_a_row_with_its_default(kind: str) -> None:
    config = PROVIDERS.load(kind).Config
    shared = set(HttpConfig.model_fields) - {"base_url"} if issubclass(config, HttpConfig) else set()
    expected = {name: shown(default) for name, default in defaults(config).items() if name not in shared}
    assert {name: value.strip(" `") for name, value in options(section(f"`{kind}`")).items()} == expected


def test_shared_options() -> None:
    expected = {name: shown(default) for name, default in defaults(HttpConfig).items() if name != "base_url"}
    assert {name: value.strip(" `") for name, value in options(section("HTTP")).items()} == expected


def test_examples_can_be_built() -> None:
    built = []
    for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL):
        for name, entry in tomllib.loads(block)["providers"].items():
            kind = entry.pop("kind")
            built.append(build_provider(kind, entry, name).kind)
    assert sorted(built) == ["anthropic", "litellm", "local", "openai", "openai", "simulated"]
