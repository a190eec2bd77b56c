"""`routewright demo`: the main job on a small simulated table that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routewright.cli.show import console, refuse_out

QUERY = "Write a Python function that reverses a linked list in groups of k."


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and the router.")] = Path("out/demo"),
    seeds: Annotated[int, typer.Option(help="Repetitions.")] = 3,
) -> None:
    """Judge policies on a simulated pool, train the default router on it, and route one query. No key, no network."""
    from routewright.cli.evaluate import judge_plan, show
    from routewright.cli.inspect import examine
    from routewright.cli.route import route
    from routewright.cli.train import train
    from routewright.config import parse
    from routewright.evaluate.optimum import optimum
    from routewright.evaluate.settings import Settings
    from routewright.evaluate.tables import plan
    from routewright.outcomes.simulated import TABLE

    names = ("routewright", "ridge", "gbdt", "task_mean")
    settings = parse(Settings, {"policies": names, "seeds": seeds}, "the command line")
    refuse_out(out)
    console.print(f"1. A table of recorded outcomes (simulated): {TABLE.name}")
    facts = examine(TABLE)
    console.print(
        f"   {facts['queries']} queries x {len(facts['models'])} models, oracle {100 * facts['oracle']['quality']:.1f}%"
    )
    console.print("2. Judge policies on it, cross-fitted, against the controls")
    report = judge_plan(plan([TABLE]), settings, out, "routewright demo")
    show(report)
    console.print(f"the simulator's own optimum, knowing every probability: gain {100 * optimum(TABLE):+.1f} points")
    console.print("\n3. Train the default router and save it")
    train([TABLE], out / "router")
    console.print("\n4. Route one query")
    console.print(f"   {QUERY}")
    route(out / "router", QUERY, preset="q99")
    console.print(f"\nThe report to look at: {out / 'report.html'}")
