"""Write the last section of docs/results.md: `python recipes/cascades/page.py REPORT.json [STREAM.json] >> docs/results.md`.

Every number comes from the report; only the prose is fixed.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

Block = dict[str, Any]
SHARES = (0.1, 0.25, 0.5, 1.0)  # of the best single model's cost, where quality is read off


def points(value: Block) -> str:
    """`+1.9 [+1.2, +2.8]`."""
    return f"{100 * value['mean']:+.1f} [{100 * value['low']:+.1f}, {100 * value['high']:+.1f}]"


def usd(value: float) -> str:
    """USD per 1,000 queries."""
    return f"{1000 * value:.2f}"


def every(part: Block) -> Block:
    """Policies and the controls that are policies."""
    found = {k: v for k, v in part["controls"].items() if isinstance(v, dict) and "gain_over_line" in v}
    return {**found, **part["policies"]}


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |")


def header(*cells: str) -> None:
    row(*cells)
    print("|" + "---|" * len(cells))


def curve(points: list[Block]) -> list[tuple[float, float]]:
    """(cost, quality) by rising cost."""
    return sorted((p["cost_usd"], p["quality"]) for p in points)


def quality_at(points: list[Block], cost: float) -> float | None:
    """Quality of a curve at a mean cost, neighbours mixed; None where the curve only begins above it."""
    known = curve(points)
    if cost < known[0][0]:
        return None
    for (c0, q0), (c1, q1) in pairwise(known):
        if c0 <= cost <= c1 and c1 > c0:
            return q0 + (q1 - q0) * (cost - c0) / (c1 - c0)
    return known[-1][1]


def cost_at(points: list[Block], quality: float) -> float | None:
    """The least mean cost at which a curve has a quality, neighbours mixed; None if it never has."""
    known = curve(points)
    if known[0][1] >= quality:
        return known[0][0]
    for (c0, q0), (c1, q1) in pairwise(known):
        if q0 < quality <= q1:
            return c0 + (c1 - c0) * (quality - q0) / (q1 - q0)
    return None


def head(report: Block) -> None:
    made, settings = report["made"], report["settings"]
    print("\n## Policies of several calls\n")
    print(
        f"Written by `recipes/cascades/page.py` from a report of {made['date']} ({made['device']}; {settings['seeds']} seeds, "
        f"{settings['folds']} folds, {settings['draws']} bootstrap draws, encoder {settings['encoder']['kind']}); "
        "[recipes/cascades](../recipes/cascades/README.md) has the command. Tables that kept replies whose answers can be "
        "compared; every call is charged.\n"
    )
    print(
        "`cascade` asks a fitted list of up to four models until two agree; `cascade-verifier` until the answer's calibrated "
        "chance of being right passes a fitted threshold; `cascade-forecast` gives that verifier routewright's forecasts "
        "besides. Self-refinement and pipelines of calls that see each other are not recorded in these tables."
    )


def gains(report: Block, names: list[str]) -> None:
    print("\n### Gain over the line between single models, points\n")
    header("table", "queries x models", *names)
    for name, part in sections(report):
        size = f"{part['queries']} x {len(part['models'])}" if "models" in part else str(part["pooled"]["queries"])
        row(name, size, *(points(every(part)[n]["gain_over_line"]) for n in names))


def differences(report: Block, names: list[str]) -> None:
    reference = report["comparisons"]["reference"]
    print(f"\n### {reference} minus the others\n")
    print(
        "Paired differences of gain on the same draws; in bold where Holm-corrected (over all policies and controls of the "
        "table) one-sided p is below 0.05. The pooled row is the test of the claim.\n"
    )
    header("table", *names)
    for name, part in sections(report):
        others = part["comparisons"]["others"]
        cells = [
            f"**{points(others[n]['difference'])}**" if others[n]["better"] else points(others[n]["difference"])
            for n in names
        ]
        row(name, *cells)
    for n in names:
        open_ = [name for name, part in sections(report) if not part["comparisons"]["others"][n]["better"]]
        if open_:
            print(f"\nNot significantly better than {n} on: {', '.join(open_)}.")
    worse = [(n, name) for n in names for name, part in sections(report) if part["comparisons"]["others"][n]["worse"]]
    if worse:
        said = ", ".join(f"{n} on {name}" for n, name in worse)
        print(f"\nWorse, the whole uncorrected interval below 0, than {said}.")


def savings(report: Block, names: list[str]) -> None:
    print("\n### At the best single model's quality\n")
    kept = report["settings"]["kept_points"]
    print(
        "At the operating point that validation chose to keep the best single model's quality: saving (`not proven`: the lower "
        f"bound of the quality kept is below -{kept:g} point), USD per 1,000 queries, quality kept in points, calls per query.\n"
    )
    header("table", "best single", *names)
    for name, part in sections(report):
        single = part["controls"]["best_single"]
        cells = [f"{100 * single['quality']['mean']:.1f}% @ {usd(single['cost_usd']['mean'])}"]
        for n in names:
            policy = every(part)[n]
            at, proven = policy["operating_point"], policy["saving_at_best_single"]
            saved = (
                f"not proven ({100 * at['saving']['mean']:.0f}%)" if proven is None else f"{100 * proven['mean']:.0f}%"
            )
            calls = policy.get("collapse_at_best_single")
            cells.append(
                f"{saved}, @ {usd(at['cost_usd']['mean'])}, kept {100 * at['difference_to_best_single']['mean']:+.1f}"
                + (f", {calls['calls_per_query']:.2f} calls" if calls else "")
            )
        row(name, *cells)


def frontiers(report: Block, names: list[str]) -> None:
    print("\n### The frontier\n")
    print(
        "Quality, in percent, at mean costs of "
        + ", ".join(f"{100 * s:g}%" for s in SHARES)
        + " of the best single model's, and the least cost (USD per 1,000 queries) at which the curve reaches the best single "
        "model's quality, neighbouring trade-offs mixed. Every point is of queries its fit had not seen, but where the curve "
        "is read was decided with them in view: orientation, not a proven saving. `line`: mixtures of single models.\n"
    )
    header("table", "curve", *(f"{100 * s:g}%" for s in SHARES), "cost at best single's quality")
    below: dict[str, list[str]] = {n: [] for n in names}
    for name, part in report["tables"].items():
        single = part["controls"]["best_single"]
        quality, cost = single["quality"]["mean"], single["cost_usd"]["mean"]
        line = part["controls"]["line"]
        curves = {"line": line, **{n: every(part)[n]["frontier"] for n in names}}
        for n, known in curves.items():
            read = [quality_at(known, share * cost) for share in SHARES]
            reached = cost_at(known, quality - 1e-9)
            row(
                name if n == "line" else "",
                n,
                *("-" if q is None else f"{100 * q:.1f}" for q in read),
                ("not reached" if reached is None else usd(reached)) + (f" of {usd(cost)}" if n == "line" else ""),
            )
            for share, q in zip(SHARES, read, strict=True):
                floor = quality_at(line, share * cost)
                if n != "line" and q is not None and floor is not None and q < floor:
                    below[n].append(f"{name} at {100 * share:g}%")
    for n, places in below.items():
        print(f"\n`{n}` is below the line on: {', '.join(places) or 'none'}.")


def votes(report: Block) -> None:
    print("\n### The vote of the three cheapest models\n")
    print(
        "One point, without learning: its quality against the line between single models and the cascade, both at its own "
        "cost. Its gain over the line is not stated: between the line's ends, one point is all its curve is made of.\n"
    )
    header("table", "vote3", "line at that cost", "cascade at that cost")
    for name, part in report["tables"].items():
        point = every(part)["vote3"]["frontier"][0]
        cells = [f"{100 * point['quality']:.1f}% @ {usd(point['cost_usd'])}"]
        for known in (part["controls"]["line"], part["policies"]["cascade"]["frontier"]):
            there = quality_at(known, point["cost_usd"])
            cells.append("-" if there is None else f"{100 * there:.1f}%")
        row(name, *cells)


def stream(report: Block) -> None:
    """Another report, whose headline is one stream of several tables."""
    part, reference = report, report["comparisons"]["reference"]
    single = part["controls"]["best_single"]
    print("\n### One fit for several tables\n")
    print(
        f"{', '.join(part['pooled']['tables'])} as one stream of {part['pooled']['queries']} queries over the "
        f"{len(part['tables'][part['pooled']['kind']]['models'])} models they share; {report['settings']['seeds']} seeds. Best single "
        f"model: {100 * single['quality']['mean']:.1f}% @ {usd(single['cost_usd']['mean'])}.\n"
    )
    header("policy", "gain over line", f"{reference} minus it", "saving", "quality kept", "calls there")
    for name, policy in sorted(part["policies"].items(), key=lambda item: -item[1]["gain_over_line"]["mean"]):
        against = part["comparisons"]["others"].get(name)
        proven = policy["saving_at_best_single"]
        row(
            name,
            points(policy["gain_over_line"]),
            "" if against is None else points(against["difference"]),
            "not proven" if proven is None else f"{100 * proven['mean']:.0f}%",
            points(policy["operating_point"]["difference_to_best_single"]),
            f"{policy['collapse_at_best_single']['calls_per_query']:.2f}",
        )


def sections(report: Block) -> list[tuple[str, Block]]:
    """Every table, and the pooled figures last."""
    return [*report["tables"].items(), (f"**pooled** ({report['pooled']['kind']})", report)]


def main() -> None:
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    asked = [p["name"] or p["kind"] for p in report["settings"]["policies"]]
    cascades = [p["name"] or p["kind"] for p in report["settings"]["policies"] if p["kind"] == "cascade"]
    head(report)
    gains(report, [*asked, "blind"])
    differences(report, [n for n in [*asked, "blind"] if n != report["comparisons"]["reference"]])
    savings(report, [*cascades, "routewright"])
    frontiers(report, [*cascades, "routewright"])
    votes(report)
    for path in sys.argv[2:]:
        stream(json.loads(Path(path).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
