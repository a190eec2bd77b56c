"""Allocator (b) on the lab: a tiny language model that writes a model's name for each subtask; see README.md.

    python recipes/r2_lab/writer.py out/r2 --seeds 0,1,2

It reads plans of *training* questions (the gold ones, in the planner's form) and learns to write whom `search-rl-SEED` would ask, when a right
answer is worth 0.01 USD; then by GRPO on whole answers, the shipped planner held fixed. It has names by heart: the pool of its training,
and no other. Measured live on the questions of `measure.py`, with all models, and without `maths`, where an allocation that names
it can not be read and the `worker`, `large`, does that plan's subtasks. A model that joins it can not name at all. What is done is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from allocators import OPTIONS
from changes import NEW
from measure import HIGH, TEST, Book
from page import Lines, interval

from routewright.coordinator import load_coordinator
from routewright.lab.pool import SHIPPED, USD_PER_MTOK_OUT, pool_values, solvers
from routewright.lab.questions import composed_and_single, questions, rows_of, stream
from routewright.lab.roster import Recipe, vocabulary
from routewright.policies.base import build_policy
from routewright.policies.plan_text import fill
from routewright.policies.r2 import R2
from routewright.policies.r2_allocate import features, short_prompt
from routewright.pools.config import check_pool
from routewright.pools.pool import Pool, build_pool
from routewright.train.r2 import train_r2
from routewright.train.r2_course_settings import R2Settings
from routewright.train.remembering import remembering
from routewright.types import Query

NAME = "allocator"
RECIPE = Recipe(NAME, "names a model for each subtask", 96, 3, 3, 288, steps=400, tokens=2048, context=384, rate=3e-3)
TAUGHT, HELD = 4000, 200  # plans
GRPO = {"steps": 40, "questions": 8, "rollouts": 8, "rows": 32, "rate": 1e-4, "evaluate_every": 10, "save_every": 20}


def lessons(out: Path, seed: int) -> list[tuple[str, str]]:
    """Plans of training questions, and whom allocator (a) would ask."""
    made = load_coordinator(out / f"search-rl-{seed}")
    policy, router = made.policy, made.router
    assert isinstance(policy, R2)
    assert policy.weights is not None
    assert router is not None
    able = list(policy.names)
    plans = []
    for question in stream("composed", "train", 7000 + seed):
        done = {i: step.answer for i, step in enumerate(question.plan, 1)}
        plans.append(
            (question.text, [s.template for s in question.plan], [fill(s.template, done) for s in question.plan])
        )
        if len(plans) == TAUGHT:
            break
    texts = list(dict.fromkeys(t for *_, filled in plans for t in filled))
    forecast = router.forecast([Query(t) for t in texts]).take(able)
    quality = forecast.quality + np.stack([features(t) for t in texts]) @ policy.weights
    best = [able[i] for i in (HIGH * quality - forecast.cost_usd).argmax(axis=1)]
    who = dict(zip(texts, best, strict=True))
    pairs = []
    for text, templates, filled in plans:
        names = "\n".join(f"{i}. {who[t]}" for i, t in enumerate(filled, 1))
        pairs.append((short_prompt(text, templates), f"\n{names}"))
    return pairs


def imitated(out: Path, seed: int) -> Path:
    """The model after imitation; trained once."""
    import torch

    from routewright.lab import learn
    from routewright.lab.export import arrays_of, write_gguf

    folder = out / f"writer-{seed}"
    file = folder / f"{NAME}.gguf"
    if file.is_file():
        return file
    torch.set_num_threads(1)
    words, pairs = vocabulary(), lessons(out, seed)
    folder.mkdir(exist_ok=True)
    held, taught = pairs[:HELD], pairs[HELD:]
    rng, began = random.Random(seed), time.process_time()

    def source(_: np.random.Generator, n: int) -> Sequence[tuple[str, str]]:
        return [rng.choice(taught) for _ in range(n)]

    course = replace(RECIPE.course, seed=seed)
    tell = lambda step, of, loss: step % 100 == 0 and print(step, of, round(loss, 4), flush=True)  # noqa: E731
    model = learn.train(words, RECIPE.shape(len(words)), source, course, folder / "checkpoint", tell)
    said = [words.decode(ids) for ids in model.greedy(words.encode([p for p, _ in held]), words.end, 60)]
    whole = np.mean([s.strip() == w.strip() for s, (_, w) in zip(said, held, strict=True)])
    write_gguf(file, arrays_of(model), model.shape, words, NAME, RECIPE.about)
    took = time.process_time() - began
    print(
        f"{folder.name}: {100 * whole:.1f}% of {HELD} allocations held out as (a) has them; {took:.0f} CPU s",
        flush=True,
    )
    return file


def values_with(file: Path) -> dict[str, Any]:
    """What a pool file of the lab's models and this allocator says."""
    values = pool_values(SHIPPED)
    values["providers"][NAME] = {
        "kind": "local",
        "path": str(file.resolve()),
        "context_tokens": RECIPE.context,
        "concurrency": 1,
    }
    price = round(USD_PER_MTOK_OUT * RECIPE.parameters(len(vocabulary())) / 1e6, 4)
    facts = {
        "name": NAME,
        "provider": NAME,
        "usd_per_mtok_in": price / 4,
        "usd_per_mtok_out": price,
        "output_tokens": 100,
    }
    values["models"].append(facts)
    return values


