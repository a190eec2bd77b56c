"""What each stage of `routewright train r2` adds, on test questions of the lab; see README.md.

    python recipes/r2_lab/stages.py out/r2 --courses 0,1,2 --questions 100 --seeds 0,1,2
    python recipes/r2_lab/stages.py out/r2 --page

A course is a folder `course-SEED`. A stage is its newest decomposer with its newest allocator, both as files, run as they are served: the
decomposer by llama.cpp. The stage `start` is the decomposer it began with, and the allocator after imitation. Composed questions are
those of `measure.py`; questions of one step are the same number again, evenly over the families. What is done is kept. `--page` prints
the table: trainings averaged first, intervals 95%, paired bootstrap over questions, each stage against the one before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from baselines import RandomAllocation
from measure import HIGH, TEST, Book
from page import Lines, collapse, interval

from routewright.coordinator import load_coordinator
from routewright.lab.families import Question
from routewright.lab.pool import SHIPPED, pool_values, solvers
from routewright.lab.questions import composed_and_single, questions
from routewright.policies.base import build_policy
from routewright.policies.r2 import R2
from routewright.pools.config import check_pool
from routewright.pools.pool import Pool, build_pool
from routewright.train.remembering import remembering

PLANNER = "planner"


def pool_with(planner: Path, replies: Path, folder: Path = SHIPPED) -> Pool:
    """The lab's pool with another planner."""
    values = pool_values(folder)
    values["providers"][PLANNER]["path"] = str(planner)
    return remembering(build_pool(check_pool(values, "the pool")), replies)


def stages(course: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, decomposer, coordinator of every stage that is there."""
    told = json.loads((course / "run.json").read_text(encoding="utf-8"))
    planner, coordinator = Path(told["decomposer"]["base"]), course / "0-allocator" / "coordinator"
    yield "start", planner, coordinator
    halves = ["allocator", "decomposer"] if told["first"] == "allocator" else ["decomposer", "allocator"]
    names = ["0-decomposer", *(f"{n}-{half}" for n in range(1, told["rounds"] + 1) for half in halves)]
    for name in names:
        if not (course / name / "verdict.json").is_file():
            return
        if name.endswith("decomposer"):
            planner = course / name / f"{PLANNER}.gguf"
        else:
            coordinator = course / name / "coordinator"
        yield name, planner, coordinator


def policy_of(course: Path, coordinator: Path, cls: type[R2] = R2, **options: Any) -> R2:
    """The policy of the course with an allocator."""
    told = json.loads((course / "run.json").read_text(encoding="utf-8"))
    config = R2.Config.model_validate({**told["policy"], "repairs": 1, **options})
    made, source = cls(config), load_coordinator(coordinator).policy
    assert isinstance(source, R2)
    made.forecaster, made.fits = source.forecaster, source.fits
    if source.weights is not None:
        made.take(source.names, source.weights)
    return made


def asked(n: int, seed: int) -> dict[str, list[Question]]:
    """Test questions by kind."""
    return {
        "composed": questions("composed", n, "test", TEST + seed),
        "single": composed_and_single(n, 1.0, "test", TEST + seed),
    }


async def go(out: Path, folder: str, courses: Sequence[int], n: int, seeds: Sequence[int], value: float) -> None:
    book = Book(out / f"stages-{folder}.json")
    for course in courses:
        where = out / f"{folder}-{course}"
        last = None
        for name, planner, coordinator in stages(where):
            last = planner, coordinator
            pool = pool_with(planner, where / "replies.sqlite")
            try:
                for seed in seeds:
                    for kind, chosen in asked(n, seed).items():
                        await book.play(
                            f"{kind}, {name} #{course}", seed, policy_of(where, coordinator), pool, chosen, value
                        )
            finally:
                await pool.aclose()
        if last is None:
            continue
        pool = pool_with(last[0], where / "replies.sqlite")
        try:
            await controls(book, pool, where, last[1], course, n, seeds, value)
        finally:
            await pool.aclose()


async def controls(
    book: Book, pool: Pool, where: Path, coordinator: Path, course: int, n: int, seeds: Sequence[int], value: float
) -> None:
    """The last stage with its allocation taken away, and one model alone."""
    everybody = tuple(solvers(pool.models))
    for seed in seeds:
        for kind, chosen in asked(n, seed).items():
            at_random = policy_of(where, coordinator, RandomAllocation, models=everybody)
            at_random.forecaster = at_random.weights = None
            large = policy_of(where, coordinator, models=("large",))
            large.forecaster = large.weights = None
            await book.play(f"{kind}, last stage, random allocation #{course}", seed, at_random, pool, chosen, value)
            await book.play(f"{kind}, last stage, all large #{course}", seed, large, pool, chosen, value)
            if not course:
                alone = build_policy("single", {"model": "large"})
                await book.play(f"{kind}, large alone", seed, alone, pool, chosen, value)


def table(lines: Lines) -> str:
    """Every stage, composed and single questions side by side."""
    rows, before = [], dict[str, Any]()
    names = list(dict.fromkeys(name.partition(", ")[2] for name in lines.of))
    for name in names:
        if any(f"{kind}, {name}" not in lines.of for kind in ("composed", "single")):
            continue
        cells = []
        for kind in ("composed", "single"):
            right = lines.each(f"{kind}, {name}", "right")
            usd = lines.each(f"{kind}, {name}", "usd").mean()
            mean, over = right.mean(axis=0), ", ".join(f"{100 * r.mean():.1f}" for r in right)
            gap = interval(100 * (mean - before[kind])) if kind in before and "last" not in name else ""
            planned = lines.total(f"{kind}, {name}", "planned")
            cells += [f"{100 * right.mean():.1f} ({over})", gap, f"{1000 * usd:.3f}", f"{100 * planned:.0f}%"]
            if "last" not in name:
                before[kind] = mean
        rows.append(f"| {name} | {' | '.join(cells)} |")
    head = "| {0}, % right (trainings) | minus the stage before | USD / 1,000 | planned "
    return "\n".join(["| stage " + head.format("composed") + head.format("single") + "|", "|---" * 9 + "|", *rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--folder", default="course", help="courses are FOLDER-SEED")
    parser.add_argument("--courses", default="0,1,2", help="seeds of trainings")
    parser.add_argument("--questions", type=int, default=100, help="of each kind and draw")
    parser.add_argument("--seeds", default="0,1,2", help="draws of questions")
    parser.add_argument("--value", type=float, default=HIGH, help="of a right answer, USD")
    parser.add_argument("--page", action="store_true", help="print what has been measured")
    options = parser.parse_args()
    if options.page:
        lines = Lines(options.out / f"stages-{options.folder}.json")
        print(table(lines))
        print(collapse(lines, list(lines.of)))
        raise SystemExit
    courses, seeds = ([int(s) for s in text.split(",")] for text in (options.courses, options.seeds))
    asyncio.run(go(options.out, options.folder, courses, options.questions, seeds, options.value))
