"""`routewright demo`: the coordinator of the lab on a pool of tiny models, live, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routewright.cli.show import console, listing, progress, refuse_out, usd

if TYPE_CHECKING:
    from routewright.coordinator import Coordinator
    from routewright.types import Episode, State, Step


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("out/demo"),
    questions: Annotated[int, typer.Option(min=28, help="Test questions of the comparison, about.")] = 280,
    ask: Annotated[int, typer.Option(min=1, max=50, help="Composed questions to show.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the questions.")] = 0,
    coordinator: Annotated[
        str, typer.Option(help="auto: plans what is worth a plan; r1: a router asked at every turn.")
    ] = "auto",
) -> None:
    """Ask tiny models composed questions through a coordinator, show every step, and compare. No key, no GPU, no network."""
    import asyncio

    from routewright.errors import UnknownName
    from routewright.lab.coordinator import shipped, shipped_r1

    ours = {"auto": shipped, "r1": shipped_r1}
    if coordinator not in ours:
        raise UnknownName("coordinator of the lab", coordinator, ours)
    refuse_out(out)
    report = asyncio.run(_run(out, questions, ask, seed, ours[coordinator]()))
    console.print(f"\nThe report to look at: {report}")


async def _run(out: Path, n: int, ask: int, seed: int, coordinator: Coordinator) -> Path:
    from routewright.lab.demo import asked_questions, compare, shown_questions
    from routewright.lab.pool import lab_pool

    pool = lab_pool()
    try:
        _pool_table(pool)
        console.print(
            f"\n{ask} composed questions, asked now: test questions, about names that no composed question in training had:\n"
        )
        shown = [(question, *await _ask(coordinator, pool, question)) for question in shown_questions(ask, seed)]
        with progress("comparing") as bar:
            facts = await compare(pool, coordinator, asked_questions(n, seed), bar)
    finally:
        await pool.aclose()
    _comparison(facts)
    return _write(out, facts, shown)


async def _ask(coordinator: Any, pool: Any, question: Any) -> tuple[Episode, bool]:
    """One question; each step is printed when it is done."""
    from routewright.lab.demo import VALUE_USD, told
    from routewright.lab.measure import score_of
    from routewright.lab.questions import query_of
    from routewright.policies.plan_text import answer_text

    console.print(f"Q: {question.text}")

    def show(state: State, step: Step | None, episode: Episode | None) -> None:
        for line in told(step) if step is not None else ():
            console.print(f"   {line}")

    episode = await coordinator.arun(query_of(question), pool, VALUE_USD, sink=show)
    right = score_of(question, episode.answer) == 1.0
    said = answer_text(episode.answer)
    verdict = "right" if right else f"wrong, expected {question.answer}"
    console.print(f"A: {said} ({verdict}); {usd(1000 * episode.cost_usd)} USD/1,000, {episode.latency_s:.2f} s\n")
    return episode, right


def _pool_table(pool: Any) -> None:
    from routewright.lab.roster import ROSTER, vocabulary

    size = len(vocabulary())
    table = listing("model", "what it is for", "weights", "USD/M tokens")
    for card in pool.cards:
        recipe = ROSTER[card.name]
        price = f"{usd(card.usd_per_mtok_in)} / {usd(card.usd_per_mtok_out)}"
        table.add_row(card.name, recipe.about, f"{recipe.parameters(size) / 1e6:.1f} M", price)
    console.print(table)


def _comparison(facts: Mapping[str, Any]) -> None:
    from routewright.lab.page import verdict

    console.print(f"Everybody on the same {facts['questions']} test questions, {facts['composed']} of them composed:\n")
    table = listing("who", "right %", "95% interval", "simple", "composed", "USD/1,000", "calls")
    for name, row in facts["rows"].items():
        a = row["all"]
        table.add_row(
            name,
            f"{100 * a['mean']:.1f}",
            f"{100 * a['low']:.0f} to {100 * a['high']:.0f}",
            f"{100 * row['simple']['mean']:.0f}",
            f"{100 * row['composed']['mean']:.0f}",
            usd(1000 * a["cost_usd"]),
            f"{a['calls']:.1f}",
        )
    console.print(table)
    for sentence in verdict(facts):
        console.print(f"\n{sentence}")


def _write(out: Path, facts: Mapping[str, Any], shown: Any) -> Path:
    import datetime
    import json
    import os
    import platform

    import routewright
    from routewright.lab.page import render
    from routewright.outcomes.table import beside

    made = {
        "command": "routewright demo",
        "version": routewright.__version__,
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}",
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("demo.json", json.dumps({**facts, "made": made}, indent=1)),
        ("report.html", render(facts, shown, made)),
    ):
        with beside(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return out / "report.html"
