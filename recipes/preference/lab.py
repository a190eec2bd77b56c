"""Preferences on the lab's pool: routes in words (`lab.toml`) to tiny models that were trained for them, answers and all.

    python recipes/preference/lab.py 100         # questions a family

Questions are the lab's test part, whose phrasings of facts and entities no example here was written from. What is asked: does
narrowing by words lose or gain against a learned router alone, and against the best model?
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from routewright.coordinator import Coordinator
from routewright.lab.coordinator import shipped
from routewright.lab.families import FAMILIES
from routewright.lab.pool import lab_pool
from routewright.lab.questions import query_of, questions
from routewright.lab.standing import Played, played
from routewright.policies.base import build_policy
from routewright.policies.preference import Preference
from routewright.policies.preference_turns import turns

HERE = Path(__file__).parent
ROUTES = {
    "facts": "world_facts",
    "arithmetic": "mental_arithmetic",
    "units": "unit_conversion",
    "text": "letters_of_words",
    "sorting": "ordering_numbers",
    "code": "code_output",
    "lookup": "table_lookup",
}
VALUE_USD = 0.01


def preference(encoder: str, first: bool = False) -> Preference:
    """The policy over `lab.toml`; `first`: each route's first model instead of the learned choice."""
    text = (HERE / "lab.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "routes.toml"
        path.write_text(text.replace('rule = "learned"', 'rule = "first"') if first else text, encoding="utf-8")
        made = build_policy("preference", {"routes": str(path), "encoder": encoder})
    assert isinstance(made, Preference)
    return made


def shown(values: np.ndarray[Any, Any], times: float = 100.0, form: str = "{:.1f}") -> str:
    drawn = np.random.default_rng(0).choice(values, (1000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{form.format(times * values.mean())} [{form.format(times * low)}, {form.format(times * high)}]"


async def measure(count: int) -> None:
    asked = [q for family in FAMILIES for q in questions(family, count, "test", 0)]
    router = shipped().router
    assert router is not None
    pool = lab_pool()
    ways: dict[str, Any] = {
        "`large` alone": build_policy("single", {"model": "large"}),
        "router alone (`single`)": Coordinator(build_policy("single"), router).policy,
    }
    for encoder in ("minilm", "hashing"):
        ways[f"`preference`, {encoder}, the route's first model"] = preference(encoder, first=True)
        ways[f"`preference`, {encoder}, learned among two"] = Coordinator(preference(encoder), router).policy
    print(
        f"\n## In the lab\n\nSeven routes to the lab's specialists (`lab.toml`), {len(asked)} test questions, {count} a family, answered by "
        "the models that ship; percent, 95% intervals over questions.\n"
    )
    print("| way | right | USD / 1,000 | right minus router alone | route found |\n|---|---|---|---|---|")
    found: dict[str, Played] = {}
    try:
        for name, policy in ways.items():
            found[name] = await played(policy, pool, asked, VALUE_USD)
            right = np.array(found[name].right, dtype=float)
            rival = found.get("router alone (`single`)")
            away = "" if rival is None else shown(right - np.array(rival.right, dtype=float), form="{:+.1f}")
            usd = np.array([e.cost_usd for e in found[name].episodes])
            hit = "-"
            if isinstance(policy, Preference):
                assert policy.matcher is not None
                matches = policy.matcher.matches([turns(query_of(q), 2048) for q in asked])
                hit = shown(
                    np.array([m.route == ROUTES[q.family] for q, m in zip(asked, matches, strict=True)], dtype=float)
                )
            print(
                f"| {name} | {shown(right)} | {1000 * usd.mean():.4f} | {away if away and policy is not ways['router alone (`single`)'] else ''} | {hit} |"
            )
    finally:
        await pool.aclose()


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
