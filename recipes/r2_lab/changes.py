"""`r2` where the pool changes, and where subtasks come out wrong; see README.md.

    python recipes/r2_lab/changes.py out/r2 --questions 100 --seeds 0,1,2
    python recipes/r2_lab/changes.py out/r2 --questions 100 --seeds 0,1,2 --reinforced

Pool, allocator (a): `maths` is gone; `maths` joins a pool whose allocator has never seen it, by 50 probes (subtasks of the table, drawn
at random, answered by it), or with its price alone. Errors: a share of the replies to subtasks is replaced by the answer to another
subtask, any other or one of the same kind (a number for a number); with and without review and new plans. With `--reinforced` all of it after policy gradient on whole answers: the allocator that NEW joins has had
its reinforcement without it.
"""

from __future__ import annotations

import argparse
import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from allocators import asked_again, fits_of, made, reinforced
from measure import TEST, Book

from routewright import outcomes as tables
from routewright.coordinator import Coordinator, load_coordinator
from routewright.lab.pool import lab_pool, solvers
from routewright.lab.questions import questions
from routewright.lab.standing import VALUE_USD
from routewright.policies.r2 import R2
from routewright.policies.r2_allocate import Probes, joined
from routewright.policies.r2_fits import shape_of
from routewright.pools.pool import Endpoint, Pool
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.router import Router, fit
from routewright.train.remembering import remembering

NEW, PROBES, AGAIN = "maths", 50, 10
SHARES = (0.05, 0.1, 0.2)
WAYS: dict[str, dict[str, Any]] = {  # set beforehand
    "no review": {"retries": 0, "replans": 0},
    "review": {"retries": 2, "replans": 0, "confident": 0.3},
    "two, a third where they differ": {"retries": 2, "replans": 0, "confident": 1.0},
    "review and new plans": {"retries": 2, "replans": 1, "confident": 0.3, "hopeless": 0.1},
}


class Wrong(Provider):
    """Another provider, a share of whose replies to subtasks says something else."""

    kind: ClassVar[str] = "wrong"
    summary: ClassVar[str] = "a share of the replies to subtasks is wrong"

    def __init__(
        self, inner: Provider, share: float, others: Mapping[str, Sequence[str]], alike: bool, seed: int
    ) -> None:
        super().__init__(name=inner.name)
        self.inner, self.share, self.others, self.alike, self.seed = inner, share, others, alike, seed
        self.made = 0

    async def complete(self, ask: Ask) -> Completion:
        done = await self.inner.complete(ask)
        rng = np.random.default_rng(zlib.crc32(f"{self.seed}/{ask.model}/{ask.messages[0]['content']}".encode()))
        if ask.role != "solve" or rng.random() >= self.share:
            return done
        own = done.text.rpartition("answer:")[2].strip()
        kinds = [shape_of(own)] if self.alike and shape_of(own) in self.others else list(self.others)
        pool = [a for kind in kinds for a in self.others[kind] if a != own]
        if not pool:
            return done
        self.made += 1
        return replace(done, text=f" answer:{pool[int(rng.integers(len(pool)))]}")

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        done = await self.complete(ask)
        yield Delta(done.text)
        yield done

    async def aclose(self) -> None:
        await self.inner.aclose()


def with_errors(pool: Pool, share: float, answers: Sequence[str], alike: bool, seed: int) -> Pool:
    """The pool, its solvers going wrong."""
    others: dict[str, list[str]] = {}
    for answer in dict.fromkeys(answers):
        others.setdefault(shape_of(answer), []).append(answer)
    able, members = solvers(pool.models), {}
    for name, member in pool.members.items():
        e = member.endpoint
        wrong = Endpoint(e.name, Wrong(e.provider, share, others, alike, seed), e.calls, e.entry)
        members[name] = replace(member, endpoint=wrong) if name in able else member
    return replace(pool, members=members)


