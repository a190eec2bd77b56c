"""The section *R2-Reasoner* of docs/results.md, as far as it is figures: printed from what `measure.py` and `changes.py` left.

    python recipes/r2_lab/page.py out/r2 --also out/router-r1.json out/router-r1-others.json

Intervals are 95%, paired bootstrap over questions; where a policy was trained with several seeds, its seeds are averaged first.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

DRAWS = 5000
ALL_LARGE = "plan, all large"
REFERENCE, WORTH = "r2, router as shipped @0.01", 0.01
REINFORCED = "r2, searched subtasks, then reinforcement"
CHECK, ALSO = "large alone", ("hops", "relay", "imitation", "reinforced", "decompose")


class Lines:
    """Everything of one file: name without its course -> courses -> [questions] right and USD."""

    def __init__(self, path: Path) -> None:
        self.raw: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text())
        self.of: dict[str, list[dict[str, dict[str, Any]]]] = {}
        most = max(len(seeds) for seeds in self.raw.values())
        for name, seeds in self.raw.items():
            if len(seeds) < most:
                print(f"left out, for it has {len(seeds)} of {most} draws of questions: {name}")
                continue
            self.of.setdefault(name.rpartition(" #")[0] or name, []).append(seeds)

    def each(self, name: str, key: str) -> np.ndarray:
        """[courses, questions]."""
        return np.array([[x for seed in sorted(c) for x in c[seed][key]] for c in self.of[name]], dtype=float)

    def total(self, name: str, key: str) -> float:
        """Summed over courses and seeds, a question."""
        return float(sum(c[s][key] for c in self.of[name] for s in c) / self.each(name, "right").size)


def _sum(courses: list[dict[str, dict[str, Any]]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for course in courses:
        for facts in course.values():
            total.update(facts["calls"])
    return total


def interval(gap: np.ndarray) -> str:
    picks = np.random.default_rng(0).integers(0, len(gap), (DRAWS, len(gap)))
    low, high = np.quantile(gap[picks].mean(axis=1), [0.025, 0.975])
    return f"{gap.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def main_table(lines: Lines) -> str:
    mine = lines.each(REFERENCE, "right").mean(axis=0)
    large = lines.each(ALL_LARGE, "right").mean(axis=0)
    dear = lines.each(ALL_LARGE, "usd").mean()
    out = [
        "| policy | trainings | right, % | over trainings | minus the all-large plan, points | `r2` minus this | USD / 1,000 | of it the planner | of the all-large plan's | calls |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in lines.of:
        right, usd = lines.each(name, "right"), lines.each(name, "usd")
        over = "" if len(right) == 1 else ", ".join(f"{100 * r.mean():.1f}" for r in right)
        coordination = np.mean([c[s]["coordination_usd"] for c in lines.of[name] for s in c])
        calls = sum(_sum(lines.of[name]).values()) / right.size
        gap, own = 100 * (right.mean(axis=0) - large), 100 * (mine - right.mean(axis=0))
        out.append(
            f"| {name} | {len(right)} | {100 * right.mean():.1f} | {over} | {interval(gap)} | {'' if name == REFERENCE else interval(own)} "
            f"| {1000 * usd.mean():.3f} | {1000 * coordination:.3f} | {100 * usd.mean() / dear:.0f}% | {calls:.2f} |"
        )
    return "\n".join(out)


def collapse(lines: Lines, names: list[str]) -> str:
    out = []
    for name in names:
        if name not in lines.of:
            continue
        calls = _sum(lines.of[name])
        total = sum(calls.values())
        p = np.array([n / total for n in calls.values()])
        told = ", ".join(f"{m} {100 * n / total:.0f}%" for m, n in calls.most_common())
        planned = lines.total(name, "planned")
        out.append(f"- {name}: planned {100 * planned:.0f}%; {told}; entropy {-(p * np.log2(p)).sum():.2f} bits")
    return "\n".join(out)


def changes(lines: Lines) -> str:
    base = lines.each("whole pool", "right").mean(axis=0)
    out = [
        "| pool | trainings | right, % | minus the whole pool, points | USD / 1,000 | calls of maths |",
        "|---|---|---|---|---|---|",
    ]
    for name in lines.of:
        if "wrong" in name:
            continue
        right, usd, calls = lines.each(name, "right"), lines.each(name, "usd"), _sum(lines.of[name])
        share = calls["maths"] / sum(calls.values())
        gap = interval(100 * (right.mean(axis=0) - base)) if name != "whole pool" else ""
        out.append(
            f"| {name} | {len(right)} | {100 * right.mean():.1f} | {gap} | {1000 * usd.mean():.3f} | {100 * share:.0f}% |"
        )
    out += [
        "",
        "| wrong replies | no review | review | minus none | review and new plans | minus none | two, a third where they differ | minus none |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in ["0% wrong"] + [f"{s:.0%} wrong ({k})" for k in ("any", "of the same kind") for s in (0.05, 0.1, 0.2)]:
        cells, none = [], None
        for way in ("no review", "review", "review and new plans", "two, a third where they differ"):
            name = f"{kind}, {way}"
            if name not in lines.of:
                break
            right, usd = lines.each(name, "right").mean(axis=0), lines.each(name, "usd").mean()
            cells.append(f"{100 * right.mean():.1f} @ {1000 * usd:.3f}")
            if none is None:
                none = right
            else:
                cells.append(interval(100 * (right - none)))
        out.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(out)


def beside(lines: Lines, files: list[Path]) -> str:
    """`r2` against what recipes/router_r1_lab measured on the same questions; refused where they are not the same."""
    out = [
        "| other | trainings | right, % | USD / 1,000 | `r2`, reinforced, minus it | `r2`, router as shipped, minus it |",
        "|---|---|---|---|---|---|",
    ]
    known = lines.each(CHECK, "right")[0]
    mine = [lines.each(n, "right").mean(axis=0) for n in (REINFORCED, REFERENCE)]
    rows = [row for file in files for row in json.loads(file.read_text())["rows"]]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["value_usd"] == WORTH and not row["few"]:
            found.setdefault(row["name"], []).append(row)
    if not found.get(CHECK) or (np.array(found[CHECK][0]["right"]) != known).any():
        raise SystemExit(
            f"{CHECK!r} answers other questions there. Expected the test questions of both recipes to be the same."
        )
    for name in ALSO:
        right = np.array([row["right"] for row in found[name]], dtype=float)
        usd = 1000 * np.mean([row["usd"] for row in found[name]])
        gaps = " | ".join(interval(100 * (m - right.mean(axis=0))) for m in mine)
        out.append(f"| {name} | {len(right)} | {100 * right.mean():.1f} | {usd:.3f} | {gaps} |")
    return "\n".join(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--also", type=Path, nargs="+", default=[], help="what recipes/router_r1_lab measured")
    given = parser.parse_args()
    out = given.out
    measured = Lines(out / "measured.json")
    chosen = json.loads((out / "chosen.json").read_text())
    print(f"The trade-off chosen on validation: {chosen:g} USD for a right answer\n")
    print(main_table(measured))
    print()
    print(collapse(measured, [n for n in measured.of if n.startswith("r2") or n == "plan, random allocation"]))
    if given.also:
        print()
        print(beside(measured, given.also))
    for name in ("changes", "changes-reinforced"):
        if (out / f"{name}.json").is_file():
            print(f"\n{name}")
            print(changes(Lines(out / f"{name}.json")))
