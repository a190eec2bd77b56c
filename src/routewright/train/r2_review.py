"""Process review: a stronger model of the pool looks at plan, allocation and results, and says how good the way was.

    verdicts = await reviewed(episodes, pool, "judge", 64)

Its verdict, between 0 and 1, is added to the reward of training, `weight` times. What the reviews cost is no cost of the episodes: it
is told beside them. A verdict that can not be read is NaN, and counts as the mean of its group: no better and no worse.

Reference: Route-and-Reason, arXiv:2506.05901, speaks of process rewards in both halves and states no form. This one is ours.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import numpy as np

from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.pools.pool import Pool
from routewright.types import Call, Episode, Floats

ROLE = "review"
_RULES = """A question was taken apart and its parts were given to models. Judge the way, not only the end: are the subtasks needed, \
clear and enough, was each given to a model that could do it, are the results right? Write one line: score: and a number from 0 to 1."""
_SCORE = re.compile(r"score:\s*(\d+(?:\.\d+)?|\.\d+)", re.IGNORECASE)
_LONGEST = 400  # characters of a result that are shown


def text_of(episode: Episode) -> str:
    """What the reviewer is shown."""
    parts = []
    for step in episode.steps:
        if isinstance(step.action, Call) and step.reply is not None:
            what = "the whole question" if step.node is None else f"subtask {step.node + 1}: {step.action.prompt}"
            parts.append(
                f"- {what}\n  {step.reply.model}: {' '.join(step.reply.text.split())[:_LONGEST] or '(nothing)'}"
            )
    return (
        f"{_RULES}\n\nQuestion: {episode.query.text}\n\n"
        + "\n".join(parts)
        + f"\n\nAnswer given: {episode.answer[:_LONGEST]}"
    )


def read(text: str) -> float:
    """The verdict in a reply; NaN if there is none between 0 and 1.

    >>> read("Fine. score: 0.75"), read("score: 7")
    (0.75, nan)
    """
    found = _SCORE.findall(text)
    value = float(found[-1]) if found else float("nan")
    return value if 0 <= value <= 1 else float("nan")


async def reviewed(episodes: Sequence[Episode], pool: Pool, model: str, tokens: int) -> tuple[Floats, float]:
    """[N] a verdict for every episode, and what they cost, USD."""

    async def one(episode: Episode) -> tuple[float, float]:
        request = Request(model, ({"role": "user", "content": text_of(episode)},), episode.query, tokens, role=ROLE)
        reply = await pool.call(request, Ledger())
        return (float("nan") if reply.error is not None else read(reply.text)), reply.cost_usd

    found = await asyncio.gather(*map(one, episodes))
    return np.array([v for v, _ in found]), sum(usd for _, usd in found)


def filled(verdicts: Floats, keys: Sequence[str]) -> Floats:
    """Verdicts that could not be read, as the mean of their group; 0 where a whole group could not.

    >>> filled(np.array([0.5, float("nan"), 1.0, float("nan")]), ["a", "a", "a", "b"]).tolist()
    [0.5, 0.75, 1.0, 0.0]
    """
    out = verdicts.copy()
    for key in dict.fromkeys(keys):
        mine = np.array([k == key for k in keys])
        known = verdicts[mine & ~np.isnan(verdicts)]
        out[mine & np.isnan(verdicts)] = known.mean() if len(known) else 0.0
    return out