def probed(table: Path, names: Sequence[str], n: int, seed: int) -> Router:
    """A router for the whole pool, fitted on outcomes of the pool without NEW and `n` probes of it."""
    whole = tables.load(table, [*names, NEW])
    known = whole.with_models(list(names))
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(known))[:n])
    score, cost = whole.quality[rows, -1], whole.cost_usd[rows, -1]
    return fit(joined(known, NEW, Probes(rows, score, cost)), "routewright", seed=seed)


async def learnt(
    out: Path, course: int, names: Sequence[str], pool: Pool, router: Router | None = None, start: R2 | None = None
) -> R2:
    """An allocator of these models after reinforcement; trained once. With a router and a start: some batches more, from there."""
    folder = out / f"changes-{'joined-' if start is not None else ''}{'-'.join(names)}-{course}"
    table = out / f"data-{course}" / "subtasks.parquet"
    if not (folder / "policy.json").exists():
        router = router or fit(tables.load(table, names), "routewright", seed=course)
        policy = made(router, itself="", models=tuple(names))
        policy.fits = fits_of(table)
        if start is not None and start.weights is not None:
            policy.take(start.names, start.weights)
        await reinforced(policy, asked_again(course), pool, course, 20 if start is None else AGAIN)
        Coordinator(policy, router, {"default": VALUE_USD}, router.about).save(folder)
    policy = load_coordinator(folder).policy
    assert isinstance(policy, R2)
    return policy


async def go(out: Path, n: int, seeds: Sequence[int], after: bool) -> None:
    plain = lab_pool()
    pool = remembering(plain, out / "replies.sqlite")
    book, names = Book(out / ("changes-reinforced.json" if after else "changes.json")), solvers(pool.models)
    rest = [name for name in names if name != NEW]
    less = replace(pool, members={k: m for k, m in pool.members.items() if k != NEW})
    try:
        for seed in seeds:
            asked = questions("composed", n, "test", TEST + seed)
            for course in seeds:
                table = out / f"data-{course}" / "subtasks.parquet"

                taught = {k: await learnt(out, course, k, pool) for k in (tuple(names), tuple(rest))} if after else {}

                def of(router: Router, table: Path = table, w: R2 | None = None, **options: Any) -> R2:
                    policy = made(router, itself="", **options)
                    policy.fits = fits_of(table)
                    if w is not None and w.weights is not None:
                        policy.take(w.names, w.weights)
                    return policy

                all_of, rest_of = taught.get(tuple(names)), taught.get(tuple(rest))
                full = fit(tables.load(table, names), "routewright", seed=course)
                await book.play(f"whole pool #{course}", seed, of(full, w=all_of), pool, asked)
                await book.play(f"without {NEW} #{course}", seed, of(full, w=all_of), less, asked)
                few = fit(tables.load(table, rest), "routewright", seed=course)
                await book.play(f"{NEW} joins, not known #{course}", seed, of(few, w=rest_of), pool, asked)
                await book.play(
                    f"{NEW} joins, {PROBES} probes #{course}",
                    seed,
                    of(probed(table, rest, PROBES, course), w=rest_of),
                    pool,
                    asked,
                )
                if rest_of is not None:
                    known = probed(table, rest, PROBES, course)
                    again = await learnt(out, course, [*rest, NEW], pool, known, rest_of)
                    label = f"{NEW} joins, {PROBES} probes, then {AGAIN} batches #{course}"
                    await book.play(label, seed, of(known, w=again), pool, asked)
                if course != seed:
                    continue
                answers = pl.read_parquet(table)["reference"].to_list()
                for way, options in WAYS.items():
                    await book.play(f"0% wrong, {way}", seed, of(full, w=all_of, **options), pool, asked)
                    for share in SHARES:
                        for alike in (False, True):
                            wrong = with_errors(pool, share, answers, alike, seed)
                            kind = "of the same kind" if alike else "any"
                            await book.play(
                                f"{share:.0%} wrong ({kind}), {way}", seed, of(full, w=all_of, **options), wrong, asked
                            )
    finally:
        await pool.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--reinforced", action="store_true", help="allocators after reinforcement")
    options = parser.parse_args()
    asyncio.run(go(options.out, options.questions, [int(s) for s in options.seeds.split(",")], options.reinforced))
