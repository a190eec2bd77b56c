"""The OpenAPI document: what is in it, and Schemathesis, which asks all that it allows, and more, and finds nothing."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from routewright.gateway.dialects.table import DIALECTS
from routewright.gateway.openapi import document
from routewright.pools.pool import load_pool
from tests.extras import needs
from tests.gateway.world import Running, gateway

KEY = "a-key-of-these-tests"
ASKING = ("ChatRequest", "ResponsesRequest", "MessagesRequest", "CountRequest")


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    """Echoes of what is asked, and a key of an admin, who may see everything."""
    prices = {"usd_per_mtok_in": 1, "usd_per_mtok_out": 2, "capabilities": ["tools", "images", "json"]}
    providers = {"here": {"kind": "echo", "prefix": "You said: "}}
    pool = load_pool({"providers": providers, "models": [{"name": "small", "provider": "here", **prices}]})
    key = {"name": "k", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "role": "admin"}
    with gateway(pool, {"auto": "single"}, {"keys": [key]}) as running:
        yield running


def test_it_is_served_to_everybody(served: Running) -> None:
    with urllib.request.urlopen(served.url + "/openapi.json") as answer:
        assert answer.headers["content-type"] == "application/json"
        assert json.load(answer) == json.loads(json.dumps(document()))


def test_every_path_is_in_it(served: Running) -> None:
    """What the application answers below /v1, and the document; the page for people is not in it."""
    from routewright.gateway.app import app_of
    from routewright.gateway.settings import Settings

    told = set(document()["paths"])
    routes = {re.sub(r":\w+}", "}", route.path) for route in app_of(served.service, Settings()).rest.routes}  # type: ignore[attr-defined]
    assert told <= routes
    assert {path for path in routes if path.startswith("/v1/")} <= told
    assert {DIALECTS.load(name).path for name in DIALECTS} <= told


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(whole)))
    assert named <= set(whole["components"]["schemas"])
    operations = [one["operationId"] for path in whole["paths"].values() for one in path.values()]
    assert len(operations) == len(set(operations))


def test_schemathesis_finds_nothing(served: Running, tmp_path: Path) -> None:
    """All its checks but one, over every operation, seeds fixed: statuses, types and schemas of answers, refusals of wrong data,
    keys, methods; streams event by event.

    Not `positive_data_acceptance`: a request may fit its schema and name a model that is not there, a budget of nothing, a
    tool that it does not bring, or 1.0 where a whole number stands.
    """
    needs("schemathesis", "dev")
    asked: dict[str, Any] = document()
    for name in ASKING:  # else nearly all would ask for models that are not there
        asked["components"]["schemas"][name]["properties"]["model"] = {"const": "auto"}
    (tmp_path / "openapi.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", served.url]
    command += [
        "-H",
        f"Authorization: Bearer {KEY}",
        "--generation-deterministic",
        "--max-examples",
        "20",
        "--no-color",
    ]
    command += ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--continue-on-failure"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert passed, done.stdout[-2000:]
    assert int(passed[1]) == int(passed[2]) > 500, "it did ask"
    assert f"Tested: {sum(map(len, asked['paths'].values()))}" in done.stdout
    served.last()
    kept = served.service.store._records.values()  # type: ignore[attr-defined]
    assert sum(record.status == 200 for record in kept) > 100, "and much of it was answered"
