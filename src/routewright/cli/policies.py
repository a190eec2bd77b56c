"""`routewright policies`: what can be trained and judged."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from routewright.cli.show import console


def policies() -> None:
    """List the policies, with what each does and its options."""
    from routewright.policies.table import POLICIES
    from routewright.scorers import SCORERS

    for title, kinds in (("one call", SCORERS), ("several calls", POLICIES)):
        table = Table(title, "what it does", "options")
        for name in kinds:
            kind: Any = kinds.load(name)
            options = ", ".join(f"{key}={_default(field)}" for key, field in kind.Config.model_fields.items()) or "-"
            table.add_row(name, kind.summary, options)
        console.print(table)
    typer.echo("Encoders: " + ", ".join(_encoders()))


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    return "required" if field.is_required() else "-" if value in ("", (), None) else str(value)


def _encoders() -> list[str]:
    from routewright.encoders import ENCODERS

    return list(ENCODERS)
