"""`routewright collect QUERIES --pool pool.toml --out TABLE`: every model on every query, scored."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from routewright.cli.show import console, listing, pairs, progress, usd

if TYPE_CHECKING:
    from routewright.collect.journal import Journal
    from routewright.collect.plan import Plan
    from routewright.collect.run import Ended, Progress

T = TypeVar("T")
EVERY_S = 10.0  # between two lines of progress where there is no terminal


def collect(
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="Parquet, CSV or JSONL, or an outcome table.")],
    pool: Annotated[Path, typer.Option(help="Pool file: endpoints, models and their prices.")],
    out: Annotated[Path, typer.Option(help="Outcome table to write, a .parquet file.")],
    models: Annotated[str, typer.Option(help="Only these models, separated by commas.")] = "",
    metric: Annotated[str, typer.Option(help="Metric for every query [default: what its label stands for].")] = "",
    metric_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the metric; repeatable.")
    ] = None,
    judge: Annotated[
        str, typer.Option(metavar="MODEL", help="Model of the pool that grades, for --metric judge.")
    ] = "",
    budget_usd: Annotated[float | None, typer.Option(help="Most that may be spent, interrupted runs included.")] = None,
    samples: Annotated[int, typer.Option(help="Answers of each model to each query; the first is greedy.")] = 1,
    concurrency: Annotated[int, typer.Option(help="Calls at once to each provider [default: the pool's limit].")] = 0,
    max_tokens: Annotated[int | None, typer.Option(help="Longest reply, tokens [default: the pool's].")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Only the first so many queries.")] = 0,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Let fallbacks answer for a model that fails; such rows are marked.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again where a call had failed.")] = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait for a model that can not be reached.")] = 60.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a table that is there.")] = False,
    keep_journal: Annotated[bool, typer.Option("--keep-journal", help="Keep the journal beside the table.")] = False,
) -> None:
    """Ask every model of a pool every query and score the replies; an interrupted run resumes."""
    from routewright.collect.journal import Journal
    from routewright.collect.plan import make_plan
    from routewright.collect.queries import read_queries
    from routewright.collect.run import check
    from routewright.collect.settings import Settings
    from routewright.collect.table import write_table
    from routewright.config import parse
    from routewright.pools.config import read_pool

    journal_at = _journal_of(out, overwrite)
    given = {
        "models": tuple(m.strip() for m in models.split(",") if m.strip()),
        "metric": metric,
        "metric_options": pairs(metric_option or [], "--metric-option"),
        "judge": judge,
        "samples": samples,
        "max_tokens": max_tokens,
        "fallback": fallback,
        "concurrency": concurrency,
        "budget_usd": budget_usd,
        "patience_s": patience,
        "retry_failed": retry_failed,
    }
    settings = parse(Settings, given, "the command line")
    plan = make_plan(read_queries(queries, limit), read_pool(pool), settings)
    check(plan)
    out.parent.mkdir(parents=True, exist_ok=True)
    with Journal.open(journal_at, plan.facts()) as journal:
        ended = _run(plan, journal)
        _show(plan, journal, ended)
        if not ended.missing:
            write_table(plan, journal, out)
            if not (keep_journal or ended.progress.failed):
                journal.remove()
    if ended.missing:
        _incomplete(ended, journal_at)
    console.print(f"{out}  {ended.progress.rows:,} rows")


def _journal_of(out: Path, overwrite: bool) -> Path:
    """The journal's path; an --out that can not be written, or would be replaced unasked, is refused."""
    from routewright.cli.show import refuse_out
    from routewright.collect.journal import journal_path
    from routewright.errors import ConfigError

    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder. Expected the name of a file, such as {out / 'table.parquet'}.")
    refuse_out(out.absolute().parent)
    journal = journal_path(out)
    if out.exists() and not journal.exists() and not overwrite:
        raise ConfigError(f"--out {out} is there already. Expected a free name; add --overwrite to replace it.")
    return journal


def _run(plan: Plan, journal: Journal) -> Ended:
    """Collect, showing how far it is; an interruption says how to go on."""
    import asyncio

    from routewright.collect.run import collect as run
    from routewright.collect.run import prepare, stoppable

    state, lost = prepare(plan, journal)
    console.print(
        f"{len(plan.asked):,} queries x {len(plan.models)} model(s) x {plan.settings.samples} sample(s) = {plan.cells:,} rows"
        + (f"; {state.rows:,} are done ({usd(state.spent_usd)} USD so far)" if state.rows or state.spent_usd else "")
    )
    if lost.calls:
        console.print(
            f"note: interrupted runs left {lost.calls:,} calls without an answer: up to {lost.calls:,} calls, "
            f"{usd(lost.usd)} USD, may have been billed twice; they count as spent"
        )
    with _shown(state) as on_progress, suppress(KeyboardInterrupt, asyncio.CancelledError):
        return asyncio.run(stoppable(run(plan, journal, on_progress)))
    rows, _ = journal.counts()
    print(f"{rows:,} of {plan.cells:,} rows are kept in {journal.path}", file=sys.stderr)
    raise KeyboardInterrupt


@contextmanager
def _shown(state: Progress) -> Iterator[Any]:
    """Rows, USD and failures as they come: a bar on a terminal, a line now and then elsewhere."""
    terminal = sys.stderr.isatty()
    last = time.monotonic()
    with progress("rows") as bar:

        def show(now: Progress) -> None:
            nonlocal last
            if time.monotonic() - last < (0.1 if terminal else EVERY_S):
                return
            last = time.monotonic()
            note = ", ".join(filter(None, [f"{usd(now.spent_usd)} USD", f"{now.failed:,} failed", now.note]))
            bar(now.rows, now.total, note)
            if not terminal:
                print(f"{now.rows:,} of {now.total:,} rows, {note}", file=sys.stderr, flush=True)

        bar(state.rows, state.total, "")
        yield show


def _show(plan: Plan, journal: Journal, ended: Ended) -> None:
    from routewright.collect.table import figures

    table = listing("model", "rows", "failed", "score", "USD / 1,000", "p50 s")
    for one in figures(plan, journal):
        table.add_row(
            one.model,
            f"{one.rows:,}",
            f"{one.failed:,}",
            f"{100 * one.score:.1f}%" if one.rows else "",
            usd(1000 * one.cost_usd) if one.rows else "",
            f"{one.latency_p50_s:.2f}" if one.latency_p50_s == one.latency_p50_s else "",
        )
    console.print(table)
    console.print(f"{usd(ended.progress.spent_usd)} USD spent in all")
    if ended.progress.failed:
        console.print(
            f"{ended.progress.failed:,} calls failed and score 0; the same command with --retry-failed asks them again "
            "(the journal is kept for that)"
        )


def _incomplete(ended: Ended, journal: Path) -> None:
    from routewright.errors import RoutewrightError

    done = ended.progress
    raise RoutewrightError(
        f"{done.total - done.rows:,} of {done.total:,} rows are missing, so no table was written. {' '.join(ended.missing)} "
        f"What was answered is kept in {journal}; run the same command again to go on."
    )
