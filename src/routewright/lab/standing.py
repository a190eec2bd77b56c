"""What the lab's pool can do: each model alone, the best choice of one call, the gold plan, a coordinator.

    oracle            the cheapest model that answers the question right in one shot, after the fact
    step by step      one model asked for note after note until it answers: what planning must beat
    gold plan         every step of the question's own plan goes to the model that is best at its family on other questions
    planner + gold    the same, and the planner is paid for its plan, though the gold one is run

The gold plan is no policy anybody could run: it reads the plan the question was made from. It says what room there is for
policies that find plans by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routewright.episodes.engine import run_many
from routewright.lab.families import FAMILIES, Question
from routewright.lab.measure import LONGEST_PLAN, Share, score_of
from routewright.lab.questions import query_of, questions
from routewright.lab.text import answer_of, plan_prompt
from routewright.policies.base import Policy, Wish
from routewright.policies.plan_text import Subtask, actions_of, answer_text, fill
from routewright.policies.single import Single
from routewright.pools.pool import Pool
from routewright.types import Answer, Bools, Call, Decision, Episode, Generate, Plan, Reply, State

CONCURRENCY = 4
VALUE_USD = 0.01
MOST_NOTES = 6


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: right answers, mean USD and calls per question."""

    share: Share
    usd: float
    calls: float = 1.0


class GoldPlan(Policy):
    """Runs each question's own plan, every step by the model named for its family; a `planner` is paid, and not heeded."""

    kind: ClassVar[str] = "gold"
    summary: ClassVar[str] = "the plan a question was made from; a reference, not a policy"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    def __init__(self, asked: Sequence[Question], allocation: Mapping[str, str], planner: str = "") -> None:
        super().__init__()
        self.plans = {query_of(q).query_id: q.plan for q in asked}
        self.allocation, self.planner = allocation, planner

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._one(state) for state in states]

    def parse(self, reply: Reply, state: State) -> Wish:
        return Decision(self._plan(state))

    def _plan(self, state: State) -> Plan:
        return actions_of([Subtask(step.template, step.after) for step in self.plans[state.query.query_id]])

    def _one(self, state: State) -> Wish:
        if state.focus is None:
            if state.steps:
                return Decision(Answer("last"))
            if self.planner:
                return Generate(self.planner, plan_prompt(state.query.text), (), LONGEST_PLAN)
            return Decision(self._plan(state))
        step = self.plans[state.query.query_id][state.focus]
        done = {
            s.node + 1: answer_text(s.reply.text) for s in state.steps if s.node is not None and s.reply is not None
        }
        return Decision(Call(self.allocation[step.family], prompt=fill(step.template, done)))


class StepByStep(Policy):
    """One model writes note after note, each seeing those before, until it gives an answer."""

    kind: ClassVar[str] = "step_by_step"
    summary: ClassVar[str] = "one model, note after note; a control"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [Decision(self._one(state)) for state in states]

    def _one(self, state: State) -> Any:
        last = state.steps[-1].reply if state.steps else None
        if last is not None and (answer_of(last.text) or len(state.steps) >= MOST_NOTES):
            return Answer("last")
        return Call(self.model, context="transcript", role="step")


@dataclass(frozen=True, slots=True)
class Played:
    """Episodes of one policy on the same questions, in their order."""

    right: list[bool]
    episodes: list[Episode]

    @property
    def usd(self) -> list[float]:
        return [episode.cost_usd for episode in self.episodes]

    @property
    def row(self) -> Row:
        calls = [sum(step.reply is not None for step in episode.steps) for episode in self.episodes]
        return Row(Share(sum(self.right), len(self.right)), float(np.mean(self.usd)), float(np.mean(calls)))


async def played(policy: Policy, pool: Pool, asked: Sequence[Question], value_usd: float = VALUE_USD) -> Played:
    """Run a policy on questions and score its answers."""
    right, episodes = [False] * len(asked), dict[int, Episode]()
    queries = (query_of(q) for q in asked)
    async for i, episode in run_many(policy, pool, queries, value_usd, concurrency=CONCURRENCY):
        if not isinstance(episode, Episode):
            raise episode
        episodes[i] = episode
        right[i] = score_of(asked[i], episode.answer) == 1.0
    return Played(right, [episodes[i] for i in range(len(asked))])


