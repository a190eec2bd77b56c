"""The tables of the results, from what `measure.py` and `train r1` wrote: `python recipes/router_r1_lab/page.py out/router-r1.json [FILE ...]
[--trainings FOLDER ...]`.

Several files of the same questions are put together. Folders are those of `train r1`, one a training.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DRAWS = 5000
LATE = "maths"
ITS = ("arithmetic", "units")  # the families of the model that comes late
REFERENCE_USD = 5e-4  # of the utility in run.toml

Row = dict[str, Any]


def rows_of(told: Row, name: str, value: float, few: bool) -> list[Row]:
    found = [r for r in told["rows"] if (r["name"], r["few"]) == (name, few) and np.isclose(r["value_usd"], value)]
    return sorted(found, key=lambda r: int(r["training"]))


def right(rows: Sequence[Row]) -> Any:
    """[trainings, questions]"""
    return np.array([r["right"] for r in rows], dtype=np.float64)


def interval(difference: Any, seed: int = 0) -> str:
    """Mean over trainings of a paired difference [trainings, questions], points, with a 95 % interval over trainings and questions drawn again."""
    rng = np.random.default_rng(seed)
    trainings, questions = difference.shape
    means = [
        difference[rng.integers(0, trainings, trainings)][:, rng.integers(0, questions, questions)].mean()
        for _ in range(DRAWS)
    ]
    low, high = 100 * np.quantile(means, [0.025, 0.975])
    return f"{100 * difference.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def entropy(counts: Any) -> float:
    share = np.array([c for c in counts if c], dtype=np.float64)
    share = share / share.sum() if len(share) else share
    return abs(float((share * np.log(share)).sum()))


def calls_of(rows: Sequence[Row], families: Sequence[Sequence[str]]) -> tuple[Counter[str], float, float]:
    """Who is asked; entropy of it; and what the family of the gold plan's step in the same place says of it, nats."""
    pairs = [
        (family, model)
        for row in rows
        for steps, asked in zip(families, row["calls"], strict=False)
        for family, model in zip(steps, asked, strict=False)
    ]
    who = Counter(model for row in rows for asked in row["calls"] for model in asked)
    h = [entropy(Counter(x).values()) for x in ([f for f, _ in pairs], [m for _, m in pairs], pairs)]
    return who, entropy(who.values()), h[0] + h[1] - h[2]


