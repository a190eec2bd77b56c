"""The response tree of a pool: what every model says to a question, and to the question with every sequence of notes.

    depth 0      every model answers alone                                   role answer, path []
    depth 1      every model writes the first note, or at once the answer    role step, path []
    depth d      ... the next note, after each sequence of d - 1 notes       role step, path ["facts/step", ...]

A path ends where a reply holds an answer. Equal notes make equal prompts, which are asked once; so a tree has far fewer
calls than rows. It is written in parts, a file for some questions, and goes on where it was interrupted. Read it back with
`routewright.episodes.recorded.recorded_tree`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from routewright.errors import TableError
from routewright.lab.families import Question
from routewright.lab.measure import score_of
from routewright.lab.questions import DATASET, query_of
from routewright.lab.text import answer_of, prompt_text, transcript
from routewright.outcomes.table import beside
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.pools.pool import Pool
from routewright.types import Episode, Query, Reply

STEP = "step"
_PART = 25  # questions a file


async def record(
    pool: Pool,
    asked: Sequence[Question],
    depth: int,
    out: Path,
    models: Sequence[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Record the tree into the folder `out`; returns the rows written now.

    Raises:
        TableError: A call failed: a tree with holes would not say which branches were never recorded.
    """
    names = list(models or pool.models)
    out.mkdir(parents=True, exist_ok=True)
    written = 0
    parts = [asked[at : at + _PART] for at in range(0, len(asked), _PART)]
    for number, part in enumerate(parts):
        path = out / f"tree-{number:05d}.parquet"
        if not path.exists():
            rows = [row for question in part for row in await _one(pool, question, depth, names)]
            written += len(rows)
            with beside(path) as temporary:
                pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary, compression="zstd")
        if progress is not None:
            progress(min((number + 1) * _PART, len(asked)), len(asked), f"{written} rows")
    return written


async def _one(pool: Pool, question: Question, depth: int, names: Sequence[str]) -> list[dict[str, Any]]:
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
    fringe: list[tuple[list[str], list[str]]] = [([], [])]  # names of the steps, replies
    for _ in range(depth):
        longer = []
        for path, replies in fringe:
            prompt = str(transcript([{"content": question.text}], replies, STEP)[0]["content"])
            for model in names:
                reply = await ask(model, prompt)
                rows.append(row(model, path, STEP, reply))
                if answer_of(reply.text) is None:
                    longer.append(([*path, f"{model}/{STEP}"], [*replies, reply.text]))
        fringe = longer
    return rows


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