async def alone(pool: Pool, model: str, asked: Sequence[Question]) -> Played:
    """One model answers each question in one shot."""
    return await played(Single(Single.Config(model=model)), pool, asked)


async def allocate(pool: Pool, models: Sequence[str], n: int = 100, seed: int = 7) -> dict[str, str]:
    """The model that is best at each family, on validation questions; ties to the cheaper."""
    best = {}
    for family in FAMILIES:
        asked = questions(family, n, "validation", seed)
        found = []
        for model in models:
            row = (await alone(pool, model, asked)).row
            found.append((-row.share.right, row.usd, model))
        best[family] = min(found)[2]
    return best


def oracle_of(found: Sequence[Played]) -> Row:
    """One call per question, to the cheapest model that is right; to the cheapest where none is."""
    right = np.array([played.right for played in found])
    usd = np.array([played.usd for played in found])
    solved: Bools = np.asarray(right.any(axis=0))
    cost = np.where(solved, np.where(right, usd, np.inf).min(axis=0), usd.min(axis=0))
    return Row(Share(int(solved.sum()), len(solved)), float(cost.mean()))


async def standing(
    pool: Pool,
    models: Sequence[str],
    n: int,
    composed: int = 0,
    split: str = "test",
    seed: int = 0,
    *,
    planner: str = "",
    stepwise: str = "",
    coordinator: Policy | None = None,
) -> dict[str, dict[str, Row]]:
    """family (and `composed`) -> model, `oracle`, and for composed questions the references -> its row.

    Args:
        pool: Runs the models.
        models: Those that answer.
        n: Questions of each family.
        composed: Composed questions, `n` by default.
        split, seed: Which questions.
        planner: Paid in the row `planner + gold`.
        stepwise: A model to be asked step by step too.
        coordinator: A policy to be played on everything.
    """
    allocation = await allocate(pool, models)
    out: dict[str, dict[str, Row]] = {}
    for family in (*FAMILIES, "composed"):
        asked = questions(family, composed or n if family == "composed" else n, split, seed)
        found = {model: await alone(pool, model, asked) for model in models}
        rows = {model: one.row for model, one in found.items()}
        rows["oracle"] = oracle_of(list(found.values()))
        if family == "composed":
            others: dict[str, Policy] = {"gold plan": GoldPlan(asked, allocation)}
            if planner:
                others["planner + gold"] = GoldPlan(asked, allocation, planner)
            if stepwise:
                others[f"{stepwise}, step by step"] = StepByStep(stepwise)
            rows |= {name: (await played(policy, pool, asked)).row for name, policy in others.items()}
        if coordinator is not None:
            rows["coordinator"] = (await played(coordinator, pool, asked)).row
        out[family] = rows
    return out


def markdown(found: Mapping[str, Mapping[str, Row]]) -> str:
    """Tables for people: right answers and cost of everybody by family; and composed questions with intervals."""
    names = list(dict.fromkeys(name for rows in found.values() for name in rows))
    simple = [family for family in found if family != "composed"]
    lines = []
    cells: dict[str, Callable[[Row], str]] = {
        "right, %": lambda row: f"{100 * row.share.share:.1f}",
        "USD / 1,000": lambda row: f"{1000 * row.usd:.3g}",
    }
    for title, cell in cells.items():
        lines += [f"| {title} | {' | '.join(simple)} |", "|---|" + "---|" * len(simple)]
        for name in names:
            if all(name in found[family] for family in simple):
                lines.append(f"| {name} | {' | '.join(cell(found[family][name]) for family in simple)} |")
        lines.append("")
    lines += ["| composed questions | right, % | 95% interval | USD / 1,000 | calls |", "|---|---|---|---|---|"]
    for name, row in found["composed"].items():
        low, high = (100 * x for x in row.share.interval)
        lines.append(
            f"| {name} | {100 * row.share.share:.1f} | [{low:.1f}, {high:.1f}] | {1000 * row.usd:.3g} | {row.calls:.1f} |"
        )
    return "\n".join(lines) + "\n"
