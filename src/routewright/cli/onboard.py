"""`routewright onboard MODEL --pool POOL --table TABLE --out ROWS`: probe a new model, and say what the pool would gain by it.

The probes are an outcome table: beside the known one, they are what `add-model`, `evaluate` and `inspect` read. Asking is
`routewright.collect.probing`, forecasts are `routewright.profiles.newcomer`; here they are put together and told.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from routewright.cli.show import console, listing, pairs, usd

if TYPE_CHECKING:
    from routewright.collect.probing import Probed
    from routewright.outcomes import Outcomes
    from routewright.profiles.newcomer import Calibration, Gain, Newcomer
    from routewright.profiles.recorded import Recorded

_FEW = 5  # known models below which intervals are wide whatever is asked


def onboard(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The new model, by its name in the pool file.")],
    pool: Annotated[Path, typer.Option(help="Pool file: the new model with its prices, and the others.")],
    table: Annotated[
        list[Path], typer.Option(help="Outcome table of the known models; repeatable. Rows of MODEL count as probes.")
    ],
    out: Annotated[Path, typer.Option(help="Outcome table for the new rows, a .parquet file.")],
    probes: Annotated[int, typer.Option(min=0, help="Queries to ask; 0: only the price, and rows there are.")] = 50,
    budget_usd: Annotated[float | None, typer.Option(help="Most that may be spent, interrupted runs included.")] = None,
    design: Annotated[str, typer.Option(help="adaptive, information, random or stratified.")] = "adaptive",
    batch: Annotated[int, typer.Option(min=1, help="Probes between two choices.")] = 10,
    value_usd: Annotated[
        list[float] | None,
        typer.Option(help="What a right answer is worth, USD; repeatable [default: five, by the pool's costs]."),
    ] = None,
    metric: Annotated[str, typer.Option(help="Metric for every query [default: what its label stands for].")] = "",
    metric_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the metric; repeatable.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest reply, tokens [default: the pool's].")] = None,
    encoder: Annotated[str, typer.Option(help="Encoder of the router that the gain is told for.")] = "hashing",
    seed: Annotated[int, typer.Option(help="Of what is random in the choice of probes.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a table that is there.")] = False,
) -> None:
    """Ask a new model the queries that say most about it, and forecast what the pool gains and which price pays."""
    from routewright.collect.probing import Probed, Probing
    from routewright.collect.settings import Settings
    from routewright.config import parse
    from routewright.errors import ConfigError, UnknownName
    from routewright.pools.config import read_pool
    from routewright.profiles.abilities import fit_abilities
    from routewright.profiles.design import Design
    from routewright.profiles.newcomer import calibrate, card_usd, forecast, trade_offs
    from routewright.profiles.recorded import read_tables
    from routewright.types import ModelCard

    if design not in get_args(Design):
        raise UnknownName("design", design, get_args(Design))
    folder = _folder_of(out, overwrite)
    members = read_pool(pool)
    entries = {m.name: m for m in members.models}
    if model not in entries:
        raise UnknownName(f"model of {pool}", model, list(entries))
    for value in value_usd or []:
        if not 0 < value < float("inf"):
            raise ConfigError(f"--value-usd must be USD above 0, got {value}.")
    known, recorded = read_tables(table, model)
    given = {
        "models": (model,),
        "metric": metric,
        "metric_options": pairs(metric_option or [], "--metric-option"),
        "max_tokens": max_tokens,
        "budget_usd": budget_usd,
    }
    settings = parse(Settings, given, "the command line")
    entry = entries[model]
    card = card_usd(ModelCard(model, entry.usd_per_mtok_in, entry.usd_per_mtok_out), known)
    if card is None and not probes and not len(recorded):
        raise ConfigError(
            f"{known.name} has no token counts, so prices do not say what a call of {model} costs, and nothing was asked. "
            "Expected --probes above 0."
        )
    trust = calibrate(known, min(probes + len(recorded), len(known) - 1), seed)
    _tell_known(known, trust, recorded)
    at = fit_abilities(known.quality, trust.dimensions)
    probed = Probed(recorded, 0, 0.0, "")
    if probes:
        work = Probing(members, settings, table, folder, known, at, card)
        try:
            probed = work.ask(recorded, probes, cast(Design, design), batch, seed, out)
        except KeyboardInterrupt:
            print(f"what was answered is kept in {folder}", file=sys.stderr)
            raise
    asked, fresh = probed.answers, len(probed.answers) - len(recorded)
    new = forecast(known, at, asked.rows, asked.score, asked.cost_usd, card, trust.scale)
    _tell_model(model, known, new, fresh, probed)
    inside = [m for m in known.models if m in entries] or list(known.models)
    _tell_gain(model, known.with_models(inside), new, encoder, value_usd or trade_offs(known.with_models(inside)), seed)
    if probes:
        console.print(f"{out}  {fresh:,} rows")
        if not probed.capped:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)


def _folder_of(out: Path, overwrite: bool) -> Path:
    """Where the journals are; an --out that can not be written, or would be replaced unasked, is refused."""
    from routewright.cli.show import refuse_out
    from routewright.errors import ConfigError

    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder. Expected the name of a file, such as {out / 'probes.parquet'}.")
    refuse_out(out.absolute().parent)
    folder = out.with_name(f".{out.name}.onboard")
    if out.exists() and not folder.exists() and not overwrite:
        raise ConfigError(f"--out {out} is there already. Expected a free name; add --overwrite to replace it.")
    return folder


def _tell_known(known: Outcomes, trust: Calibration, recorded: Recorded) -> None:
    console.print(f"{known.name}: {len(known):,} queries x {len(known.models)} known models, scores {known.score_kind}")
    if len(recorded):
        console.print(f"{len(recorded):,} queries have a recorded answer of the new model; they count as probes")
    told = (
        f"known models that joined by {trust.probes} random probes: mean score off by {100 * trust.mean_error:.1f} points, "
        f"squared error of a query's score {trust.error:.4f}, by their mean alone {trust.blind_error:.4f}"
    )
    console.print(told)
    if trust.error >= trust.blind_error:
        console.print("note: on this table the other models' answers do not say which queries a model gets right")
    if len(known.models) < _FEW:
        console.print(f"note: {len(known.models)} known models are few; intervals are widened by what little they show")


def _tell_model(model: str, known: Outcomes, new: Newcomer, asked: int, probed: Probed) -> None:
    import numpy as np

    if asked:
        console.print(
            f"asked {model} {asked:,} queries for {usd(probed.spent_usd)} USD"
            + (f"; {probed.failed:,} calls failed and score 0" if probed.failed else "")
        )
    if probed.capped:
        console.print(
            f"note: {probed.capped} The forecast is by what was answered; the same command with a higher cap goes on"
        )
    mean = new.mean()
    console.print(
        f"\n{model} would score {100 * mean['mean']:.1f}% [{100 * mean['low']:.1f}, {100 * mean['high']:.1f}] on this table, "
        f"at {usd(1000 * float(new.cost_usd.mean()))} USD / 1,000"
    )
    tasks = np.asarray(known.strata)
    names = sorted(set(known.strata))
    if 1 < len(names) <= 40:
        shown = listing("task", "queries", model, "best known")
        for name in names:
            at = tasks == name
            shown.add_row(
                name.removeprefix(f"{known.name}/"),
                str(int(at.sum())),
                f"{100 * new.quality[at].mean():.1f}%",
                f"{100 * known.quality[at].mean(axis=0).max():.1f}%",
            )
        console.print(shown)


def _tell_gain(model: str, pool: Outcomes, new: Newcomer, encoder: str, values: Sequence[float], seed: int) -> None:
    from routewright.encoders import build_encoder
    from routewright.encoders.cache import vectors_of
    from routewright.profiles.newcomer import WORTH, pool_gain

    built = build_encoder(encoder, {})
    texts = [q.text for q in pool.queries]
    built.fit(texts)
    gains = pool_gain(pool, new, vectors_of(built, texts), values, seed)
    console.print(
        f"\nwhat a pool of {len(pool.models)} ({', '.join(pool.models[:4])}{', ...' if len(pool.models) > 4 else ''}) gains by it"
    )
    shown = listing("value USD", "gain, points", "goes to it", "pays up to USD / 1,000", "surely up to")
    price = 1000 * float(new.cost_usd.mean())
    for one in gains:
        g = one.gain
        shown.add_row(
            usd(one.value_usd),
            f"{100 * g['mean']:+.2f} [{100 * g['low']:+.2f}, {100 * g['high']:+.2f}]",
            f"{100 * one.share:.0f}%",
            _price(one.break_even, price),
            _price(one.break_even_low, price),
        )
    console.print(shown)
    console.print(_verdict(model, gains))
    console.print(f"points: score less cost / value, per query; pays: gains above {100 * WORTH:g} point")


def _price(factor: float, price: float) -> str:
    if factor <= 0:
        return "at no price"
    return (">" if factor >= 99.9 else "") + usd(factor * price)


def _verdict(model: str, gains: Sequence[Gain]) -> str:
    sure = [one for one in gains if one.gain["low"] > 0]
    if sure:
        values = f"{usd(sure[0].value_usd)} to {usd(sure[-1].value_usd)}" if len(sure) > 1 else usd(sure[0].value_usd)
        return f"{model} pays where a right answer is worth {values} USD."
    if all(one.gain["high"] <= 0.001 for one in gains):
        return f"{model} adds nothing to this pool on these queries."
    return f"Whether {model} pays can not be told: every interval reaches zero. More probes narrow what is not known of it."
