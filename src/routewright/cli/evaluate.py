"""`routewright evaluate TABLE...`: train, replay and judge policies on recorded outcomes."""

from __future__ import annotations

import datetime
import functools
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from routewright.cli.show import console, listing, points, progress, refuse_out, usd


def evaluate(
    tables: Annotated[list[Path], typer.Argument(metavar="TABLE...", help="Outcome tables: files, or folders.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")],
    policies: Annotated[str, typer.Option(help="Policies, separated by commas; see `routewright policies`.")] = "",
    test: Annotated[
        list[Path] | None, typer.Option(metavar="TABLE...", help="Judge on these tables instead of cross-fitting.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Repetitions [default: 3].")] = None,
    encoder: Annotated[str, typer.Option(help="Encoder [default: hashing].")] = "",
    folds: Annotated[int | None, typer.Option(help="Parts for cross-fitting [default: 5].")] = None,
    draws: Annotated[int | None, typer.Option(help="Bootstrap draws [default: 1000].")] = None,
    models: Annotated[str, typer.Option(help="Only these models, separated by commas.")] = "",
    stream: Annotated[
        list[str] | None, typer.Option(help="NAME=A,B,...: judge these tables also merged; repeatable.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="Price file: costs become tokens x these prices.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML with the settings; options given here win.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Worker processes [default: one a core].")] = None,
) -> None:
    """Judge policies on recorded outcomes against hard baselines; an interrupted run resumes."""
    from routewright.evaluate.tables import plan

    refuse_out(out)
    settings = _settings(config, policies, seeds, encoder, folds, draws, jobs)
    reprice = None
    if prices is not None:
        from routewright.outcomes.prices import read_prices
        from routewright.outcomes.prices import reprice as price_again

        reprice = functools.partial(price_again, prices=read_prices(prices))
    what = plan(
        tables,
        test or [],
        models=[m for m in models.split(",") if m] or None,
        streams=_streams(stream or []),
        reprice=reprice,
        keys=settings.several,
    )
    report = judge_plan(what, settings, out, f"routewright {shlex.join(sys.argv[1:])}")
    show(report)
    console.print(f"{out / 'report.json'}  {out / 'report.html'}")


def judge_plan(what: Any, settings: Any, out: Path, command: str) -> dict[str, Any]:
    """Run the evaluation and write `report.json` and `report.html`, each whole or not at all."""
    from routewright.config import dump
    from routewright.evaluate.page import render
    from routewright.evaluate.report import build
    from routewright.evaluate.run import check, evaluate
    from routewright.outcomes.table import beside

    check(what.units, settings)
    with progress("fits") as bar:
        results = evaluate(what.units, settings, out / "work", bar)
    made: dict[str, object] = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}",
    }
    report = build(settings, results, what.stream, what.notes, made)
    for name, text in (
        ("settings.json", dump(settings)),
        ("report.json", json.dumps(report, indent=1, allow_nan=False)),
        ("report.html", render(report)),
    ):
        with beside(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return report


def show(report: Mapping[str, Any]) -> None:
    """Print the verdict: one table for what is pooled, one line a table otherwise."""
    for note in report["notes"]:
        console.print(f"note: {note}")
    head, labelled = report["pooled"], _reading_labels(report)
    title = {"table": ", ".join(head["tables"]), "stream": "all tables as one stream", "tables": "mean over tables"}
    _show_one(f"{title[head['kind']]} ({head['queries']} queries)", report, labelled)
    if len(report["tables"]) > 1:
        for name, table in report["tables"].items():
            _show_one(
                f"{name} ({table['queries']} queries x {len(table['models'])} models, {table['cost_source']})",
                table,
                labelled,
            )


def _reading_labels(report: Mapping[str, Any]) -> set[str]:
    """Names in the report of the policies that read the task label."""
    from routewright.scorers import SCORERS

    parts = report["settings"]["policies"]
    kinds = {part["name"] or part["kind"]: part.get("scorer") or part["kind"] for part in parts}
    return {label for label, kind in kinds.items() if kind in SCORERS and SCORERS.load(kind).reads_task}


def _show_one(title: str, part: Mapping[str, Any], labelled: set[str]) -> None:
    console.print(f"\n{title}", style="bold")
    single, oracle = part["controls"]["best_single"], part["controls"]["oracle"]
    console.print(
        f"best single {100 * single['quality']['mean']:.1f}% at {usd(1000 * single['cost_usd']['mean'])} USD / 1,000, "
        f"oracle {100 * oracle['quality']['mean']:.1f}% at {usd(1000 * oracle['cost_usd']['mean'])}"
    )
    rows = {**part["policies"]}
    rows |= {
        k: v for k, v in part["controls"].items() if isinstance(v, dict) and "gain_over_line" in v and k not in rows
    }
    calls = {name: policy["collapse"]["calls_per_query"] for name, policy in rows.items()}
    several = any(abs(n - 1) > 1e-9 for n in calls.values())
    table = listing("policy", "gain over line", "saving %", "kept", "line saves %", *(["calls"] if several else []))
    for name, policy in rows.items():
        mark = "*" if name in labelled else ""
        at = policy["operating_point"]
        saving = policy["saving_at_best_single"]
        table.add_row(
            name + mark,
            points(policy["gain_over_line"]),
            "not proven" if saving is None else f"{100 * saving['mean']:.0f}",
            f"{100 * at['difference_to_best_single']['mean']:+.1f}",
            f"{100 * at['line_saving']:.0f}",
            *([f"{calls[name]:.2f}"] if several else []),
        )
    console.print(table)
    for name, why in part["not_recorded"].items():
        console.print(f"{name}: not recorded: {why}")
    if labelled:
        console.print("* reads the task label, which live traffic does not have")


def _settings(
    config: Path | None,
    policies: str,
    seeds: int | None,
    encoder: str,
    folds: int | None,
    draws: int | None,
    jobs: int | None,
) -> Any:
    from routewright.config import parse, read_toml
    from routewright.evaluate.settings import Settings

    values: dict[str, Any] = read_toml(config) if config is not None else {}
    given = {
        "policies": [p.strip() for p in policies.split(",") if p.strip()] or None,
        "seeds": seeds,
        "encoder": encoder or None,
        "folds": folds,
        "draws": draws,
        "jobs": jobs,
    }
    values |= {k: v for k, v in given.items() if v is not None}
    values.setdefault("policies", ["routewright", "ridge"])
    return parse(Settings, values, str(config) if config is not None else "the command line")


def _streams(values: list[str]) -> dict[str, list[str]]:
    from routewright.errors import ConfigError

    out = {}
    for text in values:
        name, sign, members = text.partition("=")
        if not sign or not name or not members:
            raise ConfigError(
                f"--stream {text!r} is not of the form NAME=A,B,... Expected a name and tables, by their names."
            )
        if name in out:
            raise ConfigError(f"--stream {name!r} is given twice. Expected each name once.")
        out[name] = [m for m in members.split(",") if m]
    return out
