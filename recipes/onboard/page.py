"""What `measure.py` kept, as the tables of the page.

    python recipes/onboard/page.py out/onboard > recipes/onboard/results.md

A second folder may hold the same with few known models (`measure.py --known 8`); it gets a section at the end.

Intervals are 95%, from 1,000 draws of models and seeds (a model's seeds share its answers, so models are drawn whole, then
seeds); differences are paired on the draws. Forecasts of a mean are called covered where the truth lies in the interval,
scaled by the other models of the same table, design and number of probes.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TABLES = ("gsm8k", "math_l5", "mmlu_redux", "bfcl_v1")
PROBES = (0, 10, 20, 50, 200)
OURS = ("adaptive", "information", "random", "stratified")
PLAIN = ("others' mean, shifted", "mean of probes")
TIMES = (3, 10, 30, 100, 1000)
DRAWS = 1000
SURE = 0.002  # full-data gain, score units: below, a share of it says nothing

Rows = list[dict[str, Any]]


class Cells:
    """One number for every (model, seed) of a table under one design and number of probes."""

    def __init__(self, rows: Rows) -> None:
        self.models = sorted({r["model"] for r in rows})
        self.seeds = sorted({r["seed"] for r in rows})
        self.at: dict[tuple[str, int], Rows] = {}
        for r in rows:
            self.at.setdefault((r["design"], r["probes"]), []).append(r)
        rng = np.random.default_rng(0)
        n, s = len(self.models), len(self.seeds)
        self.weight = np.stack(
            [
                np.outer(rng.multinomial(n, np.full(n, 1 / n)), rng.multinomial(s, np.full(s, 1 / s)))
                for _ in range(DRAWS)
            ]
        ).reshape(DRAWS, -1) / (n * s)

    def of(self, design: str, probes: int, read: Callable[[dict[str, Any]], float]) -> np.ndarray | None:
        """[models x seeds], or None where it was not run. Without probes every design is the same."""
        rows = self.at.get((design, probes)) or (self.at.get(("random", 0)) if probes == 0 and design in OURS else None)
        if not rows:
            return None
        grid = np.full((len(self.models), len(self.seeds)), np.nan)
        for r in rows:
            grid[self.models.index(r["model"]), self.seeds.index(r["seed"])] = read(r)
        return grid.ravel()

    def interval(self, values: np.ndarray, scale: float = 100.0, digits: int = 1) -> str:
        low, high = np.quantile(self.weight @ values, [0.025, 0.975])
        return f"{scale * values.mean():.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"

    def ratio(self, part: np.ndarray, whole: np.ndarray) -> str:
        """Share of the full-data gain, %; a dash where that gain is not above SURE for sure."""
        draws = self.weight @ whole
        if np.quantile(draws, 0.025) < SURE:
            return "-"
        low, high = np.quantile(self.weight @ part / draws, [0.025, 0.975])
        return f"{100 * part.mean() / whole.mean():.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def table(head: list[str], rows: list[list[str]]) -> None:
    """A table of the page."""
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def errors(cells: dict[str, Cells]) -> None:
    print("## Errors of the forecast\n")
    print("Squared error of a query's score, x 100, on the same three tenths of the table for all ways:\n")
    for title, read, scale, digits in (
        ("", lambda r: r["brier"], 100.0, 2),
        ("Log loss, nats:\n", lambda r: r["log_loss"], 1.0, 3),
        ("Error of the mean score, points:\n", lambda r: abs(r["mean"] - r["true_mean"]), 100.0, 1),
    ):
        if title:
            print(title)
        rows = []
        for name, c in cells.items():
            for way in (*OURS, *PLAIN):
                values = [c.of(way, n, read) for n in PROBES]
                if values[1] is not None:
                    rows.append([name, way, *("" if v is None else f"{scale * v.mean():.{digits}f}" for v in values)])
        table(["table", "probes", *map(str, PROBES)], rows)
    print("Difference of squared error, x 100, paired; below zero: the first is better.\n")
    rows = []
    for name, c in cells.items():
        for a, b in (
            ("adaptive", "random"),
            ("information", "random"),
            ("stratified", "random"),
            ("adaptive", PLAIN[0]),
        ):
            row = [name, f"{a} - {b}"]
            for n in PROBES[1:]:
                x, y = c.of(a, n, lambda r: r["brier"]), c.of(b, n, lambda r: r["brier"])
                row.append("" if x is None or y is None else c.interval(x - y, 100, 2))
            if any(row[2:]):
                rows.append(row)
    table(["table", "pair", *map(str, PROBES[1:])], rows)
    rows = []
    for name, c in cells.items():
        row = [name]
        for n in PROBES[1:]:
            x = c.of("adaptive", n, lambda r: abs(r["mean"] - r["true_mean"]))
            y = c.of("random", n, lambda r: abs(r["mean"] - r["true_mean"]))
            assert x is not None
            assert y is not None
            row.append(c.interval(x - y))
        rows.append(row)
    print("Difference of the error of the mean score, adaptive - random, points:\n")
    table(["table", *map(str, PROBES[1:])], rows)


def gain_of(what: str, pool: int, i: int) -> Callable[[dict[str, Any]], float]:
    """Reads the gain of one pool at one trade-off."""
    return lambda row: float(row[what][pool][i])


def gains(cells: dict[str, Cells]) -> None:
    print("## What the pool gains\n")
    for size, pool in ((3, 0), (7, 1)):
        print(f"### A pool of {size}\n")
        print(
            "Gain with the new model's whole column, points of score less cost / value, by value of a right answer in costs of "
            "the best single model:\n"
        )
        rows = []
        for name, c in cells.items():
            full = [c.of("random", 50, gain_of("full", pool, i)) for i in range(len(TIMES))]
            rows.append([name, *(c.interval(f, 100, 2) for f in full if f is not None)])
        table(["table", *map(str, TIMES)], rows)
        print(
            f'Share of it that is reached, %; "-": that gain is not surely above {100 * SURE:g} points, so a share of it says '
            "nothing.\n"
        )
        rows = []
        for name, c in cells.items():
            for i, times in enumerate(TIMES):
                there = c.of("random", 50, gain_of("full", pool, i))
                assert there is not None
                if c.ratio(there, there) == "-":
                    continue
                for way in ("adaptive", "random", PLAIN[0], PLAIN[1]):
                    parts = [c.of(way, n, gain_of("gain", pool, i)) for n in PROBES]
                    rows.append([name, str(times), way, *("" if p is None else c.ratio(p, there) for p in parts)])
        table(["table", "value", "probes", *map(str, PROBES)], rows)
        pooled(cells, pool)


def pooled(cells: dict[str, Cells], pool: int) -> None:
    """All tables and trade-offs: total gain reached over total gain of the full column."""
    print(
        "All tables and trade-offs together (sum of what is reached over sum of what there is; models drawn within tables):\n"
    )
    rows = []
    for way in ("adaptive", "information", "random", *PLAIN):
        row = [way]
        for n in PROBES:
            part, whole = 0.0, 0.0
            drawn_part, drawn_whole = np.zeros(DRAWS), np.zeros(DRAWS)
            for c in cells.values():
                got, full = c.of(way, n, lambda r: sum(r["gain"][pool])), c.of(way, n, lambda r: sum(r["full"][pool]))
                assert got is not None
                assert full is not None
                part, whole = part + got.mean(), whole + full.mean()
                drawn_part, drawn_whole = drawn_part + c.weight @ got, drawn_whole + c.weight @ full
            low, high = np.quantile(drawn_part / drawn_whole, [0.025, 0.975])
            row.append(f"{100 * part / whole:.0f} [{100 * low:.0f}, {100 * high:.0f}]")
        rows.append(row)
    table(["share, %", *map(str, PROBES)], rows)
    row = []
    for n in PROBES[1:]:
        drawn, mean = np.zeros(DRAWS), 0.0
        for c in cells.values():
            x, y = (c.of(way, n, lambda r: sum(r["gain"][pool]) / len(TIMES)) for way in ("adaptive", "random"))
            assert x is not None
            assert y is not None
            drawn, mean = drawn + c.weight @ (x - y) / len(cells), mean + (x - y).mean() / len(cells)
        low, high = np.quantile(drawn, [0.025, 0.975])
        row.append(f"{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]")
    print("Gain by adaptive less gain by random probes, points, mean over tables and trade-offs:\n")
    table([*map(str, PROBES[1:])], [row])


def calibration(cells: dict[str, Cells]) -> None:
    print("## Are the forecasts calibrated?\n")
    print("Expected calibration error of a query's forecast, points (ten bins, over all models and seeds):\n")
    rows = []
    for name, c in cells.items():
        row = [name]
        for n in PROBES:
            bins = np.sum([r["bins"] for r in c.at[("random" if n == 0 else "adaptive", n)]], axis=0)
            row.append(f"{100 * np.abs(bins[1] - bins[2]).sum() / bins[0].sum():.1f}")
        rows.append(row)
    table(["table", *map(str, PROBES)], rows)
    print(
        "Share of the true means in their 95% interval, %: as the belief has it, and scaled by the other models (median scale).\n"
    )
    rows = []
    for name, c in cells.items():
        row = [name]
        for n in PROBES:
            some = c.at[("random" if n == 0 else "adaptive", n)]
            z = np.array([abs(r["mean"] - r["true_mean"]) / max(r["std"], 1e-9) for r in some])
            model = np.array([r["model"] for r in some])
            scales = np.empty(len(z))
            for m in set(model.tolist()):
                others = z[model != m]
                scales[model == m] = max(1.0, float(np.quantile(others, 0.95)) / 1.96)
            row.append(
                f"{100 * (z < 1.96).mean():.0f}, {100 * (z < 1.96 * scales).mean():.0f} ({np.median(scales):.1f})"
            )
        rows.append(row)
    table(["table", *map(str, PROBES)], rows)


def few(cells: dict[str, Cells]) -> None:
    """The same where hardly any model is known."""
    print("## Where only eight models are known\n")
    print("Eight of the others, drawn anew for each new model and seed, have answered; pools of three of them.\n")
    print("Squared error of a query's score, x 100:\n")
    rows = []
    for name, c in cells.items():
        for way in ("adaptive", "random", *PLAIN):
            values = [c.of(way, n, lambda r: r["brier"]) for n in PROBES]
            rows.append([name, way, *("" if v is None else f"{100 * v.mean():.2f}" for v in values)])
    table(["table", "probes", *map(str, PROBES)], rows)
    print("Adaptive - others' mean, shifted, paired:\n")
    rows = []
    for name, c in cells.items():
        row = [name]
        for n in PROBES[1:]:
            x, y = c.of("adaptive", n, lambda r: r["brier"]), c.of(PLAIN[0], n, lambda r: r["brier"])
            assert x is not None
            assert y is not None
            row.append(c.interval(x - y, 100, 2))
        rows.append(row)
    table(["table", *map(str, PROBES[1:])], rows)
    pooled(cells, 0)


def cells_of(folder: Path) -> dict[str, Cells]:
    """What `measure.py` kept in a folder, by table."""
    cells = {}
    for name in TABLES:
        rows = [json.loads(line) for path in sorted(folder.glob(f"{name}.*.jsonl")) for line in path.open()]
        if rows:
            cells[name] = Cells(rows)
    return cells


def main() -> None:
    """The page."""
    cells = cells_of(Path(sys.argv[1]))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print("# A new model joins: measured\n")
    told = "; ".join(f"{name} {len(c.models)} models, {len(c.seeds)} seeds" for name, c in cells.items())
    print(
        f"Written by `recipes/onboard/page.py`, {datetime.date.today()}, commit {commit}, 2 CPU cores. {told}. What stands here and how "
        "it was made: [README](README.md).\n"
    )
    errors(cells)
    gains(cells)
    calibration(cells)
    if len(sys.argv) > 2:
        few(cells_of(Path(sys.argv[2])))


if __name__ == "__main__":
    main()
