"""Everything that has a name has its row in the docs: policies, encoders, importers, columns, verbs, with their options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from routewright.cli.app import app
from routewright.encoders import ENCODERS
from routewright.gateway.dialects.messages_request import MessagesRequest
from routewright.gateway.dialects.responses_request import ResponsesRequest
from routewright.gateway.dialects.table import DIALECTS
from routewright.gateway.settings import (
    CoordinatorEntry,
    KeyEntry,
    LimitSettings,
    SessionSettings,
    Settings,
    SharedEntry,
    StoreEntry,
    TelemetrySettings,
)
from routewright.outcomes import COLUMNS
from routewright.outcomes.importers import IMPORTERS
from routewright.policies.base import SUPPORTABLE
from routewright.policies.table import POLICIES
from routewright.pools.config import CacheSettings, CallSettings, ModelEntry
from routewright.pools.providers.table import PROVIDERS
from routewright.scorers import SCORERS
from routewright.stores.table import STORES
from routewright.tasks import METRICS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
VERBS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
VERBS |= {"train": VERBS["train"].commands["table"], "train r1": VERBS["train"].commands["r1"]}


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without code marks."""
    return [
        [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]


def section(text: str, title: str) -> str:
    """From a heading of level two to the next."""
    found = re.search(rf"^## `?{re.escape(title)}\b.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[0]


@pytest.mark.parametrize("name", SCORERS)
def test_every_policy_has_its_row(name: str) -> None:
    scorer = SCORERS.load(name)
    before, options = page("reference/policies.md").split("## Options")
    (row,) = (r for r in rows(before) if r[0] == name)
    assert row[-1] == ("**yes**" if scorer.reads_task else "no")
    if not scorer.reads_text:
        assert row[-2] == "no"
    stated: dict[tuple[str, str], str] = {}
    policy = ""
    for cells in rows(options):
        policy = cells[0] or policy
        stated[policy, cells[1]] = cells[2]
    real = {
        (name, key): "none" if field.get_default() is None else str(field.get_default())
        for key, field in scorer.Config.model_fields.items()
    }
    assert {key: value for key, value in stated.items() if key[0] == name} == real


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_of_several_calls_has_its_rows(name: str) -> None:
    table = rows(section(page("reference/policies.md"), "Policies of several calls"))
    assert sum(r[0] == name and len(r) == 4 and r[3].startswith(("yes", "no")) for r in table) == 1
    stated = {r[1]: r[2] for r in table if r[0] == name and not r[3].startswith(("yes", "no"))}
    real = {}
    for key, field in POLICIES.load(name).Config.model_fields.items():
        value = "required" if field.is_required() else field.get_default(call_default_factory=True)
        real[key] = "none" if value in (None, (), "") else str(value).replace("\n", "\\n")
    assert stated == real


@pytest.mark.parametrize(
    ("title", "config"), [("Models", ModelEntry), ("Endpoints", CallSettings), ("Cache", CacheSettings)]
)
def test_every_key_of_a_pool_file_has_its_row(title: str, config: Any) -> None:
    stated = [r[0] for r in rows(section(page("reference/pool.md"), title))[1:]]
    assert stated == list(config.model_fields)


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_policy_supports_has_its_row(name: str) -> None:
    text = section(page("reference/policies.md"), "Policies of several calls")
    found = re.search(rf"^- `{name}`: (.+)$", text, re.MULTILINE)
    assert found
    assert set(found[1].split(", ")) - {"none"} == POLICIES.load(name).supports <= set(SUPPORTABLE)


SERVE = [
    ("File", Settings, {"coordinators", "limits", "sessions", "store", "shared", "telemetry", "keys"}),
    ("Coordinators", CoordinatorEntry, set()),
    ("Limits", LimitSettings, set()),
    ("Sessions", SessionSettings, set()),
    ("Store", StoreEntry, {"options"}),
    ("Shared", SharedEntry, set()),
    ("Telemetry", TelemetrySettings, set()),
    ("Keys", KeyEntry, set()),
    *((f"Store `{name}`", STORES.load(name).Config, set()) for name in STORES),
]


@pytest.mark.parametrize(("title", "config", "apart"), SERVE)
def test_every_key_of_a_serve_file_has_its_row(title: str, config: Any, apart: set[str]) -> None:
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", page("reference/serve.md"), re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    stated = {r[0]: r[1] for r in rows(found[0])[1:]}
    assert stated == {name: shown(field) for name, field in config.model_fields.items() if name not in apart}


def shown(field: Any) -> str:
    """A default as the page says it; empty where there is none, or where it is empty."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}):
        return "none" if value is None else ""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_described(name: str) -> None:
    text = page("reference/providers.md")
    assert f"`{name}`" in text
    for key in PROVIDERS.load(name).Config.model_fields:
        assert f"`{key}`" in text, key


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_its_row(name: str) -> None:
    assert f"`{name}`" in page("reference/tasks.md")


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_has_its_section(name: str) -> None:
    stated = {r[0] for r in rows(section(page("reference/encoders.md"), name))}
    assert set(ENCODERS.load(name).Config.model_fields) <= stated


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_importer_has_its_section(name: str) -> None:
    section(page("guides/importing.md"), name)
    assert f"`{name}`" in section(page("reference/cli.md"), "import")


def test_every_column_has_its_row() -> None:
    stated = {r[0]: r for r in rows(section(page("reference/table.md"), "Columns"))[1:]}
    assert list(stated) == list(COLUMNS)
    for name, column in COLUMNS.items():
        kind = str(getattr(column.dtype, "__name__", column.dtype))
        assert stated[name][1:3] == [kind, "yes" if column.required else "no"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_section(verb: str) -> None:
    text = section(page("reference/cli.md"), verb)
    stated = {option for r in rows(text) for option in r[0].split(", ")}
    real = {option for p in VERBS[verb].params for option in (*p.opts, *p.secondary_opts) if option.startswith("--")}
    assert real - {"--help"} == {option for option in stated if option.startswith("--")}


def test_links_lead_somewhere() -> None:
    """Relative links of the docs and of CONTRIBUTING."""
    pages = [*DOCS.rglob("*.md"), ROOT / "CONTRIBUTING.md"]
    for one in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", one.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (one.parent / target).exists(), f"{one.name}: {target}"


def test_every_record_is_listed() -> None:
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", page("adr/README.md"))
    assert listed == sorted(p.name for p in (DOCS / "adr").glob("0*.md"))
    for name in listed:
        text = page(f"adr/{name}")
        for part in ("Status: ", "## Context", "## Decision", "## What we gave up"):
            assert part in text, f"{name}: {part}"


@pytest.mark.parametrize(("name", "kind"), [("responses", ResponsesRequest), ("messages", MessagesRequest)])
def test_every_field_of_a_dialect_has_its_row(name: str, kind: Any) -> None:
    text = page("reference/dialects.md")
    told = {field for cells in rows(section(text, name)) for field in cells[0].split(", ")} - {"field"}
    assert told == set(kind.__struct_fields__)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_has_its_section_and_path(name: str) -> None:
    assert section(page("reference/dialects.md"), name)
    assert f"`POST {DIALECTS.load(name).path}`" in page("guides/serving.md")


def test_every_key_of_a_training_of_routers_has_its_row() -> None:
    from routewright.train.r1_settings import (
        GrpoSettings,
        PolicySettings,
        R1Settings,
        RewardSettings,
        SftSettings,
        TraceSettings,
        WorldSettings,
    )

    parts = {
        "policy": PolicySettings, "world": WorldSettings, "traces": TraceSettings, "sft": SftSettings, "grpo": GrpoSettings,
        "reward": RewardSettings,
    }  # fmt: skip
    real = {
        f"{name}.{key}": (field.description or "").replace("`", "")
        for name, cls in parts.items()
        for key, field in cls.model_fields.items()
    }
    real |= {k: (f.description or "").replace("`", "") for k, f in R1Settings.model_fields.items() if k not in parts}
    stated = {r[0]: r[2] for r in rows(section(page("reference/cli.md"), "train r1")) if len(r) == 3}
    assert {k: v for k, v in stated.items() if not k.startswith("--") and k in real} == real


def test_every_key_of_a_training_of_both_halves_has_its_row() -> None:
    from routewright.train.r2_allocator import Reinforcement
    from routewright.train.r2_course_settings import Allocator, Decomposer, R2Settings, Review

    parts = {
        "decomposer": Decomposer,
        "allocator": Allocator,
        "review": Review,
        "allocator.reinforcement": Reinforcement,
    }
    shared = {"sft", "grpo"}  # stated once, for `train r1`
    fields = {f"{n}.{k}": f for n, cls in parts.items() for k, f in cls.model_fields.items() if k not in shared}
    fields |= {k: f for k, f in R2Settings.model_fields.items() if k not in (*parts, "policy", "world", "reward")}
    stated = {
        o: r for r in rows(section(page("reference/cli.md"), "train r2")) for o in r[0].split(", ") if len(r) == 3
    }
    for key, field in fields.items():
        said = (field.description or "").replace("`", "")
        default = "none" if field.default in (None, "") else str(field.default).lower()
        if key not in ("allocator.base", "allocator.context"):
            assert stated[key][1:] == [default, said], key
    assert {f"{n}.{k}" for n in ("decomposer", "allocator") for k in shared} <= stated.keys()
