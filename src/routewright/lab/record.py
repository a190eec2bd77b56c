"""The response tree of a pool: what every model says to a question, and to the question with every sequence of notes.

    depth 0      every model answers alone                                   role answer, path []
    depth 1      every model writes the first note, or at once the answer    role step, path []
    depth d      ... the next note, after each sequence of d - 1 notes       role step, path ["facts/step", ...]

    verify       ... the same question and notes as the author of an answer; path with that answer, role verify

A path ends where a reply holds an answer, unless `past` has it go on to the full depth. A whole tree has models^depth paths;
with a `width` only so many are taken on from each depth: at random, or those that a `worth` likes best and one at random.
Equal notes make equal prompts, which are asked once; so a tree has far fewer calls than rows. It is written in parts, a
file for some questions, and goes on where it was interrupted. Read it back with
`routewright.episodes.recorded.recorded_tree`, or as arrays with `routewright.episodes.tree.read_tree`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from routewright.errors import TableError
from routewright.lab.families import Question
from routewright.lab.measure import LONGEST_REPLY, score_of
from routewright.lab.questions import DATASET, query_of
from routewright.lab.roster import CONTEXT, vocabulary
from routewright.lab.text import answer_of, prompt_text, transcript
from routewright.outcomes.table import beside
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.pools.pool import Pool
from routewright.types import Episode, Query, Reply

STEP, VERIFY = "step", "verify"
_PART = 25  # questions a file
Worth: TypeAlias = Callable[[str, Sequence[Sequence[str]]], Sequence[float]]  # question, replies of each path
Trail: TypeAlias = tuple[list[str], list[str]]  # names of the steps, replies


@dataclass(frozen=True)
class Growth:
    """How a tree grows.

    `past`: answers are shown to later steps as notes are, so every path has the full depth: what fixed pipelines and
    policies that can not stop need. `width`: paths taken on from each depth, 0 for all of them; `worth` says which.
    """

    depth: int
    past: bool = False
    width: int = 0
    worth: Worth | None = None


async def record(
    pool: Pool,
    asked: Sequence[Question],
    growth: Growth | int,
    out: Path,
    models: Sequence[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Record the tree into the folder `out`; returns the rows written now. A number means a whole tree of that depth.

    Raises:
        TableError: A call failed: a tree with holes would not say which branches were never recorded.
    """
    names = list(models or pool.models)
    how = growth if isinstance(growth, Growth) else Growth(growth)
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    parts = [asked[at : at + _PART] for at in range(0, len(asked), _PART)]
    for number, part in enumerate(parts):
        path = out / f"tree-{number:05d}.parquet"
        if not path.exists():
            rows = [row for question in part for row in await _one(pool, question, names, how)]
            written += len(rows)
            with beside(path) as temporary:
                pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary, compression="zstd")
        if progress is not None:
            progress(min((number + 1) * _PART, len(asked)), len(asked), f"{written} rows")
    return written


async def _one(pool: Pool, question: Question, names: Sequence[str], how: Growth) -> list[dict[str, Any]]:
    """All rows of one question, shortest paths first."""
    query = query_of(question)
    said: dict[tuple[str, str], Reply] = {}

    async def ask(model: str, prompt: str) -> Reply:
        if (model, prompt) not in said:
            message = {"role": "user", "content": prompt}
            reply = await pool.call(Request(model, (message,), query), Ledger())
            if reply.error is not None:
                raise TableError(
                    f"{model} failed on {question.text[:60]!r}: {reply.error}. Expected a reply of every model; run the same "
                    "command again."
                )
            said[model, prompt] = reply
        return said[model, prompt]

    def row(model: str, path: Sequence[str], role: str, reply: Reply) -> dict[str, Any]:
        score = score_of(question, reply.text) if answer_of(reply.text) else 0.0
        return {
            **_facts(query, question),
            **_outcome(model, reply),
            "score": score,
            "path": json.dumps(path),
            "role": role,
        }

    rows = [row(m, [], "answer", await ask(m, prompt_text(question.text))) for m in names]
    fringe: list[Trail] = [([], [])]
    for length in range(1, how.depth + 1):
        longer: list[Trail] = []
        for path, replies in fringe:
            prompt = str(transcript([{"content": question.text}], replies, STEP)[0]["content"])
            said_now = [(model, await ask(model, prompt)) for model in names]
            for model, reply in said_now:
                rows.append(row(model, path, STEP, reply))
                on = [*path, f"{model}/{STEP}"]
                if (how.past or answer_of(reply.text) is None) and _fits(question, [*replies, reply.text]):
                    longer.append((on, [*replies, reply.text]))
                if answer_of(reply.text) is not None:
                    rows += [row(other, on, VERIFY, second) for other, second in said_now if other != model]
        fringe = _taken_on(longer, question, how) if length < how.depth else []
    return rows


def _fits(question: Question, replies: Sequence[str]) -> bool:
    """Whether a model can read the question with these replies and still write one; who rambles leads nowhere."""
    prompt = str(transcript([{"content": question.text}], replies, STEP)[0]["content"])
    return len(vocabulary().encode([prompt])[0]) + LONGEST_REPLY <= CONTEXT


def _taken_on(paths: list[Trail], question: Question, how: Growth) -> list[Trail]:
    """The paths to go on from; of paths that show the same notes only the first counts as another."""
    width = how.width
    if not width or len(paths) <= width:
        return paths
    rng = random.Random(f"{question.text}/{len(paths[0][0])}")
    order = rng.sample(range(len(paths)), len(paths))
    if how.worth is not None:
        liked = how.worth(question.text, [replies for _, replies in paths])
        ranked = sorted(order, key=lambda i: -liked[i])
        order = [*ranked[: width - 1], *(i for i in order if i not in ranked[: width - 1])]
    chosen: dict[tuple[str, ...], int] = {}
    for i in order:
        chosen.setdefault(tuple(paths[i][1]), i)
    return [paths[i] for i in sorted(list(chosen.values())[:width])]


def _facts(query: Query, question: Question) -> dict[str, Any]:
    return {
        "dataset": DATASET,
        "task": query.task,
        "query_id": query.query_id,
        "query": query.text,
        "reference": question.answer,
        "metric": question.metric,
        "score_kind": "correct",
    }


def _outcome(model: str, done: Reply | Episode) -> dict[str, Any]:
    """What a call gave, or all calls of an episode together."""
    replies = [done] if isinstance(done, Reply) else [s.reply for s in done.steps if s.reply is not None]
    estimated = any(reply.usage.estimated for reply in replies)
    return {
        "model": model,
        "sample": 0,
        "response": done.text if isinstance(done, Reply) else done.answer,
        "prompt_tokens": sum(reply.usage.tokens_in for reply in replies),
        "completion_tokens": sum(reply.usage.tokens_out for reply in replies),
        "tokens_source": "estimated" if estimated else "counted by the model's server",
        "cost_usd": done.cost_usd,
        "cost_source": "tokens x lab prices",
        "latency_s": done.latency_s,
    }


def row_of(question: Question, name: str, episode: Episode) -> dict[str, Any]:
    """An episode as a row of the same table, under a name as if it were a model."""
    facts = {"score": score_of(question, episode.answer), "path": "[]", "role": "answer"}
    return {**_facts(query_of(question), question), **_outcome(name, episode), **facts}
