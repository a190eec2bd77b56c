"""Allocator (b) on the lab: a tiny language model that writes a model's name for each subtask, taught by allocator (a).

    python recipes/r2_lab/writer.py out/r2 --seeds 0,1,2
    python recipes/r2_lab/writer.py out/r2 --seeds 0,1,2 --measure

It reads plans of *training* questions (the gold ones, in the planner's form) and learns to write whom `rl-SEED` would ask, when a right
answer is worth 0.01 USD. It has names by heart: the pool of its training, and no other. Then it allocates live, with all
models, and without `maths`, where a text that names it can not be read and the `worker`, `large`, does the subtasks of that plan.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from allocators import OPTIONS
from changes import NEW
from measure import HIGH, TEST, Book

from routewright.coordinator import load_coordinator
from routewright.lab.pool import SHIPPED, _entry, pool_values, solvers
from routewright.lab.questions import questions, stream
from routewright.lab.roster import Recipe, vocabulary
from routewright.policies.base import build_policy
from routewright.policies.plan_text import fill
from routewright.policies.r2 import R2
from routewright.policies.r2_allocate import features, short_prompt
from routewright.pools.config import check_pool
from routewright.pools.pool import Pool, build_pool
from routewright.train.remembering import remembering
from routewright.types import Query

NAME = "allocator"
RECIPE = Recipe(NAME, "names a model for each subtask", 96, 3, 3, 288, steps=400, tokens=2048, context=384, rate=3e-3)
TAUGHT = 4000  # plans


def lessons(out: Path, seed: int) -> list[tuple[str, str]]:
    """Plans of training questions, and whom allocator (a) would ask."""
    made = load_coordinator(out / f"rl-{seed}")
    policy, router = made.policy, made.router
    assert isinstance(policy, R2)
    assert policy.weights is not None
    assert router is not None
    able = list(policy.names)
    plans = []
    for question in stream("composed", "train", 7000 + seed):
        done = {i: step.answer for i, step in enumerate(question.plan, 1)}
        plans.append(([s.template for s in question.plan], [fill(s.template, done) for s in question.plan]))
        if len(plans) == TAUGHT:
            break
    texts = list(dict.fromkeys(t for _, filled in plans for t in filled))
    forecast = router.forecast([Query(t) for t in texts]).take(able)
    quality = forecast.quality + np.stack([features(t) for t in texts]) @ policy.weights
    best = [able[i] for i in (HIGH * quality - forecast.cost_usd).argmax(axis=1)]
    who = dict(zip(texts, best, strict=True))
    pairs = []
    for templates, filled in plans:
        names = "\n".join(f"{i}. {who[t]}" for i, t in enumerate(filled, 1))
        pairs.append((short_prompt(templates), f"\n{names}"))
    return pairs


def train(out: Path, seed: int) -> None:
    import torch

    from routewright.lab import learn
    from routewright.lab.export import arrays_of, write_gguf

    torch.set_num_threads(1)
    folder, words, pairs = out / f"writer-{seed}", vocabulary(), lessons(out, seed)
    folder.mkdir(exist_ok=True)
    held, taught = pairs[:200], pairs[200:]
    rng, began = random.Random(seed), time.process_time()

    def source(_: np.random.Generator, n: int) -> Sequence[tuple[str, str]]:
        return [rng.choice(taught) for _ in range(n)]

    course = learn.Course(RECIPE.steps, RECIPE.tokens, RECIPE.rate, seed=seed)
    tell = lambda step, of, loss: step % 50 == 0 and print(step, of, round(loss, 4), flush=True)  # noqa: E731
    model = learn.train(words, RECIPE.shape(len(words)), source, course, folder / "checkpoint", tell)
    said = [words.decode(ids) for ids in model.greedy(words.encode([p for p, _ in held]), words.end, 60)]
    whole = np.mean([s.strip() == w.strip() for s, (_, w) in zip(said, held, strict=True)])
    write_gguf(folder / f"{NAME}.gguf", arrays_of(model), model.shape, words, NAME, RECIPE.about)
    print(
        f"writer-{seed}: {100 * whole:.1f}% of 200 allocations held out as (a) has them; {time.process_time() - began:.0f} CPU s",
        flush=True,
    )


def pool_with(out: Path, seed: int) -> Pool:
    """The lab's pool and the allocator."""
    values = pool_values(SHIPPED)
    path = str(out / f"writer-{seed}" / f"{NAME}.gguf")
    values["providers"][NAME] = {"kind": "local", "path": path, "context_tokens": RECIPE.context, "concurrency": 1}
    values["models"].append({**_entry(RECIPE), "output_tokens": 100})
    return build_pool(check_pool(values, "the pool"))


async def measure(out: Path, n: int, seeds: Sequence[int]) -> None:
    book = Book(out / "writer.json")
    for course in seeds:
        pool = remembering(pool_with(out, course), out / f"writer-{course}" / "replies.sqlite")
        able = tuple(m for m in solvers(pool.models) if m != NAME)
        less = replace(pool, members={k: m for k, m in pool.members.items() if k != NEW})
        options = {**OPTIONS, "allocator": NAME, "worker": "large"}
        try:
            for seed in seeds:
                asked = questions("composed", n, "test", TEST + seed)
                await book.play(
                    f"whole pool #{course}", seed, build_policy("r2", {**options, "models": able}), pool, asked
                )
                rest = tuple(m for m in able if m != NEW)
                await book.play(
                    f"without {NEW} #{course}", seed, build_policy("r2", {**options, "models": rest}), less, asked
                )
        finally:
            await pool.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    wanted = [int(s) for s in options.seeds.split(",")]
    if options.measure:
        asyncio.run(measure(options.out, options.questions, wanted))
    else:
        for one in wanted:
            train(options.out, one)
