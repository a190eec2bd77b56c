"""`r1` on the lab's own pool, with the recipe's router that makes no mistake: the forms, the workers and the bill together."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

from tests.extras import needs

needs("xllamacpp", "local")

from routewright.lab.pool import lab_pool, solvers  # noqa: E402
from routewright.lab.questions import questions  # noqa: E402
from routewright.lab.router import descriptions  # noqa: E402
from routewright.lab.standing import Played, played  # noqa: E402
from routewright.policies.r1 import R1  # noqa: E402
from routewright.rewards.format import Format  # noqa: E402
from routewright.types import Call, Generate  # noqa: E402

BEST = {
    "facts": "facts", "arithmetic": "maths", "text": "words", "sorting": "words", "units": "maths", "code": "reader",
    "lookup": "reader",
}  # fmt: skip


def recipe(name: str) -> Any:
    path = Path(__file__).parents[2] / "recipes" / "router_r1_lab" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def test_with_a_router_that_makes_no_mistake_composed_questions_are_solved() -> None:
    asked = questions("composed", 24, "test", seed=101)

    async def go() -> tuple[Played, Played]:
        plain = lab_pool()
        pool = recipe("perfect").with_perfect_router(plain, asked)
        able = solvers(plain.models)
        told = dict.fromkeys(able, "") | descriptions(BEST, ["large"])
        options = {"router": "router", "form": "short", "rounds": 6, "turn_tokens": 96, "descriptions": told}
        try:
            routed = await played(R1(R1.Config(**options, models=able)), pool, asked)
            alone = await played(R1(R1.Config(**options, models=["large"])), pool, asked)
            return routed, alone
        finally:
            await plain.aclose()

    routed, alone = asyncio.run(go())
    assert sum(routed.right) >= 17  # measured: 87% of 300
    assert sum(alone.right) <= 13  # measured: 31%
    for episode in routed.episodes:
        assert Format()(episode) == 0.0
        turns = [s for s in episode.steps if isinstance(s.decision, Generate)]
        calls = [s for s in episode.steps if isinstance(s.action, Call)]
        assert len(turns) == len(calls) + 1
        assert all(s.reply is not None and s.reply.cost_usd > 0 for s in turns)
