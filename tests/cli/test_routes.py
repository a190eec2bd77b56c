"""`routewright routes`: checking, asking, judging and calibrating a routes file, and asking a pool through one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "preference"
Cli = Callable[..., Any]
POOL = """
[providers.up]
kind = "echo"
[[models]]
name = "small"
provider = "up"
usd_per_mtok_in = 1
usd_per_mtok_out = 2
[[models]]
name = "large"
provider = "up"
usd_per_mtok_in = 10
usd_per_mtok_out = 20
"""
ROUTES = """
[[routes]]
name = "code_debugging"
description = "finding out why a program fails: exceptions, crashes and wrong output"
models = ["large"]
[[routes]]
name = "{name}"
description = "{description}"
models = ["small", "large"]
rule = "cheapest"
[other]
models = ["small"]
"""
GARDEN = {"name": "garden_care", "description": "plants and gardens: watering, pruning roses and trees"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "routes.toml").write_text(ROUTES.format(**GARDEN))
    (tmp_path / "pool.toml").write_text(POOL)
    lines = [
        {"text": "My program crashes with an exception", "route": "code_debugging"},
        {"text": "When should roses be pruned?", "route": "garden_care"},
        {
            "id": "drift",
            "messages": [
                {"role": "user", "content": "Pruning roses and watering plants?"},
                {"role": "assistant", "content": "Yes."},
                {"role": "user", "content": "qqq zzz"},
            ],
            "routes": ["garden_care", "other"],
        },
    ]
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return tmp_path


def test_a_file_in_order(files: Path, cli: Cli) -> None:
    ran = cli("routes", "check", files / "routes.toml", "--pool", files / "pool.toml")
    assert ran.code == 0, ran.err
    assert "2 routes, 0 overlaps" in ran.out
    assert "Without examples" in ran.out


def test_routes_that_are_too_alike_are_named(files: Path, cli: Cli) -> None:
    same = {"name": "bug_finding", "description": "why a program fails: exceptions, crashes, wrong output"}
    (files / "routes.toml").write_text(ROUTES.format(**same))
    ran = cli("routes", "check", files / "routes.toml")
    assert ran.code == 1
    assert "code_debugging and bug_finding are alike" in " ".join(ran.out.split())


def test_what_is_wrong_is_one_line(files: Path, cli: Cli) -> None:
    (files / "routes.toml").write_text(ROUTES.format(**GARDEN).replace('["large"]', '["gone"]'))
    ran = cli("routes", "check", files / "routes.toml", "--pool", files / "pool.toml")
    assert ran.code == 2
    assert "Route 'code_debugging' names the model 'gone'" in ran.err
    assert cli("routes", "ask", files / "routes.toml", "x", "--backend", "model").code == 2
    assert cli("routes", "ask", files / "routes.toml", "x", "--backend", "model", "--model", "small").code == 2


def test_one_request_is_explained(files: Path, cli: Cli) -> None:
    ran = cli("routes", "ask", files / "routes.toml", "When should roses be pruned?")
    assert ran.code == 0, ran.err
    assert "route garden_care:" in ran.out
    assert "goes to small, large (cheapest)" in ran.out


def test_labelled_conversations_are_judged(files: Path, cli: Cli) -> None:
    out = files / "reasons.jsonl"
    ran = cli("routes", "eval", files / "routes.toml", files / "labelled.jsonl", "--reasons", out)
    assert ran.code == 0, ran.err
    assert "4 turns" in ran.out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["right"] for line in lines] == ["code_debugging", "garden_care", "garden_care", "other"]
    assert all(line["why"].startswith("route ") and line["latency_s"] > 0 for line in lines)
    facts = json.loads(cli("routes", "eval", files / "routes.toml", files / "labelled.jsonl", "--json").out)
    assert facts["turn"] == sum(line["right"] == line["found"] for line in lines) / 4
    assert facts["turn"] >= facts["span"] >= facts["conversation"] or facts["turns"] == 4
    assert sum(one["turns"] for one in facts["confusion"]) == 4


def test_a_model_is_judged_with_its_malformed_replies(files: Path, cli: Cli) -> None:
    out = files / "reasons.jsonl"
    arguments = ["--backend", "model", "--model", "small", "--pool", files / "pool.toml", "--reasons", out]
    ran = cli("routes", "eval", files / "routes.toml", files / "labelled.jsonl", *arguments)
    assert ran.code == 0, ran.err  # echo gives the prompt back: never a route
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["found"] for line in lines} == {"other"}
    assert all(line["why"].count("malformed: ") == 2 and line["cost_usd"] > 0 for line in lines)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "is not JSON"),
        ('{"messages": [{"role": "user", "content": "a"}], "routes": []}', "1 user turns and 0 routes"),
        ('{"text": "a", "route": "garden"}', "names the route 'garden'"),
        ("[]", "is no JSON object"),
        ('{"text": 1}', "has no messages and routes"),
    ],
)
def test_a_labelled_file_that_can_not_be_used(files: Path, cli: Cli, line: str, says: str) -> None:
    (files / "bad.jsonl").write_text(line + "\n")
    ran = cli("routes", "eval", files / "routes.toml", files / "bad.jsonl")
    assert ran.code == 2
    assert says in ran.err
    assert "bad.jsonl:1" in ran.err


def test_a_calibration_is_fitted_and_used(files: Path, cli: Cli, tmp_path: Path) -> None:
    too_few = cli("routes", "fit", files / "routes.toml", files / "labelled.jsonl", "--out", files / "c.json")
    assert too_few.code == 2
    assert "needs 20 labelled turns" in too_few.err
    routes, labelled = RECIPE / "routes.toml", RECIPE / "checked.jsonl"
    ran = cli("routes", "fit", routes, labelled, "--out", files / "c.json")
    assert ran.code == 0, ran.err
    assert "cross-validated" in ran.out
    used = cli("routes", "eval", routes, labelled, "--calibration", files / "c.json", "--json")
    assert used.code == 0, used.err
    assert cli("routes", "eval", routes, labelled, "--calibration", files / "pool.toml").code == 2


def test_a_pool_is_asked_through_a_routes_file(files: Path, cli: Cli) -> None:
    option = f"routes={files / 'routes.toml'}"
    arguments = ["--pool", files / "pool.toml", "--policy", "preference", "--option", option, "--trace"]
    ran = cli("ask", "My program crashes with an exception", *arguments)
    assert ran.code == 0, ran.err
    told = " ".join(ran.out.split())
    assert "large (answer)" in told
    assert "route code_debugging:" in told
