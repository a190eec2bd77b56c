"""The aim of `r2` on many questions: at least 84% less cost than the all-large plan, at no more than a point less accuracy; see README.md.

    python recipes/r2_lab/aim.py out/r2 --draws 10

The worth of a right answer is chosen on validation questions: the largest one of a grid at which `r2` costs at most `SHARE` of the all-large
plan there. Then both play the test questions, once. What is done is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

import numpy as np
from allocators import made
from measure import CHOOSING, TEST, Book, ours

from routewright.lab.pool import lab_pool
from routewright.lab.questions import questions
from routewright.train.remembering import remembering

GRID = tuple(round(x * 5e-5, 6) for x in range(8, 21))  # 4e-4 to 1e-3 USD
SHARE = 0.14  # of the all-large plan's cost, on validation: some room below the 16% asked for
LARGE, OURS, DRAWS = "plan, all large", "r2", 5000


async def go(out: Path, draws: int) -> None:
    pool = remembering(lab_pool(), out / "aim.sqlite")
    book = Book(out / "aim.json")
    try:
        for seed in range(3):
            asked = questions("composed", CHOOSING, "validation", 300 + seed)
            await book.play(f"validation, {LARGE}", seed, made(None, models=("large",)), pool, asked)
            for value in GRID:
                await book.play(f"validation, {OURS} @{value:g}", seed, ours(), pool, asked, value)
        dear = total(book, f"validation, {LARGE}")
        able = [v for v in GRID if total(book, f"validation, {OURS} @{v:g}") <= SHARE * dear]
        if not able:
            raise SystemExit(f"no worth of the grid costs at most {SHARE:.0%} of the all-large plan on validation")
        value = max(able)
        (out / "aim-chosen.json").write_text(json.dumps(value))
        for seed in range(draws):
            asked = questions("composed", 100, "test", TEST + seed)
            await book.play(LARGE, seed, made(None, models=("large",)), pool, asked)
            await book.play(f"{OURS} @{value:g}", seed, ours(), pool, asked, value)
        print(told(book, f"{OURS} @{value:g}"))
    finally:
        await pool.aclose()


def total(book: Book, name: str) -> float:
    return float(sum(sum(row["usd"]) for row in book.found[name].values()))


def told(book: Book, name: str) -> str:
    """Both on the same questions, and the differences with their 95% bootstrap intervals."""
    right, usd = ({n: _all(book, n, key) for n in (LARGE, name)} for key in ("right", "usd"))
    n = len(right[LARGE])
    picks = np.random.default_rng(0).integers(0, n, (DRAWS, n))
    gap = 100 * (right[name] - right[LARGE])
    saved = 100 * (1 - usd[name][picks].mean(axis=1) / usd[LARGE][picks].mean(axis=1))
    shown = [f"{k}: {100 * right[k].mean():.1f}% right at {1000 * usd[k].mean():.4f} USD / 1,000" for k in right]
    lines = [f"{n} questions", *shown]
    low, high = np.quantile(gap[picks].mean(axis=1), [0.025, 0.975])
    lines.append(f"right, points: {gap.mean():+.1f} [{low:+.1f}, {high:+.1f}]")
    low, high = np.quantile(saved, [0.025, 0.975])
    lines.append(f"cost saved, %: {100 * (1 - usd[name].mean() / usd[LARGE].mean()):.1f} [{low:.1f}, {high:.1f}]")
    return "\n".join(lines)


def _all(book: Book, name: str, key: str) -> np.ndarray:
    rows = book.found[name]
    return np.array([x for seed in sorted(rows, key=int) for x in rows[seed][key]], dtype=float)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=10, help="of 100 test questions")
    options = parser.parse_args()
    asyncio.run(go(options.out, options.draws))
