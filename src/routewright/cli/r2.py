"""`routewright r2 ...`: data for the policy r2: plans that are worth writing, allocations that come out right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routewright.cli.show import console, progress, refuse_out

if TYPE_CHECKING:
    from routewright.train.r2_settings import R2Data
    from routewright.train.r2_world import DataWorld

r2 = typer.Typer(no_args_is_help=True, help="Data for the policy r2: plans and allocations.")
Run = Annotated[Path, typer.Argument(metavar="RUN.toml", help="Pool, questions, weights.")]
Out = Annotated[Path, typer.Option(help="Folder for what is made; an interrupted run goes on.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the lab's questions [default: the file's].")]


@r2.command()
def plans(run: Run, out: Out, seed: Seed = None) -> None:
    """Sample plans of every question, score them, and write the best as pairs for supervised training."""
    import asyncio

    from routewright.train.r2_plans import PLANS, TAUGHT, make_plans

    settings, world = _world(run, out, seed)

    async def go(bar: Any) -> Any:
        try:
            return await make_plans(settings, world, out, bar)
        finally:
            await world.pool.aclose()

    with progress("plans") as bar:
        lines = asyncio.run(go(bar))
    found = [len(item["candidates"]) for item in lines]
    refused = sum(item["refused"] for item in lines)
    console.print(
        f"{out / PLANS}: {len(found)} questions, {sum(found)} different plans, {refused} texts refused; "
        f"{sum(n > 0 for n in found)} pairs in {TAUGHT}"
    )


@r2.command()
def allocations(run: Run, out: Out, seed: Seed = None) -> None:
    """Search which models come out right on the best plans, and write outcomes of their subtasks as a table."""
    import asyncio

    from routewright.errors import ConfigError
    from routewright.train.r2_plans import PLANS
    from routewright.train.r2_search import OUTCOMES, make_allocations, subtasks_of
    from routewright.train.r2_world import Lines

    settings, world = _world(run, out, seed)
    made = Lines(out / PLANS)
    if not made.items:
        raise ConfigError(f"{out} has no {PLANS}. Expected what `routewright r2 plans {run} --out {out}` writes.")

    async def go(bar: Any) -> Any:
        try:
            return await make_allocations(settings, world, made, out, bar)
        finally:
            await world.pool.aclose()

    with progress("allocations") as bar:
        lines = asyncio.run(go(bar))
    trials = sum(len(item["trials"]) for item in lines)
    rows = subtasks_of(out)
    console.print(
        f"{out / OUTCOMES}: {rows} subtasks x {len(settings.models)} models; {sum(item['right'] for item in lines)} of "
        f"{len(lines.items)} questions solved in {trials} trials"
    )


def _world(run: Path, out: Path, seed: int | None) -> tuple[R2Data, DataWorld]:
    from routewright.config import parse, read_toml
    from routewright.train.r2_settings import R2Data
    from routewright.train.r2_world import make_world

    values = read_toml(run)
    if seed is not None and isinstance(values.get("world"), dict):
        values["world"]["seed"] = seed
    settings = parse(R2Data, values, str(run))
    refuse_out(out)
    out.mkdir(parents=True, exist_ok=True)
    return settings, make_world(settings, out)
