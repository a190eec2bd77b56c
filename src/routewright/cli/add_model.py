"""`routewright add-model DIR TABLE... --model NAME --out DIR`: a model joins a coordinator that was trained without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routewright.cli.show import console, refuse_out, usd


def add_model(
    trained: Annotated[Path, typer.Argument(metavar="DIR", help="What `routewright train` wrote.")],
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLE...", help="Outcomes of the trained models, and what there is of the new one."),
    ],
    model: Annotated[str, typer.Option(help="The new model.")],
    out: Annotated[Path, typer.Option(help="Folder for the coordinator with that model.")],
    prices: Annotated[Path | None, typer.Option(help="Price file with the new model's prices.")] = None,
    cost_usd: Annotated[
        float | None, typer.Option(min=0, help="Or what a call costs, USD [default: what the probes cost].")
    ] = None,
) -> None:
    """Let a trained coordinator ask one more model: by its price, and by what it replied to some of the table's queries."""
    from routewright import coordinator
    from routewright.errors import ConfigError, UnknownName
    from routewright.outcomes.prices import call_usd, read_prices
    from routewright.outcomes.probes import load_probes

    if prices is not None and cost_usd is not None:
        raise ConfigError("--prices and --cost-usd both say what a call costs. Expected one of them.")
    cards = None if prices is None else read_prices(prices)
    if cards is not None and model not in cards:
        raise UnknownName(f"model of {prices}", model, cards)
    found = coordinator.load_coordinator(trained)
    refuse_out(out)
    coordinator.refuse_target(out)
    if model in found.policy.models:
        raise ConfigError(f"{model} is in it already. Expected a model that {trained} does not know.")
    known, probes = load_probes(tables, found.policy.models, model)
    if cards is not None:
        cost_usd = call_usd(cards[model], known)
    if probes is None and cost_usd is None:
        raise ConfigError(
            f"{known.name} has no reply of {model}, so its price is all there is to go by. Expected --prices, --cost-usd, or a table "
            "with its replies."
        )
    quality, cost = found.add(model, cost_usd, probes)
    found.save(out)
    told = "no probes" if probes is None else f"{len(probes)} probes, {100 * probes.quality[:, -1].mean():.1f}% right"
    console.print(
        f"{out}: {found.policy.kind} over {len(found.policy.models)} models; {model} ({told}) is expected to score "
        f"{100 * quality:.1f}% at {usd(1000 * cost)} USD / 1,000"
    )
