"""`routewright lab ...`: the pool of tiny models that comes with the project: train its models, measure them."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from routewright.cli.show import console, listing, progress

lab = typer.Typer(no_args_is_help=True, help="The pool of tiny models that is trained here.")
Folder = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Folder with the models' GGUF files [default: the shipped ones].")
]


@lab.command()
def train(
    name: Annotated[str, typer.Argument(help="Which model; see `routewright lab models`.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, its card and its checkpoint.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Steps [default: the recipe's].")] = None,
    questions: Annotated[int, typer.Option(min=10, help="Test questions a family, for the card.")] = 300,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of weights and questions.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda [default: cuda if there is one].")] = "",
) -> None:
    """Train one model from its recipe and write it as GGUF with its card; an interrupted run resumes."""
    from routewright.cli.show import refuse_out
    from routewright.errors import ConfigError, MissingExtra, UnknownName
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
    if device not in ("", "cpu") and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ConfigError(f"--device {device} is not to be had here. Expected cpu, or cuda where PyTorch finds a GPU.")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    recipe = ROSTER[name] if steps is None else dataclasses.replace(ROSTER[name], steps=steps)
    words = vocabulary()
    began = time.process_time()
    model = None
    then = recipe.then if steps is None else None
    for lesson, checkpoint in ((recipe, f"{name}.checkpoint"), *([(then, f"{name}.2.checkpoint")] if then else [])):
        with progress(f"training {name}" + (", second lesson" if lesson is then else "")) as bar:

            def told(step: int, of: int, loss: float, bar: Any = bar) -> None:
                bar(step, of, f"loss {loss:.3f}")

            model = learn.train(
                words,
                lesson.shape(len(words)),
                source(lesson),
                dataclasses.replace(lesson.course, seed=seed),
                out / checkpoint,
                told,
                device,
                model,
            )
    assert model is not None
    card = write_model(out, recipe, model, words, time.process_time() - began, questions)
    console.print(card)


@lab.command()
def record(
    out: Annotated[Path, typer.Option(help="Folder for the tree, a table of several files.")],
    folder: Folder = None,
    family: Annotated[str, typer.Option(help="Questions: a family, composed, or mix.")] = "composed",
    questions: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    depth: Annotated[int, typer.Option(min=1, max=6, help="Calls in a row at most.")] = 2,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the questions.")] = 0,
    models: Annotated[
        str, typer.Option(help="Only these models, separated by commas [default: all but planners].")
    ] = "",
    past: Annotated[bool, typer.Option(help="Go on after an answer, so that every path has the full depth.")] = False,
    width: Annotated[int, typer.Option(min=0, help="Paths taken on from each depth, at random [default: all].")] = 0,
) -> None:
    """Record what every model says after every sequence of notes; an interrupted run goes on."""
    import asyncio

    from routewright.cli.show import refuse_out
    from routewright.lab.pool import SHIPPED, lab_pool, solvers
    from routewright.lab.questions import questions as ask
    from routewright.lab.record import Growth
    from routewright.lab.record import record as run

    refuse_out(out)
    asked = ask(family, questions, split, seed)
    pool = lab_pool(folder or SHIPPED)
    names = [m for m in models.split(",") if m] or solvers(pool.models)

    async def go(bar: Any) -> int:
        try:
            return await run(pool, asked, Growth(depth, past, width), out, names, bar)
        finally:
            await pool.aclose()

    with progress("recording") as bar:
        rows = asyncio.run(go(bar))
    console.print(f"{out}: {rows} rows written, {len(asked)} questions x {len(names)} models, depth {depth}")


@lab.command()
def standing(
    folder: Folder = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions a family.")] = 200,
    composed: Annotated[int, typer.Option(min=0, help="Composed questions [default: as many].")] = 0,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    coordinator: Annotated[
        Path | None, typer.Option(help="A trained coordinator to play as well [default: the shipped one].")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write the tables to this file too, as Markdown.")] = None,
) -> None:
    """What each model can do alone, the best choice of one call, and the gold plan: right answers and cost."""
    import asyncio

    from routewright.cli.show import usd
    from routewright.coordinator import load_coordinator
    from routewright.lab.coordinator import FOLDER
    from routewright.lab.pool import SHIPPED, lab_pool, solvers
    from routewright.lab.standing import markdown
    from routewright.lab.standing import standing as measure
    from routewright.outcomes.table import beside

    pool = lab_pool(folder or SHIPPED)
    names = solvers(pool.models)
    planner = next((m for m in pool.models if m not in names), "")
    own = coordinator or (FOLDER if folder is None else None)
    policy = load_coordinator(own).policy if own is not None and planner else None

    async def go() -> Any:
        try:
            return await measure(
                pool,
                names,
                questions,
                composed,
                split,
                seed,
                planner=planner,
                stepwise="large" if "large" in names else "",
                coordinator=policy,
            )
        finally:
            await pool.aclose()

    with console.status("asking every model everything ..."):
        found = asyncio.run(go())
    for family, rows in found.items():
        table = listing(family, "right %", "95% interval", "USD / 1,000", "calls")
        for name, row in rows.items():
            low, high = row.share.interval
            right, interval = f"{100 * row.share.share:.1f}", f"[{100 * low:.1f}, {100 * high:.1f}]"
            table.add_row(name, right, interval, usd(1000 * row.usd), f"{row.calls:.1f}")
        console.print(table)
    console.print(
        "oracle: one call, chosen after the fact; gold plan: reads the plan the question was made from, whose finding is "
        "charged only in `planner + gold`"
    )
    if page is not None:
        with beside(page) as temporary:
            temporary.write_text(markdown(found), encoding="utf-8")


@lab.command()
def export(
    folder: Folder = None,
    out: Annotated[Path, typer.Option(help="Folder to write; a folder for each model.")] = Path("lab-models"),
    model: Annotated[str, typer.Option(help="Only this one.")] = "",
) -> None:
    """Write the models as safetensors with configuration and tokenizer, as transformers reads them, from their GGUF files."""
    from routewright.cli.show import refuse_out
    from routewright.errors import MissingExtra, UnknownName
    from routewright.lab.export import read_gguf, write_safetensors
    from routewright.lab.pool import SHIPPED, pool_values

    refuse_out(out)
    files = {p["path"] for p in pool_values(folder or SHIPPED)["providers"].values()}
    names = {Path(file).stem: Path(file) for file in sorted(files)}
    if model and model not in names:
        raise UnknownName("model there", model, names)
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise MissingExtra("Reading GGUF files", "gguf", "lab") from error
    for name, file in names.items():
        if model in ("", name):
            shape, words, weights = read_gguf(file)
            write_safetensors(out / name, weights, shape, words)
            console.print(str(out / name))


@lab.command()
def coordinator(
    out: Annotated[Path, typer.Option(help="Folder for the coordinator.")],
    folder: Folder = None,
    table: Annotated[
        Path | None, typer.Option(help="Folder for the outcomes it learns from [default: beside it].")
    ] = None,
    questions: Annotated[int, typer.Option(min=20, help="Questions a family; three times as many composed.")] = 200,
    scorer: Annotated[str, typer.Option(help="What forecasts; see `routewright policies`.")] = "routewright",
    policy: Annotated[
        str, typer.Option(help="decompose, or r1: the trained router, told what each model is best at.")
    ] = "decompose",
) -> None:
    """Train the coordinator: every model and every plan on validation questions, then a router on that; resumes."""
    import asyncio

    from routewright.cli.show import refuse_out, usd
    from routewright.coordinator import refuse_target
    from routewright.errors import UnknownName
    from routewright.lab.coordinator import describe
    from routewright.lab.coordinator import train as fit
    from routewright.lab.pool import SHIPPED, lab_pool

    refuse_out(out)
    refuse_target(out)
    pool = lab_pool(folder or SHIPPED)

    if policy not in ("decompose", "r1"):
        raise UnknownName("coordinator of the lab", policy, ("decompose", "r1"))

    async def go(bar: Any) -> Any:
        try:
            if policy == "r1":
                return await describe(pool, questions)
            return await fit(
                pool,
                table or out.with_name(f"{out.name}-outcomes"),
                questions,
                scorer,
                lambda what, done, of: bar(done, of, what),
            )
        finally:
            await pool.aclose()

    with progress("training the coordinator") as bar:
        made = asyncio.run(go(bar))
    made.save(out)
    presets = ", ".join(f"{name} {usd(value)}" for name, value in made.presets.items())
    console.print(f"{out}: {made.about['queries']} questions; presets, USD for a right answer: {presets or 'none'}")


@lab.command("pool")
def write_pool(
    folder: Folder = None,
    out: Annotated[Path, typer.Option(help="Pool file to write.")] = Path("lab-pool.toml"),
) -> None:
    """Write the pool file of the models, run in this process, for `ask` and `collect`."""
    from routewright.cli.show import refuse_out
    from routewright.lab.coordinator import FOLDER
    from routewright.lab.pool import SHIPPED, pool_values
    from routewright.outcomes.table import beside
    from routewright.pools.config import as_toml

    refuse_out(out.absolute().parent)
    values = pool_values((folder or SHIPPED).absolute())
    with beside(out) as temporary:
        temporary.write_text(as_toml(values), encoding="utf-8")
    console.print(f"{out}: {len(values['models'])} models")
    if folder is None and FOLDER.is_dir():
        console.print(f"their coordinator, for --policy: {FOLDER}")


@lab.command()
def serve(
    folder: Folder = None,
    out: Annotated[Path, typer.Option(help="Pool file to write for the servers.")] = Path("lab-pool.toml"),
) -> None:
    """Serve every model with llama.cpp on a loopback port, until interrupted; writes the pool file that finds them."""
    import contextlib
    import signal
    import threading

    from routewright.lab.pool import SHIPPED, pool_values, served_values
    from routewright.lab.roster import CONTEXT
    from routewright.lab.server import LlamaServer
    from routewright.outcomes.table import beside
    from routewright.pools.config import as_toml

    folder = folder or SHIPPED
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
