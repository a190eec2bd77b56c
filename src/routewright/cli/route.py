"""`routewright route DIR --query "..."`: what a trained router would do with one query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from routewright.cli.show import console, listing, usd


def route(
    router: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a trained router.")],
    query: Annotated[str, typer.Option(help="The query.")],
    value_usd: Annotated[
        float | None, typer.Option(help="What a right answer is worth, USD per unit of score.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A trade-off found in training: q100, q99, q95.")] = None,
    budget_usd: Annotated[float | None, typer.Option(help="Leave out models forecast to cost more.")] = None,
    deny: Annotated[str, typer.Option(help="Models not to use, separated by commas.")] = "",
    models: Annotated[str, typer.Option(help="The pool it has to be trained for, in order, by commas; checked.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Print the forecast for each model, and the choice with its reason."""
    from routewright.router import load

    loaded = load(router, [m for m in models.split(",") if m] or None)
    if value_usd is None and preset is None and not loaded.presets:
        raise typer.BadParameter("say what a right answer is worth: --value-usd 0.01")
    choice = loaded.route(
        query, value_usd, preset=preset, budget_usd=budget_usd, deny=[m for m in deny.split(",") if m]
    )
    if as_json:
        facts = {
            "model": choice.model,
            "reason": choice.reason,
            "probability": choice.probability,
            "value_usd": choice.value_usd,
            "quality": dict(choice.quality),
            "cost_usd": dict(choice.cost_usd),
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    table = listing("", "model", "quality", "USD", "utility USD")
    worth = {m: choice.value_usd * q - choice.cost_usd[m] for m, q in choice.quality.items()}
    for name in sorted(worth, key=lambda m: -worth[m]):
        mark = ">" if name == choice.model else ""
        table.add_row(mark, name, f"{choice.quality[name]:.3f}", usd(choice.cost_usd[name]), f"{worth[name]:.3g}")
    console.print(table)
    console.print(choice.reason)
