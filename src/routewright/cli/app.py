"""The verbs, put together."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from routewright.cli.add_model import add_model
from routewright.cli.ask import ask
from routewright.cli.collect import collect
from routewright.cli.demo import demo
from routewright.cli.evaluate import evaluate
from routewright.cli.export import export
from routewright.cli.import_ import import_table
from routewright.cli.inspect import inspect
from routewright.cli.lab import lab
from routewright.cli.onboard import onboard
from routewright.cli.policies import policies
from routewright.cli.profile import profile
from routewright.cli.r2 import r2
from routewright.cli.route import route
from routewright.cli.routes import routes
from routewright.cli.serve import serve
from routewright.cli.train import train
from routewright.cli.train_r1 import train_r1
from routewright.cli.train_r2 import train_r2


class OrTable(TyperGroup):
    """`train r1 ...` and `train r2 ...` are commands of their own; everything else that follows `train` is about tables, as it always was."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["table", *args])


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are text
    help="Learn which model should answer, prove the saving on recorded outcomes, then serve it.",
)
app.command("import")(import_table)
app.command()(collect)
app.command()(inspect)
app.command()(profile)
app.command()(evaluate)
training = typer.Typer(cls=OrTable, rich_markup_mode=None)
training.command("table")(train)
training.command("r1")(train_r1)
training.command("r2")(train_r2)
app.add_typer(
    training,
    name="train",
    help="Train a router or a coordinator on recorded outcomes; `train r1`, `train r2`: language models.",
)
app.command("add-model")(add_model)
app.command()(route)
app.command()(ask)
app.command()(onboard)
app.command()(serve)
app.command()(export)
app.command()(policies)
app.command()(demo)
app.add_typer(routes, name="routes")
app.add_typer(lab, name="lab")
app.add_typer(r2, name="r2")


def _version(show: bool) -> None:
    if show:
        from routewright import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def shared(
    version: bool = typer.Option(
        False, "--version", help="Print the version and leave.", callback=_version, is_eager=True
    ),
) -> None:
    """Options of the command itself."""
