"""`routewright policies`: what can be trained and judged."""

from __future__ import annotations

import typer
from rich.table import Table

from routewright.cli.show import console


def policies() -> None:
    """List the policies, with what each does and its options."""
    from routewright.scorers import SCORERS

    table = Table("policy", "what it does", "options")
    for name in SCORERS:
        scorer = SCORERS.load(name)
        fields = scorer.Config.model_fields
        options = ", ".join(f"{key}={field.get_default()}" for key, field in fields.items()) or "-"
        table.add_row(name, scorer.summary, options)
    console.print(table)
    typer.echo("Encoders: " + ", ".join(_encoders()))


def _encoders() -> list[str]:
    from routewright.encoders import ENCODERS

    return list(ENCODERS)
