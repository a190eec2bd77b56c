"""`routewright import FORMAT PATH --out TABLE`: a published format to an outcome table.

Not here: the formats; each is a file of `outcomes/importers/`. An option that a format does not know is
refused there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from routewright.errors import ConfigError
from routewright.outcomes.importers import IMPORTERS, import_outcomes
from routewright.types import ScoreKind

_FORMATS = ", ".join(IMPORTERS)


def import_table(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of: {_FORMATS}.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="File or folder in that format.")],
    out: Annotated[Path, typer.Option("--out", help="Outcome table to write, a .parquet file.")],
    prices: Annotated[
        Path | None,
        typer.Option("--prices", help="Price file (TOML or candidate JSON): costs become tokens x prices."),
    ] = None,
    usd_per_call: Annotated[
        list[str] | None,
        typer.Option("--usd-per-call", metavar="MODEL=USD", help="Declared cost of a call; repeatable."),
    ] = None,
    estimate_tokens: Annotated[
        bool,
        typer.Option("--estimate-tokens", help="Count missing tokens from the texts; marked as estimated."),
    ] = False,
    assume_completion_tokens: Annotated[
        int | None, typer.Option("--assume-completion-tokens", help="Tokens out where no answer was kept.")
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Name of the data set.")] = None,
    score_kind: Annotated[
        ScoreKind | None, typer.Option("--score-kind", help="What the scores measure; found by default.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", help="generic: TOML file with the tables map and set.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=SOURCE", help="generic: where a column comes from; repeatable."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="COLUMN=VALUE", help="generic: one value for all rows; repeatable."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="routellm: only this model column; repeatable.")
    ] = None,
    responses: Annotated[bool, typer.Option("--responses/--no-responses", help="Keep the answer texts.")] = True,
    drop_missing: Annotated[bool, typer.Option("--drop-missing", help="Drop rows without a score.")] = False,
    keep_first: Annotated[bool, typer.Option("--keep-first", help="Of repeated rows keep the first.")] = False,
) -> None:
    """Import a published format of recorded outcomes."""
    options: dict[str, Any] = {
        "prices": prices,
        "usd_per_call": _pairs("--usd-per-call", usd_per_call),
        "estimate_tokens": estimate_tokens or None,
        "assume_completion_tokens": assume_completion_tokens,
        "dataset": dataset,
        "score_kind": score_kind,
        "mapping": mapping,
        "map": _pairs("--map", map_),
        "set": _pairs("--set", set_),
        "models": tuple(model) if model else None,
        "responses": None if responses else False,
        "drop_missing": drop_missing or None,
        "keep_first": keep_first or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    typer.echo(str(import_outcomes(format, path, out, given)))


def _pairs(option: str, values: list[str] | None) -> dict[str, str] | None:
    """NAME=VALUE options as a dictionary; a price is split off at the last `=`, since a model name may hold one."""
    if not values:
        return None
    pairs: dict[str, str] = {}
    for value in values:
        name, equals, rest = value.rpartition("=") if option == "--usd-per-call" else value.partition("=")
        if not (equals and name and rest):
            raise ConfigError(f"{option} {value!r} is no pair. Expected NAME=VALUE.")
        if name in pairs:
            raise ConfigError(f"{option} names {name!r} twice. Expected each once.")
        pairs[name] = rest
    return pairs
