"""What ships: the models, their cards and the coordinator say of themselves what is true of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routewright.coordinator import load_coordinator
from routewright.lab.coordinator import FOLDER, POLICY, shipped, shipped_r1
from routewright.lab.demo import asked_questions
from routewright.lab.families import FAMILIES
from routewright.lab.measure import LONGEST_REPLY
from routewright.lab.pool import SHIPPED, lab_pool, served_values, solvers
from routewright.lab.questions import questions
from routewright.lab.roster import CONTEXT, ROSTER
from routewright.lab.server import LlamaServer
from routewright.lab.standing import GoldPlan, alone, played
from routewright.lab.text import prompt_text
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.pools.config import check_pool
from routewright.pools.pool import Pool, build_pool
from routewright.types import Call, Generate, Plan, Query
from tests.extras import needs

needs("xllamacpp", "local")
WELL_BELOW = 0.12  # how far 100 questions may fall below a card's figure by luck: 3 deviations at 0.8


def card_of(name: str) -> dict[str, float]:
    """Family -> share of right answers, as the card has it."""
    text = (SHIPPED / f"{name}.md").read_text(encoding="utf-8")
    return {m[1]: float(m[2]) / 100 for m in re.finditer(r"^\| ([\w ]+) \| ([\d.]+)% \|", text, re.MULTILINE)}


async def said(pool: Pool, name: str, prompts: list[str]) -> list[str]:
    out = []
    for prompt in prompts:
        request = Request(name, ({"role": "user", "content": prompt},), Query(prompt), LONGEST_REPLY)
        out.append((await pool.call(request, Ledger())).text)
    return out


def test_every_model_ships_with_its_card_within_28_megabytes() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.gguf")) <= 28e6
    for name in ROSTER:
        assert (SHIPPED / f"{name}.gguf").is_file()
        card = card_of(name)
        own = {"planner": {"whole plans"}, "router": {"turns of a conversation", "whole conversations"}}
        assert set(card) == own.get(name, {*FAMILIES, "composed"})


def test_no_model_is_best_at_everything_and_none_answers_composed_questions() -> None:
    cards = {name: card_of(name) for name in solvers(list(ROSTER))}
    best = {family: max(cards, key=lambda name: cards[name][family]) for family in FAMILIES}
    assert len(set(best.values())) >= 3, best
    assert max(card["composed"] for card in cards.values()) <= 0.45


@pytest.mark.parametrize("name", solvers(list(ROSTER)))
def test_a_model_is_as_good_as_its_card_says(name: str) -> None:
    card = card_of(name)
    family = max(FAMILIES, key=lambda f: card[f])

    async def go() -> float:
        pool = lab_pool()
        try:
            return (await alone(pool, name, questions(family, 100, "test", seed=11))).row.share.share
        finally:
            await pool.aclose()

    assert asyncio.run(go()) >= card[family] - WELL_BELOW


def test_the_gold_plan_with_specialists_beats_every_model_alone() -> None:
    """On 100 questions; the published figures rest on 1,000."""
    asked = questions("composed", 100, "test", seed=12)
    cards = {name: card_of(name) for name in solvers(list(ROSTER))}
    allocation = {family: max(cards, key=lambda name: cards[name][family]) for family in FAMILIES}

    async def go() -> tuple[float, float]:
        pool = lab_pool()
        try:
            gold = (await played(GoldPlan(asked, allocation), pool, asked)).row.share.share
            return gold, (await alone(pool, "large", asked)).row.share.share
        finally:
            await pool.aclose()

    gold, large = asyncio.run(go())
    assert gold >= 0.75
    assert large <= 0.45


def test_the_coordinator_plans_composed_questions_and_wins() -> None:
    asked = asked_questions(140, seed=5)
    coordinator = shipped()
    assert coordinator.policy.kind == POLICY
    assert set(coordinator.presets) == {"q95", "q99", "q100", "default"}

    async def go() -> tuple[Any, float]:
        pool = lab_pool()
        try:
            best = str(coordinator.about["best_single"])
            return await played(coordinator.policy, pool, asked), (await alone(pool, best, asked)).row.share.share
        finally:
            await pool.aclose()

    mine, rival = asyncio.run(go())
    planned = [
        any(isinstance(s.action, Plan) for s in e.steps) for e, q in zip(mine.episodes, asked, strict=True) if q.plan
    ]
    assert sum(planned) >= 0.9 * len(planned)
    assert mine.row.share.share >= rival + 0.1


def test_the_router_asks_more_where_more_is_gained_and_wins() -> None:
    """Measured on 300 questions: see the results."""
    asked = questions("composed", 60, "test", seed=13)
    coordinator = shipped_r1()
    assert coordinator.policy.kind == "r1"
    assert coordinator.default_value_usd == 0.01

    async def go() -> tuple[Any, Any, float]:
        pool = lab_pool()
        try:
            dear, cheap = [await played(coordinator.policy, pool, asked, value) for value in (1e-2, 1e-5)]
            return dear, cheap, (await alone(pool, "large", asked)).row.share.share
        finally:
            await pool.aclose()

    dear, cheap, rival = asyncio.run(go())
    assert dear.row.share.share >= rival + 0.3
    calls = [[s for s in e.steps if isinstance(s.action, Call)] for run in (dear, cheap) for e in run.episodes]
    assert sum(map(len, calls[60:])) < 0.5 * sum(map(len, calls[:60]))
    held = [
        s.reply.usage.tokens_cached
        for e in dear.episodes
        for s in e.steps
        if isinstance(s.decision, Generate) and s.reply
    ]
    assert sum(held) > 0, "the server held nothing of a prompt that only grew"


def test_the_demonstration_has_the_router_too(tmp_path: Path, cli: Callable[..., Any]) -> None:
    ran = cli("demo", "--out", tmp_path / "out", "--questions", 28, "--ask", 1, "--coordinator", "r1")
    assert ran.code == 0, ran.err
    assert "router says " in ran.out
    assert cli("demo", "--out", tmp_path / "out", "--coordinator", "r2").code == 2


def test_a_coordinator_that_asks_the_router_is_made_by_a_command(tmp_path: Path, cli: Callable[..., Any]) -> None:
    ran = cli("lab", "coordinator", "--policy", "r1", "--questions", 20, "--out", tmp_path / "r1")
    assert ran.code == 0, ran.err
    made = load_coordinator(tmp_path / "r1").policy
    assert made.config.descriptions["facts"] == "country"  # type: ignore[attr-defined]
    assert cli("lab", "coordinator", "--policy", "r3", "--out", tmp_path / "r3").code == 2


def test_served_models_say_what_they_say_in_this_process(tmp_path: Path) -> None:
    prompts = [
        prompt_text(q.text) for family in ("text", "facts", "composed") for q in questions(family, 10, "test", 6)
    ]

    async def go(url: str) -> tuple[list[str], list[str]]:
        here, values = lab_pool(), served_values(SHIPPED, {"words": url})
        values["models"] = [m for m in values["models"] if m["name"] == "words"]
        there = build_pool(check_pool(values, "served"))
        try:
            return await said(here, "words", prompts), await said(there, "words", prompts)
        finally:
            await here.aclose()
            await there.aclose()

    with LlamaServer(SHIPPED / "words.gguf", context=CONTEXT, slots=1, log=tmp_path / "log") as server:
        here, there = asyncio.run(go(server.base_url))
    assert here == there


def test_gguf_and_safetensors_agree(tmp_path: Path, cli: Callable[..., Any]) -> None:
    """On 96 questions; the published figure rests on 500."""
    torch = needs("torch", "lab")
    from safetensors.numpy import load_file

    from routewright.lab.export import read_gguf
    from routewright.lab.llama import Llama

    assert cli("lab", "export", "--out", tmp_path, "--model", "small").code == 0
    shape, words, _ = read_gguf(SHIPPED / "small.gguf")
    model = Llama(shape)
    weights = load_file(tmp_path / "small" / "model.safetensors")
    model.load_state_dict({k.removeprefix("model."): torch.tensor(v) for k, v in weights.items()})
    prompts = [prompt_text(q.text) for family in (*FAMILIES, "composed") for q in questions(family, 12, "test", 8)]
    again = [words.decode(ids) for ids in model.greedy(words.encode(prompts), words.end, LONGEST_REPLY)]

    async def go() -> list[str]:
        pool = lab_pool()
        try:
            return await said(pool, "small", prompts)
        finally:
            await pool.aclose()

    here = asyncio.run(go())
    assert sum(a.strip() == b.strip() for a, b in zip(here, again, strict=True)) >= 0.97 * len(prompts)


def test_the_demonstration_shows_its_steps_and_writes_its_report(tmp_path: Path, cli: Callable[..., Any]) -> None:
    ran = cli("demo", "--out", tmp_path / "out", "--questions", 28, "--ask", 2)
    assert ran.code == 0, ran.err
    assert ran.out.count("\nQ: ") == 2
    assert "planner writes a plan" in ran.out
    assert "oracle of one call" in ran.out
    facts = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert set(facts["rows"]) == {*solvers(list(ROSTER)), "oracle of one call", "coordinator"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('<article class="trace') == 2
    assert "http" not in page.replace("http-equiv", "")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"demo.json", "report.html"}


def test_the_coordinator_was_trained_on_these_models() -> None:
    assert set(shipped().router.models) == {*solvers(list(ROSTER)), POLICY}  # type: ignore[union-attr]
    assert (FOLDER / "policy.json").is_file()


def test_the_pool_file_serves_ask(tmp_path: Path, cli: Callable[..., Any]) -> None:
    assert cli("lab", "pool", "--out", tmp_path / "pool.toml").code == 0
    question = "Tell me the upper case form of the country where the Iskar rises."
    ran = cli("ask", question, "--pool", tmp_path / "pool.toml", "--policy", FOLDER, "--trace")
    assert ran.code == 0, ran.err
    assert "BULGARIA" in ran.out
    assert "planner (policy)" in ran.out
