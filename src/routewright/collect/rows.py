"""A reply as a row of the journal: answered, or failed after all its retries."""

from __future__ import annotations

import json
from dataclasses import asdict

from routewright.collect.grading import Grade
from routewright.collect.journal import Row
from routewright.outcomes.importers.reading import text
from routewright.pools.bounds import price_usd
from routewright.pools.budget import pico
from routewright.types import ModelCard, Reply

NOTE_CHARS = 300


def answered(cell: int, reply: Reply, asked: str, card: ModelCard, grade: Grade) -> Row:
    """The row of a reply and its grade. `card` is of the model that answered; another's than `asked` is marked."""
    note, own = grade.note, reply.model == asked
    if not own:
        first = next((attempt.error for attempt in reply.attempts if attempt.error), "no reason kept")
        note = "; ".join(filter(None, [f"answered by {reply.model}: {first}", note]))
    return Row(
        cell,
        grade.score,
        grade.failed,
        note[:NOTE_CHARS],
        reply.usage.tokens_in,
        reply.usage.tokens_out,
        "estimated" if reply.usage.estimated else "provider",
        price_usd(card, reply.usage) if reply.cached else reply.cost_usd,
        pico(reply.cost_usd) + grade.charged_pico,
        None if reply.cached else _latency_s(reply),
        _attempts(reply) if len(reply.attempts) > 1 or not own else None,
        text(reply.text),
    )


def failed(cell: int, reply: Reply) -> Row:
    """A call that gave no answer: score 0, and its bill."""
    return Row(
        cell,
        0.0,
        True,
        f"failed: {text(reply.error)}"[:NOTE_CHARS],
        None,
        None,
        "",
        reply.cost_usd,
        pico(reply.cost_usd),
        _latency_s(reply),
        _attempts(reply),
        None,
    )


def _latency_s(reply: Reply) -> float:
    """Seconds of the attempts; waits between them are ours, not the model's."""
    return sum(attempt.latency_s for attempt in reply.attempts)


def _attempts(reply: Reply) -> str:
    return json.dumps([asdict(attempt) for attempt in reply.attempts])
