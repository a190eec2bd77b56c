"""`routewright train r2 RUN.toml --out DIR`: teach both halves of the policy r2, in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from routewright.cli.show import console, refuse_out


def train_r2(
    run: Annotated[Path, typer.Argument(metavar="RUN.toml", help="What to train, and on what.")],
    out: Annotated[Path, typer.Option(help="Folder for every stage: models, histories, checkpoints.")],
    data: Annotated[str, typer.Option(help="Folder of `r2 plans` and `r2 allocations`, instead of the file's.")] = "",
    base: Annotated[
        str,
        typer.Option(
            help="The decomposer to begin with, instead of the file's: a lab model (GGUF), a folder, a hub's name."
        ),
    ] = "",
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed of worths and rollouts; added to the seed of the lab's questions.")
    ] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Train decomposer and allocator of the policy r2: imitation, then reinforcement in turn; an interrupted run goes on."""
    from routewright.config import parse, read_toml
    from routewright.errors import MissingExtra
    from routewright.train.r2_course_settings import R2Settings

    values = read_toml(run)
    if data:
        values["data"] = data
    if base and isinstance(values.get("decomposer", {}), dict):
        values.setdefault("decomposer", {})["base"] = base
    world = values.get("world")
    if isinstance(world, dict) and isinstance(world.get("seed", 0), int):
        world["seed"] = world.get("seed", 0) + seed
    settings = parse(R2Settings, values, str(run))
    refuse_out(out)
    if settings.decomposer.base or settings.allocator.base:
        try:
            import torch
            import trl  # noqa: F401
        except ImportError as error:
            raise MissingExtra("Training a language model", "trl", "rl") from error
        torch.set_num_threads(threads)
    from routewright.train.r2 import train_r2 as go

    for stage in go(settings, out, seed, told):
        said = "is kept" if stage["kept"] else "is not clearly better: what it began with is kept"
        console.print(
            f"{stage['stage']}: utility on questions held out {stage['start']:+.3f}; best {stage['gain']:+.3f} "
            f"(standard error {stage['error']:.3f}), which {said}"
        )


def told(record: dict[str, Any]) -> None:
    """A line for a step, or for a look at what is held out."""
    half, update = record["half"], record["update"]
    if "held_out" in record:
        console.print(
            f"{half} {update}: held out: utility {record['held_out']:+.3f} ({record['held_out_gain']:+.3f}), "
            f"{100 * record['held_out_quality']:.0f}% right at {1000 * record['held_out_usd']:.3f} USD / 1,000, "
            f"{100 * record['held_out_planned']:.0f}% planned"
        )
        return
    reward = record.get("reward", record.get("return", 0.0))
    held = f"; held out {record['held_out_gain']:+.3f}" if "held_out_gain" in record else ""
    console.print(
        f"{half} {update}: reward {reward:+.3f}, {100 * record['quality']:.0f}% right, {record['calls']:.1f} calls, "
        f"largest share {100 * record['largest_share']:.0f}%"
        + (f", malformed {100 * record['malformed']:.0f}%" if "malformed" in record else "")
        + (f", planned {100 * record['planned']:.0f}%" if "planned" in record else "")
        + held
    )
