"""What the demonstration runs: some composed questions with their traces, then everybody on many questions.

    asked = shown_questions(5)
    found = await compare(pool, coordinator, asked_many, values)

Called by `routewright demo`; `page.py` draws what is found. Figures are those of a lab of tiny models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from routewright.coordinator import Coordinator
from routewright.evaluate.curves import hull, log_targets, mixtures
from routewright.evaluate.intervals import Draws, interval
from routewright.evaluate.metrics import entropy_bits, information_bits
from routewright.lab.families import FAMILIES, Question
from routewright.lab.pool import solvers
from routewright.lab.questions import questions
from routewright.lab.roster import ROSTER, ROUTE
from routewright.lab.standing import Played, alone, oracle_of, played
from routewright.policies.plan_text import answer_text
from routewright.pools.pool import Pool
from routewright.types import Call, Episode, Generate, Plan, Step

COORDINATOR = "coordinator"
VALUE_USD = 0.01  # of a right answer, where no other is named
VALUES_USD = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # along the frontier
DRAWS = 1000


def shown_questions(n: int, seed: int = 0, split: str = "test") -> list[Question]:
    """The first composed questions of a stream with two, three, four, two ... steps, whoever can answer them."""
    found: list[Question] = []
    for question in questions("composed", 20 * n, split, seed):
        if len(found) < n and len(question.plan) == 2 + len(found) % 3:
            found.append(question)
    return found


def asked_questions(n: int, seed: int = 0, split: str = "test") -> list[Question]:
    """Half composed, half evenly over the families, about `n` together."""
    each = max(1, n // (2 * len(FAMILIES)))
    simple = [q for family in FAMILIES for q in questions(family, each, split, seed)]
    return simple + questions("composed", len(simple), split, seed + 1)


async def compare(
    pool: Pool,
    coordinator: Coordinator,
    asked: Sequence[Question],
    tell: Callable[[int, int, str], None],
    values_usd: Sequence[float] = VALUES_USD,
) -> dict[str, Any]:
    """Every model alone and the coordinator along its trade-off on the same questions.

    Returns:
        JSON-able facts: `rows` (name -> part -> right, n, cost_usd, calls), `frontier` of the coordinator, the `line` of
        mixtures of single models, `difference` to the best single model with its paired interval, and `collapse`.
    """
    names = solvers(pool.models)
    runs = len(names) + len(values_usd)
    single: dict[str, Played] = {}
    for number, name in enumerate(names):
        tell(number, runs, name)
        single[name] = await alone(pool, name, asked)
    along = []
    for number, value in enumerate(values_usd, len(names)):
        tell(number, runs, f"{COORDINATOR}, {value:g} USD for a right answer")
        along.append(await played(coordinator.policy, pool, asked, value))
    tell(runs, runs, "")
    mine = along[list(values_usd).index(VALUE_USD)]
    quality = np.array([np.mean(run.right) for run in single.values()])
    cost = np.array([np.mean(run.usd) for run in single.values()])
    best = int(np.lexsort((cost, -quality))[0])
    draws = Draws.make(np.arange(len(asked)), 1, DRAWS, (0,))
    rows = {name: _parts(run, asked) for name, run in single.items()}
    rows["oracle of one call"] = _oracle_parts(list(single.values()), asked)
    rows[COORDINATOR] = _parts(mine, asked)
    line = hull(cost, quality)
    targets = log_targets(float(cost[line[0]]), float(cost[line[-1]]))
    weights = mixtures(cost, quality, targets)
    return {
        "questions": len(asked),
        "composed": sum(bool(q.plan) for q in asked),
        "value_usd": VALUE_USD,
        "best_single": names[best],
        "rows": rows,
        "singles": [
            {"model": n, "quality": float(q), "cost_usd": float(c)}
            for n, q, c in zip(names, quality, cost, strict=True)
        ],
        "frontier": [{"value_usd": v, **_point(run, draws)} for v, run in zip(values_usd, along, strict=True)],
        "line": [
            {"cost_usd": float(c), "quality": float(q)} for c, q in zip(weights @ cost, weights @ quality, strict=True)
        ],
        "task_oracle": _per_family(list(single.values()), asked),
        "difference": _difference(mine, single[names[best]], draws),
        "cost_ratio": float(np.mean(mine.usd) / cost[best]),
        "collapse": collapse(mine.episodes, asked),
    }


def collapse(episodes: Sequence[Episode], asked: Sequence[Question]) -> dict[str, Any]:
    """Who gets the calls: shares, their entropy in bits, calls per question, and how many bits the question's family
    decides of whose answer is given."""
    calls = Counter(step.reply.model for e in episodes for step in e.steps if step.reply is not None)
    total = sum(calls.values())
    last = [next((s.reply.model for s in reversed(e.steps) if s.reply is not None), "") for e in episodes]
    who, family = (np.unique(labels, return_inverse=True)[1] for labels in (last, [q.family for q in asked]))
    return {
        "share": {name: n / total for name, n in calls.most_common()},
        "entropy_bits": entropy_bits(np.array(list(calls.values())) / total),
        "calls_per_question": total / len(episodes),
        "information_bits": information_bits(who, family),
        "planned": sum(any(isinstance(s.action, Plan) for s in e.steps) for e in episodes) / len(episodes),
    }


def told(step: Step) -> list[str]:
    """A step for people, a line or several."""
    decision, reply = step.decision, step.reply
    if isinstance(decision, Generate):
        cost = (
            f" ({reply.usage.tokens_in}+{reply.usage.tokens_out} tokens, {1000 * reply.cost_usd:.3g} USD/1,000)"
            if reply
            else ""
        )
        said = "" if reply is None else reply.text.strip()
        routes = decision.model in ROSTER and ROUTE in ROSTER[decision.model].shares
        return [f"{decision.model} {f'says {said!r}' if routes else 'writes a plan'}{cost}"]
    action = decision.action
    if isinstance(action, Plan):
        return [f"  {number}. {call.prompt}" for number, call in enumerate(action.calls, 1)]
    if isinstance(action, Call) and reply is not None:
        number = f"{step.node + 1}. " if step.node is not None else ""
        said = reply.error or answer_text(reply.text)
        asked = action.prompt or "the question as it is"
        lines = [
            f"{number}{reply.model} <- {asked}",
            f"   {said!r} ({reply.usage.tokens_in}+{reply.usage.tokens_out} tokens, {1000 * reply.cost_usd:.3g} USD/1,000)",
        ]
        return lines + ([f"   why: {decision.reason}"] if decision.reason else [])
    return [str(getattr(action, "text", type(action).__name__))]


# -- figures


def _point(run: Played, draws: Draws) -> dict[str, float]:
    right = np.array(run.right, dtype=np.float64)
    found = interval(right.mean(), draws.means(right[None])[:, 0])
    return {
        "cost_usd": float(np.mean(run.usd)),
        "quality": found["mean"],
        "quality_low": found["low"],
        "quality_high": found["high"],
    }


def _difference(mine: Played, other: Played, draws: Draws) -> dict[str, float]:
    gap = np.array(mine.right, dtype=np.float64) - np.array(other.right)
    return interval(gap.mean(), draws.means(gap[None])[:, 0])


def _parts(run: Played, asked: Sequence[Question]) -> dict[str, dict[str, float]]:
    return {part: _row(_of(run, asked, part).row) for part in ("simple", "composed", "all")}


def _oracle_parts(runs: Sequence[Played], asked: Sequence[Question]) -> dict[str, dict[str, float]]:
    return {part: _row(oracle_of([_of(run, asked, part) for run in runs])) for part in ("simple", "composed", "all")}


def _of(run: Played, asked: Sequence[Question], part: str) -> Played:
    keep = [part == "all" or bool(q.plan) == (part == "composed") for q in asked]
    return Played(
        [x for x, k in zip(run.right, keep, strict=True) if k],
        [x for x, k in zip(run.episodes, keep, strict=True) if k],
    )


def _row(row: Any) -> dict[str, float]:
    low, high = row.share.interval
    return {
        "right": row.share.right,
        "n": row.share.n,
        "mean": row.share.share,
        "low": low,
        "high": high,
        "cost_usd": row.usd,
        "calls": row.calls,
    }


def _per_family(runs: Sequence[Played], asked: Sequence[Question]) -> dict[str, float]:
    """The best model of each family, as if its name could be read off a question."""
    right, usd = np.array([run.right for run in runs], dtype=np.float64), np.array([run.usd for run in runs])
    family = np.array([q.family for q in asked])
    quality, cost = 0.0, 0.0
    for name in np.unique(family):
        rows = family == name
        at = int(np.lexsort((usd[:, rows].mean(axis=1), -right[:, rows].mean(axis=1)))[0])
        quality += right[at, rows].sum()
        cost += usd[at, rows].sum()
    return {"quality": quality / len(asked), "cost_usd": cost / len(asked)}
