"""The tables of the results, from what `newcomer.py` wrote: `python recipes/route_profile/newcomer_page.py out/route_profile_new`.

95% intervals from 1,000 draws of models and seeds; a model is drawn whole, with all its probes and ways, so differences are paired.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from routewright.types import Floats

PROBES = (0, 10, 20, 50, 200)
TRAINED = "structured embedding 2 masked"
PAIRS = (  # what is asked: does training, does the graph, do probes by way of a profile help
    ("structured embedding 2", "free"),
    ("flat index", "flat index"),
)
DRAWS = 1000
Row = dict[str, Any]
Number = Callable[[Row], float]


class Table:
    """A number for every (model, seed) of a table, by way and probes."""

    def __init__(self, rows: list[Row]) -> None:
        self.models, self.seeds = sorted({r["model"] for r in rows}), sorted({r["seed"] for r in rows})
        self.ways = list(dict.fromkeys(r["way"] for r in rows))
        self.at: dict[tuple[str, int], list[Row]] = {}
        for r in rows:
            self.at.setdefault((r["way"], r["probes"]), []).append(r)
        for kept in self.at.values():
            kept.sort(key=lambda r: (r["model"], r["seed"]))
        rng = np.random.default_rng(0)
        n, s = len(self.models), len(self.seeds)
        drawn = [
            np.outer(rng.multinomial(n, np.full(n, 1 / n)), rng.multinomial(s, np.full(s, 1 / s))) for _ in range(DRAWS)
        ]
        self.weight = np.stack(drawn).reshape(DRAWS, -1) / (n * s)

    def of(self, way: str, probes: int, read: Number) -> Floats | None:
        """[models * seeds]; None where it was not run."""
        rows = self.at.get((way, probes))
        return None if rows is None else np.array([read(r) for r in rows])

    def told(self, values: Floats | None, scale: float = 100.0, digits: int = 1, sign: str = "") -> str:
        if values is None:
            return ""
        low, high = scale * np.quantile(self.weight @ values, [0.025, 0.975])
        return f"{scale * values.mean():{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def both(tables: list[Table], parts: list[Floats | None], wholes: list[Floats] | None = None) -> str:
    """Mean over tables, points; with wholes the sum of what is reached over the sum of what there is, %."""
    if any(p is None for p in parts):
        return ""
    mean = sum(p.mean() for p in parts if p is not None)
    drawn = np.sum([t.weight @ p for t, p in zip(tables, parts, strict=True) if p is not None], axis=0)
    if wholes is None:
        low, high = 100 * np.quantile(drawn, [0.025, 0.975]) / len(tables)
        return f"{100 * mean / len(tables):+.2f} [{low:+.2f}, {high:+.2f}]"
    low, high = 100 * np.quantile(
        drawn / np.sum([t.weight @ w for t, w in zip(tables, wholes, strict=True)], axis=0), [0.025, 0.975]
    )
    return f"{100 * mean / sum(w.mean() for w in wholes):.0f} [{low:.0f}, {high:.0f}]"


def gain(pool: int) -> Number:
    return lambda r: float(np.mean(r["gain"][pool]))


def full(pool: int) -> Number:
    return lambda r: float(np.mean(r["full"][pool]))


def own(pool: int) -> Number:
    return lambda r: float(np.mean(r["own"][pool]))


def rows(head: str, lines: list[tuple[str, list[str]]], columns: tuple[object, ...] = PROBES) -> None:
    print(f"| {head} | {' | '.join(map(str, columns))} |\n|---|{'---|' * len(columns)}")
    for name, cells in lines:
        print(f"| {name} | {' | '.join(cells)} |")
    print()


def page(tables: dict[str, Table]) -> None:
    some = list(tables.values())
    ways = [w for w in some[0].ways if w != "ridge, whole column"]
    for name, t in tables.items():
        print(f"{name}, {len(t.models)} models, {len(t.seeds)} seeds: squared error of a query's score, x 100\n")
        squared: Number = lambda r: r["squared"]  # noqa: E731
        columns = (*PROBES, "all")
        lines = [(w, [t.told(t.of(w, n, squared)) for n in (*PROBES, -1)]) for w in ways]
        whole = t.told(t.of("ridge, whole column", -1, squared))
        rows("probes", [*lines, ("ridge, whole column", [""] * len(PROBES) + [whole])], columns)
    print("Share of the gain of a whole column that is reached, %, both tables, pool of three\n")
    wholes = [t.of("abilities, random", 50, full(0)) for t in some]
    there = [w for w in wholes if w is not None]
    rows(
        "probes",
        [(w, [both(some, [t.of(w, n, gain(0)) for t in some], there) for n in (*PROBES, -1)]) for w in ways],
        (*PROBES, "all"),
    )
    profiled = [w for w in ways if some[0].of(w, 50, lambda r: 0.0) is not None and some[0].at[w, 50][0]["own"]]
    for pool, name in ((0, "pool of three"), (1, "all other models")):
        print(f"Gain where the same router forecasts everybody, points, mean of tables and trade-offs, {name}\n")
        rows(
            "probes",
            [(w, [both(some, [t.of(w, n, own(pool)) for t in some]) for n in (*PROBES, -1)]) for w in profiled],
            (*PROBES, "all"),
        )
    print("Gain, points, mean of tables and trade-offs, known models by ridge, all other models\n")
    rows("probes", [(w, [both(some, [t.of(w, n, gain(1)) for t in some]) for n in PROBES]) for w in ways])
    print("Paired: what training gives\n")
    lines = []
    for router in ("mlp", "graph"):
        for shifted in ("", ", shifted"):
            for other, short in (*PAIRS, ("abilities, random", "abilities")):
                a = f"{TRAINED}: {router}{shifted}"
                b = other if short == "abilities" else f"{other}: {router}{shifted}"
                for what, read in (("squared error x 100", "squared"), ("gain, points", "gain")):
                    number: Number = gain(0) if read == "gain" else lambda r: r["squared"]
                    cells = []
                    for n in PROBES:
                        pairs = [(t.of(a, n, number), t.of(b, n, number)) for t in some]
                        cells.append(both(some, [None if x is None or y is None else x - y for x, y in pairs]))
                    lines.append((f"{router}{shifted}: masked - {short}, {what}", cells))
    rows("difference", lines)


def main() -> None:
    """Tables in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        found.setdefault(path.name.split(".", 1)[0], []).extend(json.loads(line) for line in path.open())
    page({name: Table(kept) for name, kept in found.items()})


if __name__ == "__main__":
    main()