def main_table(told: Row, value: float = 1e-2) -> list[str]:
    ours = rows_of(told, "reinforced", value, False)
    names = list(dict.fromkeys(r["name"] for r in told["rows"] if not r["few"]))
    lines = [
        "| policy | trainings | right, % | each | reinforced less this | USD / 1,000 | of it coordination | calls | malformed, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        rows = rows_of(told, name, value, False)
        n = len(rows[0]["right"])
        each = ", ".join(f"{100 * np.mean(r['right']):.1f}" for r in rows) if len(rows) > 1 else ""
        gap = "" if name == "reinforced" or not ours else interval(_paired(ours, rows))
        calls = np.mean([len(c) for r in rows for c in r["calls"]])
        bad = 100 * np.mean([r["malformed"] / n for r in rows])
        usd, own = (1000 * np.mean([np.mean(r[k]) for r in rows]) for k in ("usd", "own_usd"))
        lines.append(
            f"| {name} | {len(rows)} | {100 * right(rows).mean():.1f} | {each} | {gap} | {usd:.3f} | {own:.3f} | {calls:.2f} | {bad:.1f} |"
        )
    return lines


def _paired(ours: Sequence[Row], rows: Sequence[Row]) -> Any:
    """Ours less the others: training by training where there are as many, else against the mean of the others."""
    mine, theirs = right(ours), right(rows)
    return mine - (theirs if len(theirs) == len(mine) else theirs.mean(axis=0, keepdims=True))


def frontier(told: Row) -> list[str]:
    values = sorted({r["value_usd"] for r in told["rows"] if r["few"]})
    lines = [
        "| a right answer is worth, USD | router | right, % | USD / 1,000 | utility | calls | who is asked, % of calls | entropy | information |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for value in values:
        single = {r["name"]: utility([r], value) for r in told["rows"] if r["few"] and r["name"].endswith("alone")}
        best = max(single, key=lambda name: single[name]) if single else ""
        for name in ("reinforced", "imitation", "decompose", best, "nobody"):
            rows = rows_of(told, name, value, True) or [r for r in told["rows"] if r["few"] and r["name"] == name][:1]
            if not rows:
                continue
            who, h, information = calls_of(rows, told["families"])
            total = max(sum(who.values()), 1)
            shares = ", ".join(f"{m} {100 * k / total:.0f}" for m, k in who.most_common(4))
            calls = np.mean([len(c) for r in rows for c in r["calls"]])
            shown = "best single: " + name if name == best else name
            lines.append(
                f"| {value:g} | {shown} | {100 * right(rows).mean():.1f} | {1000 * np.mean([np.mean(r['usd']) for r in rows]):.3f} "
                f"| {utility(rows, value):+.3f} | {calls:.2f} | {shares} | {h:.2f} | {information:.2f} |"
            )
    return lines


def utility(rows: Sequence[Row], value: float) -> float:
    return float(np.mean([(value * np.mean(r["right"]) - np.mean(r["usd"])) / (value + REFERENCE_USD) for r in rows]))


def late(told: Row, value: float = 1e-2) -> list[str]:
    lines = [
        f"| what is said of `{LATE}` | right, % | reinforced less this | of its families' steps it is asked, % | of other steps, % |",
        "|---|---|---|---|---|",
    ]
    ours = rows_of(told, "reinforced", value, False)
    names = [
        n
        for n in dict.fromkeys(r["name"] for r in told["rows"])
        if n == "reinforced" or (LATE in n and n.startswith("reinforced"))
    ]
    for name in names:
        rows = rows_of(told, name, value, False)
        its: list[bool] = []
        foreign: list[bool] = []
        for row in rows:
            for steps, asked in zip(told["families"], row["calls"], strict=False):
                for family, model in zip(steps, asked, strict=False):
                    (its if family in ITS else foreign).append(model == LATE)
        gap = "" if name == "reinforced" else interval(_paired(ours, rows))
        shown = "measured on 50 questions a family" if name == "reinforced" else name.partition(", ")[2]
        lines.append(
            f"| {shown} | {100 * right(rows).mean():.1f} | {gap} | {100 * np.mean(its):.0f} | {100 * np.mean(foreign):.1f} |"
        )
    return lines


def course(folders: Sequence[Path]) -> list[str]:
    lines = [
        "| training | steps | held out: utility before, after | gain, standard error | right, % | calls | least entropy of calls | rollouts/s | tokens/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, folder in enumerate(folders):
        told = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
        watch = json.loads((folder / "watch.json").read_text(encoding="utf-8"))
        looks, steps = [t for t in told if "held_out" in t], [t for t in told if "reward" in t]
        best = next((t for t in looks if t["update"] == watch["best_step"]), looks[0])
        quality, calls = ([t[f"held_out_{k}"] for t in (looks[0], best)] for k in ("quality", "calls"))
        lines.append(
            f"| {number} | {steps[-1]['update']}, best {watch['best_step']} | {looks[0]['held_out']:+.3f}, {best['held_out']:+.3f} "
            f"| {watch['gained']:+.3f}, {watch['error']:.3f} | {100 * quality[0]:.0f}, {100 * quality[1]:.0f} | {calls[0]:.2f}, {calls[1]:.2f} "
            f"| {min(t['call_entropy'] for t in steps):.2f} | {np.mean([t['rollouts_per_s'] for t in steps]):.1f} "
            f"| {np.mean([t['tokens_per_s'] for t in steps]):.0f} |"
        )
    return lines


def tokens(told: Row, value: float = 1e-2) -> str:
    rows = rows_of(told, "reinforced", value, False) or rows_of(told, "perfect", value, False)
    read, written, again = (np.mean([r["tokens"][k] for r in rows]) for k in ("read", "written", "again"))
    return f"The router reads {read:.0f} tokens a question, {again:.0f} of which it had read or written the turn before, and writes {written:.0f}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--trainings", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    found = [json.loads(file.read_text(encoding="utf-8")) for file in given.files]
    whole = {**found[0], "rows": [row for one in found for row in one["rows"]]}
    parts = [main_table(whole), [tokens(whole)]]
    if any(r["few"] for r in whole["rows"]):
        parts += [frontier(whole), late(whole)]
    if given.trainings:
        parts.append(course(given.trainings))
    print("\n\n".join("\n".join(part) for part in parts))
