"""`routewright train r1 RUN.toml --out DIR`: teach a language model to route, by imitation and then by reinforcement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from routewright.cli.show import console, refuse_out


def train_r1(
    run: Annotated[Path, typer.Argument(metavar="RUN.toml", help="What to train, and on what.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, its history and its checkpoints.")],
    base: Annotated[
        str,
        typer.Option(
            help="The model to begin with, instead of the file's: a lab model (GGUF), a folder, a hub's name."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Random seed of questions, worths, rollouts.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Train a router for the policy r1: imitation, then GRPO on episodes that the engine plays; an interrupted run goes on."""
    from routewright.config import parse, read_toml
    from routewright.errors import MissingExtra
    from routewright.train.r1_settings import R1Settings

    values = read_toml(run)
    if base:
        values["base"] = base
    settings = parse(R1Settings, values, str(run))
    refuse_out(out)
    try:
        import torch
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingExtra("Training a router", "trl", "rl") from error
    from routewright.train.r1 import train_r1 as go

    torch.set_num_threads(threads)
    verdict = go(settings, out, seed, told)
    if "gain" in verdict:
        said = "is kept" if verdict["kept"] else "is not clearly better: the start is kept"
        console.print(
            f"{out}: utility on questions held out {verdict['start']:+.3f}; best {verdict['gain']:+.3f} "
            f"(standard error {verdict['error']:.3f}) at step {verdict['best_step']}, which {said}"
        )


def told(record: dict[str, Any]) -> None:
    """A line for a step, or for a look at what is held out."""
    if "held_out" in record:
        console.print(
            f"{record['update']}: held out: utility {record['held_out']:+.3f} ({record['held_out_gain']:+.3f}), "
            f"{100 * record['held_out_quality']:.0f}% right at {1000 * record['held_out_usd']:.3f} USD / 1,000, "
            f"{record['held_out_calls']:.1f} calls"
        )
        return
    console.print(
        f"{record['update']}: reward {record['reward']:+.3f}, {100 * record['quality']:.0f}% right, {record['calls']:.1f} calls, "
        f"largest share {100 * record['largest_share']:.0f}%"
        + (" (collapsed)" if record["collapsed"] else "")
        + f", malformed {100 * record['malformed']:.0f}%, "
        f"{record['rollouts_per_s']:.1f} rollouts/s"
    )
