"""`routewright lab ...`: the pool of tiny models that comes with the project: train its models, measure them."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from routewright.cli.show import console, listing, progress

lab = typer.Typer(no_args_is_help=True, help="The pool of tiny models that is trained here.")


@lab.command()
def train(
    name: Annotated[str, typer.Argument(help="Which model; see `routewright lab models`.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, its card and its checkpoint.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Steps [default: the recipe's].")] = None,
    questions: Annotated[int, typer.Option(min=10, help="Test questions a family, for the card.")] = 300,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Train one model from its recipe and write it as GGUF and safetensors with its card; an interrupted run resumes."""
    from routewright.cli.show import refuse_out
    from routewright.errors import MissingExtra, UnknownName
    from routewright.lab.roster import ROSTER, source, vocabulary

    if name not in ROSTER:
        raise UnknownName("model of the lab", name, ROSTER)
    refuse_out(out)
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("Training a lab model", "torch", "lab") from error
    from routewright.lab import learn
    from routewright.lab.card import write_model

    torch.set_num_threads(threads)
    recipe = ROSTER[name] if steps is None else dataclasses.replace(ROSTER[name], steps=steps)
    words = vocabulary()
    began = time.process_time()
    with progress(f"training {name}") as bar:
        model = learn.train(
            words,
            recipe.shape(len(words)),
            source(recipe),
            recipe.course,
            out / f"{name}.checkpoint",
            lambda step, of, loss: bar(step, of, f"loss {loss:.3f}"),
        )
    card = write_model(out, recipe, model, words, time.process_time() - began, questions)
    console.print(card)


@lab.command()
def record(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the models' GGUF files.")],
    out: Annotated[Path, typer.Option(help="Folder for the tree, a table of several files.")],
    family: Annotated[str, typer.Option(help="Questions: a family, composed, or mix.")] = "composed",
    questions: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    depth: Annotated[int, typer.Option(min=1, max=6, help="Calls in a row at most.")] = 2,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the questions.")] = 0,
    models: Annotated[
        str, typer.Option(help="Only these models, separated by commas [default: all but planners].")
    ] = "",
) -> None:
    """Record what every model says after every sequence of notes; an interrupted run goes on."""
    import asyncio

    from routewright.cli.show import refuse_out
    from routewright.lab.pool import lab_pool
    from routewright.lab.questions import questions as ask
    from routewright.lab.record import record as run
    from routewright.lab.roster import PLAN, ROSTER

    refuse_out(out)
    asked = ask(family, questions, split, seed)
    pool = lab_pool(folder)
    names = [m for m in models.split(",") if m] or [m for m in pool.models if PLAN not in ROSTER[m].shares]

    async def go(bar: Any) -> int:
        try:
            return await run(pool, asked, depth, out, names, bar)
        finally:
            await pool.aclose()

    with progress("recording") as bar:
        rows = asyncio.run(go(bar))
    console.print(f"{out}: {rows} rows written, {len(asked)} questions x {len(names)} models, depth {depth}")


@lab.command()
def standing(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the models' GGUF files.")],
    questions: Annotated[int, typer.Option(min=1, help="Questions a family.")] = 200,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the questions.")] = 0,
) -> None:
    """What each model can do alone, the best choice of one call, and the gold plan: right answers and cost."""
    import asyncio

    from routewright.cli.show import usd
    from routewright.lab.pool import lab_pool
    from routewright.lab.roster import PLAN, ROSTER
    from routewright.lab.standing import standing as measure

    pool = lab_pool(folder)
    names = [m for m in pool.models if PLAN not in ROSTER[m].shares]

    async def go() -> Any:
        try:
            return await measure(pool, names, questions, split, seed)
        finally:
            await pool.aclose()

    with console.status("asking every model everything ..."):
        found = asyncio.run(go())
    for family, rows in found.items():
        table = listing(family, "right %", "95% interval", "USD / 1,000")
        for name, row in rows.items():
            low, high = row.share.interval
            right, interval = f"{100 * row.share.share:.1f}", f"[{100 * low:.1f}, {100 * high:.1f}]"
            table.add_row(name, right, interval, usd(1000 * row.usd))
        console.print(table)
    console.print("oracle: one call, chosen after the fact; gold plan: reads the plan, whose finding is not charged")


@lab.command()
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the models' GGUF files.")],
    out: Annotated[Path, typer.Option(help="Pool file to write for the servers.")] = Path("lab-pool.toml"),
) -> None:
    """Serve every model with llama.cpp on a loopback port, until interrupted; writes the pool file that finds them."""
    import contextlib
    import signal
    import threading

    from routewright.lab.pool import pool_values, served_values
    from routewright.lab.roster import CONTEXT
    from routewright.lab.server import LlamaServer
    from routewright.outcomes.table import beside
    from routewright.pools.config import as_toml

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as running:
        urls = {}
        for model in (m["name"] for m in pool_values(folder)["models"]):
            server = LlamaServer(
                folder / f"{model}.gguf", context=CONTEXT, slots=1, log=out.with_suffix(f".{model}.log")
            )
            urls[model] = running.enter_context(server).base_url
            console.print(f"{model}: {urls[model]}")
        with beside(out) as temporary:
            temporary.write_text(as_toml(served_values(folder, urls)), encoding="utf-8")
        console.print(f"{out}: the pool file; stop with Ctrl-C")
        stop.wait()


@lab.command("models")
def list_models() -> None:
    """List the models of the lab: what each is for, and its size."""
    from routewright.lab.roster import ROSTER, vocabulary

    size = len(vocabulary())
    table = listing("model", "what it is for", "parameters", "steps")
    for recipe in ROSTER.values():
        table.add_row(recipe.name, recipe.about, f"{recipe.parameters(size) / 1e6:.2f} M", str(recipe.steps))
    console.print(table)