def written(values: dict[str, Any], path: Path) -> Path:
    """As TOML."""
    lines = [f"transcripts = {json.dumps(values['transcripts'])}"]
    for name, provider in values["providers"].items():
        lines += ["", f"[providers.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in provider.items())]
    for model in values["models"]:
        lines += ["", "[[models]]", *(f"{k} = {json.dumps(v)}" for k, v in model.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def reinforced(out: Path, seed: int, base: Path) -> Path:
    """The model after GRPO on whole answers."""
    folder = out / f"writer-{seed}"
    pool = written(values_with(base), folder / "pool.toml")
    rows = rows_of(composed_and_single(300, 0.0, "validation", 80 + seed))
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    told = {
        "policy": {
            **options(solvers(build_pool(check_pool(values_with(base), "the pool")).models)),
            "retries": 0,
            "replans": 0,
        },
        "allocator": {"base": str(base), "grpo": GRPO},
        "world": {"kind": "files", "pool": str(pool), "queries": str(folder / "asked.jsonl"), "questions": 300},
        "held_out": 100,
        "reward": {"value_usd": [1e-3, 1e-2], "reference_usd": 5e-4},
    }
    say = lambda r: "held_out" in r and print(seed, r["update"], round(r["held_out"], 3), flush=True)  # noqa: E731
    print(train_r2(R2Settings.model_validate(told), folder / "course", seed, say), flush=True)
    return folder / "course" / "1-allocator" / f"{NAME}.gguf"


def options(models: Sequence[str]) -> dict[str, Any]:
    able = tuple(m for m in models if m != NAME)
    return {**OPTIONS, "plan_tokens": 140, "allocator": NAME, "worker": "large", "models": able}


async def measured(book: Book, label: str, course: int, pool: Pool, n: int, seeds: Sequence[int]) -> None:
    able = [m for m in solvers(pool.models) if m != NAME]
    less = replace(pool, members={k: m for k, m in pool.members.items() if k != NEW})
    for seed in seeds:
        asked = questions("composed", n, "test", TEST + seed)
        whole, rest = (build_policy("r2", options(names)) for names in (able, [m for m in able if m != NEW]))
        await book.play(f"{label} #{course}", seed, whole, pool, asked)
        await book.play(f"{label}, without {NEW} #{course}", seed, rest, less, asked)


async def go(out: Path, n: int, seeds: Sequence[int], files: dict[int, dict[str, Path]]) -> None:
    book = Book(out / "writer.json")
    for course, kinds in files.items():
        for label, file in kinds.items():
            pool = remembering(
                build_pool(check_pool(values_with(file), "the pool")), out / f"writer-{course}" / "replies.sqlite"
            )
            try:
                await measured(book, label, course, pool, n, seeds)
            finally:
                await pool.aclose()


def table(lines: Lines, others: Lines) -> str:
    """Beside allocator (a) on the same questions."""
    base = others.each("r2, searched subtasks, then reinforcement", "right").mean(axis=0)
    out = [
        "| allocator (b) | trainings | right, % | minus allocator (a) after reinforcement | USD / 1,000 | malformed |",
        "|---|---|---|---|---|---|",
    ]
    for name in lines.of:
        right, usd = lines.each(name, "right"), lines.each(name, "usd").mean()
        over = ", ".join(f"{100 * r.mean():.1f}" for r in right)
        gap = interval(100 * (right.mean(axis=0) - base))
        bad = 100 * lines.total(name, "malformed")
        out.append(
            f"| {name} | {len(right)} | {100 * right.mean():.1f} ({over}) | {gap} | {1000 * usd:.3f} | {bad:.0f}% |"
        )
    return "\n".join(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0,1,2", help="of questions, and of trainings")
    parser.add_argument("--questions", type=int, default=100)
    given = parser.parse_args()
    wanted = [int(s) for s in given.seeds.split(",")]
    made = {}
    for one in wanted:
        first = imitated(given.out, one)
        made[one] = {"imitation": first, "then reinforcement": reinforced(given.out, one, first)}
    asyncio.run(go(given.out, given.questions, wanted, made))
    print(table(Lines(given.out / "writer.json"), Lines(given.out / "measured.json")))
