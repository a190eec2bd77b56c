"""What the lab's pool can do: each model alone, the best choice of one call, and the gold plan with gold allocation.

    gold allocation   every step of the gold plan goes to the model that is best at the step's family on other questions
    oracle            the cheapest model that answers the question right in one shot, after the fact

The gold plan is no policy anybody could run: it reads the plan the question was made from. It says what room there is for
policies that find plans by themselves. Its cost is that of its calls; finding the plan is not in it, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routewright.episodes.engine import run_many
from routewright.lab.families import FAMILIES, Question
from routewright.lab.measure import Share, score_of
from routewright.lab.questions import query_of, questions
from routewright.policies.base import Policy, Wish
from routewright.policies.plan_text import Subtask, actions_of, answer_text, fill
from routewright.policies.single import Single
from routewright.pools.pool import Pool
from routewright.types import Answer, Bools, Call, Decision, Episode, State

CONCURRENCY = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: right answers, and mean USD per question."""

    share: Share
    usd: float


class GoldPlan(Policy):
    """Runs each question's own plan, every step by the model named for its family."""

    kind: ClassVar[str] = "gold"
    summary: ClassVar[str] = "the plan a question was made from; a reference, not a policy"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    def __init__(self, asked: Sequence[Question], allocation: Mapping[str, str]) -> None:
        super().__init__()
        self.plans = {query_of(q).query_id: q.plan for q in asked}
        self.allocation = allocation

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [Decision(self._one(state)) for state in states]

    def _one(self, state: State) -> Any:
        steps = self.plans[state.query.query_id]
        if state.focus is None:
            if state.steps:
                return Answer("last")
            return actions_of([Subtask(step.template, step.after) for step in steps])
        step = steps[state.focus]
        done = {
            s.node + 1: answer_text(s.reply.text) for s in state.steps if s.node is not None and s.reply is not None
        }
        return Call(self.allocation[step.family], prompt=fill(step.template, done))


async def alone(pool: Pool, model: str, asked: Sequence[Question]) -> tuple[list[bool], list[float]]:
    """Whether one model answers each question right in one shot, and what that costs."""
    return await _played(pool, Single(Single.Config(model=model)), asked)


async def gold(pool: Pool, asked: Sequence[Question], allocation: Mapping[str, str]) -> tuple[list[bool], list[float]]:
    """The same for the gold plan."""
    return await _played(pool, GoldPlan(asked, allocation), asked)


async def _played(pool: Pool, policy: Policy, asked: Sequence[Question]) -> tuple[list[bool], list[float]]:
    right, usd = [False] * len(asked), [0.0] * len(asked)
    many = run_many(policy, pool, (query_of(q) for q in asked), 0.01, concurrency=CONCURRENCY)
    async for i, episode in many:
        if not isinstance(episode, Episode):
            raise episode
        right[i], usd[i] = score_of(asked[i], episode.answer) == 1.0, episode.cost_usd
    return right, usd


async def allocate(pool: Pool, models: Sequence[str], n: int = 100, seed: int = 7) -> dict[str, str]:
    """The model that is best at each family, on validation questions; ties to the cheaper."""
    best = {}
    for family in FAMILIES:
        asked = questions(family, n, "validation", seed)
        found = []
        for model in models:
            right, usd = await alone(pool, model, asked)
            found.append((-sum(right), float(np.mean(usd)), model))
        best[family] = min(found)[2]
    return best


async def standing(
    pool: Pool, models: Sequence[str], n: int, split: str = "test", seed: int = 0
) -> dict[str, dict[str, Row]]:
    """family (and `composed`) -> model (and `oracle`, `gold plan`) -> its row."""
    allocation = await allocate(pool, models)
    out: dict[str, dict[str, Row]] = {}
    for family in (*FAMILIES, "composed"):
        asked = questions(family, n, split, seed)
        per_model = {model: await alone(pool, model, asked) for model in models}
        rows = {model: _row(*found) for model, found in per_model.items()}
        right = np.array([per_model[m][0] for m in models])
        usd = np.array([per_model[m][1] for m in models])
        cheapest_right = np.where(right, usd, np.inf).min(axis=0)
        solved: Bools = np.asarray(right.any(axis=0))
        rows["oracle"] = _row([bool(x) for x in solved], np.where(solved, cheapest_right, usd.min(axis=0)).tolist())
        if family == "composed":
            rows["gold plan"] = _row(*await gold(pool, asked, allocation))
        out[family] = rows
    return out


def _row(right: Sequence[bool], usd: Sequence[float]) -> Row:
    return Row(Share(sum(right), len(right)), float(np.mean(usd)))
