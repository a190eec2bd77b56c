"""What the verbs share: printing tables that fit a narrow terminal, reading `key=value`, showing progress."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from routewright.errors import ConfigError

_LOG_EVERY_S = 30.0
console = Console(highlight=False, markup=False, emoji=False)  # a model may well be called "llama[4bit]"


def listing(*columns: str) -> Table:
    """A plain table whose first named column is never cut short: two models may differ in their last letters alone."""
    table = Table(box=None)
    names = [name for name in columns if name]
    for name in columns:
        table.add_column(name, overflow="fold" if names and name == names[0] else "ellipsis")
    return table


def pairs(values: Sequence[str], option: str) -> dict[str, Any]:
    """`["k=3", "name=x"]` as {"k": 3, "name": "x"}; values are JSON where they parse as it, else text."""
    out: dict[str, Any] = {}
    for text in values:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise ConfigError(f"{option} {text!r} is not of the form key=value.")
        try:
            out[key] = json.loads(value)
        except json.JSONDecodeError:
            out[key] = value
    return out


def refuse_out(out: Path) -> None:
    """Refuse an --out that can not become a folder, before anything long starts; creates nothing."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(f"--out {out}: {nearest} is a file. Expected a folder, or a name that is free.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out}: {nearest} can not be written to. Expected a folder of yours.")


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """A bar on standard error while the block runs; the block calls it with (done, total, note).

    In a log, where a bar would be noise, a line every half minute.
    """
    err = Console(stderr=True)
    if not err.is_terminal:
        told = time.monotonic()

        def tell(done: int, total: int, note: str) -> None:
            nonlocal told
            if time.monotonic() - told >= _LOG_EVERY_S:
                told = time.monotonic()
                print(f"{what}: {done} of {total} {note}".rstrip(), file=sys.stderr, flush=True)

        yield tell
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=err,
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None, note="")
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)


def points(value: Mapping[str, float] | None, signed: bool = True) -> str:
    """An interval of fractions as points: `+1.9 [+1.2, +2.8]`."""
    if value is None:
        return "not proven"
    form = "{:+.1f}" if signed else "{:.1f}"
    mean, low, high = (form.format(100 * value[k]) for k in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def usd(value: float) -> str:
    """USD with three significant digits, without an exponent where it can be read."""
    return f"{value:.3g}" if value == 0 or 1e-4 <= abs(value) < 1e5 else f"{value:.2e}"
