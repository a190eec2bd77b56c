"""Plans on the trace page: where boxes stand, what they say, which path is critical, and that texts stay texts."""

from __future__ import annotations

import asyncio
import json

import pytest

from routewright.episodes.engine import run
from routewright.episodes.trace import to_lines
from routewright.errors import ProviderError
from routewright.gateway.page.graph import BELOW, HIGH, LOW, WIDE, graphs_of
from routewright.gateway.page.steps import steps_of
from routewright.gateway.records import Recorder
from routewright.policies.base import build_policy
from routewright.types import Query
from tests.gateway.test_page import EVIL, asked
from tests.gateway.world import Upstream, gateway, listening, pool_at, whole
from tests.pools.doubles import Scripted, scripted_pool

PLAN = json.dumps(
    {
        "subtasks": [
            {"id": "a", "task": "What is 2 + 3?"},
            {"id": "b", "task": f"What is 4 + 5? {EVIL}"},
            {"id": "c", "task": "What is {a} + {b}?", "after": ["a", "b"]},
        ]
    }
)


def trace(*providers: Scripted) -> bytes:
    pool = scripted_pool(*providers, retries=0)
    episode = asyncio.run(run(build_policy("r2", {"decomposer": "m0"}), pool, Query("2+3 and 4+5, together?"), 0.01))
    return b"\n".join(to_lines(episode))


def test_a_diamond_is_drawn_from_top_to_bottom() -> None:
    worker = Scripted(0.02, 0.02, "answer:5", "answer:9", "answer:14")
    told = steps_of(trace(Scripted(PLAN), worker))
    (graph,) = told["graphs"]
    assert [n.title for n in graph.nodes] == ["1 · m1", "2 · m1", "3 · m1"]
    assert graph.nodes[2].about in ("What is 5 + 9?", "What is 9 + 5?")
    assert {n.y for n in graph.nodes[:2]} == {0}
    assert graph.nodes[2].y == HIGH + BELOW
    assert graph.nodes[0].x + WIDE < graph.nodes[1].x
    assert len(graph.edges) == 2
    assert sum(e.critical for e in graph.edges) == 1
    assert [n.critical for n in graph.nodes].count(True) == 2
    assert graph.said.startswith("critical path ")
    assert graph.nodes[0].facts.startswith("$0.00002")


def test_what_failed_and_what_was_not_begun_is_told() -> None:
    down = ProviderError("400", "refused", reached=False)
    told = steps_of(trace(Scripted(PLAN, "no"), Scripted(down, "answer:9"), Scripted(down)))
    graph = told["graphs"][0]
    assert [n.kind for n in graph.nodes] == ["failed", "done", "waiting"]
    assert graph.nodes[0].title.endswith("×2")
    assert "asked m1: " in graph.nodes[0].whole
    assert graph.nodes[2].title == "3 · not begun"


def test_a_trace_that_makes_no_sense_is_drawn_as_far_as_it_goes() -> None:
    circle = [{"model": None, "prompt": "", "after": [1, 7, "x"]}, {"model": "m", "prompt": None, "after": [0]}]
    (graph,) = graphs_of([{"calls": circle, "node": None, "answered": False}])
    assert len(graph.nodes) == 2
    assert graph.high == LOW
    assert graphs_of([]) == []


@pytest.mark.parametrize("kept", [True, False])
def test_the_gateway_serves_it_and_shows_its_plan(kept: bool) -> None:
    upstream = Upstream({"planner": lambda body: whole(PLAN), "small": lambda body: whole("answer:7")})
    with (
        listening(upstream.app) as up,
        gateway(
            pool_at(up, "planner", "small"),
            {"r2": build_policy("r2", {"decomposer": "planner"})},
            recorder=Recorder(kept),
        ) as running,
    ):
        done = running.client().chat.completions.create(model="r2", messages=[{"role": "user", "content": "Both?"}])
        told = done.model_extra["routing"]  # type: ignore[index]
        assert told["policy"] == "r2"
        assert told["models"] == ["planner", "small", "small", "small"]
        text = asked(running, f"/ui/traces/{told['trace_id']}").text
    assert text.count('class="node done') == 3
    assert "critical path " in text
    assert ("What is 2 + 3?" in text) == kept
    assert "<script>alert" not in text
