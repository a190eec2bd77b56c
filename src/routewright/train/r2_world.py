"""What data for `r2` are made on: a pool whose replies are kept, questions with a judge, and plans run by a fixed allocation.

    world = make_world(settings, out)
    done = await world.tried(query, subtasks, ("facts", "words"))        # an episode of the engine, judged

Also here: lines of JSON that a run appends to and a further run goes on from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routewright.collect.queries import Asked, read_queries
from routewright.episodes.engine import run
from routewright.errors import ConfigError
from routewright.policies.base import Policy, Wish
from routewright.policies.plan_text import Subtask
from routewright.policies.r2_plan import asked as asked_text
from routewright.policies.r2_state import Running, said
from routewright.pools.pool import Pool, load_pool
from routewright.train.r1_world import judge_of
from routewright.train.r2_settings import DataWorldSettings, R2Data
from routewright.train.remembering import remembering
from routewright.types import Answer, Call, Decision, Episode, Plan, Query, Reply, State


class Fixed(Policy):
    """Runs one plan with one allocation, and answers with the last subtask's reply."""

    kind: ClassVar[str] = "fixed_plan"
    summary: ClassVar[str] = "a plan and an allocation that are given"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    def __init__(self, plan: Sequence[Subtask], models: Sequence[str]) -> None:
        super().__init__()
        self.plan, self.allocated = tuple(plan), tuple(models)

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._one(state) for state in states]

    def _one(self, state: State) -> Decision:
        running = Running.of(state)
        if running is None:
            return Decision(Plan(tuple(Call(None, prompt=t.text, after=t.after, role="solve") for t in self.plan)))
        if state.focus is None:
            last = running.stands(len(self.plan) - 1, lambda text, reply: 0.0)
            return Decision(Answer("text")) if last is None else Decision(Answer("last", of=(last.step,)))
        text = running.text(state.focus, running.results(lambda text, reply: 0.0))
        return Decision(Call(self.allocated[state.focus], prompt=text))


@dataclass(frozen=True)
class Tried:
    """A plan that was run: whether its answer is right, what its subtasks were sent and said, what the calls cost."""

    right: bool
    texts: tuple[str, ...]
    replies: tuple[Reply | None, ...]
    cost_usd: float

    @property
    def said(self) -> tuple[str | None, ...]:
        """The answers of its subtasks."""
        return tuple(None if r is None else said(r) for r in self.replies)


@dataclass(frozen=True)
class DataWorld:
    """The pool with a judge, and what is asked."""

    pool: Pool
    asked: tuple[Asked, ...]

    async def tried(
        self, query: Query, plan: Sequence[Subtask], models: Sequence[str], logprobs: bool = False
    ) -> Tried:
        """Run a plan with an allocation."""
        if logprobs:
            query = replace(query, options={**query.options, "logprobs": True})
        return self._read(await run(Fixed(plan, models), self.pool, query, 0.0), plan)

    def _read(self, episode: Episode, plan: Sequence[Subtask]) -> Tried:
        replies: list[Reply | None] = [None] * len(plan)
        texts = [""] * len(plan)
        for step in episode.steps:
            if step.node is not None and isinstance(step.action, Call):
                replies[step.node], texts[step.node] = step.reply, step.action.prompt or ""
        return Tried(episode.quality == 1.0, tuple(texts), tuple(replies), episode.cost_usd)


def make_world(settings: R2Data, work: Path | None = None) -> DataWorld:
    """The world of the settings; replies are kept in the folder `work`.

    Raises:
        ConfigError: A model that is not in the pool.
    """
    return open_world(settings.world, {settings.decomposer, settings.base, *settings.models}, work)


def open_world(told: DataWorldSettings, needed: Collection[str], work: Path | None = None) -> DataWorld:
    """Pool and questions; `ConfigError` if the pool lacks a model that is needed."""
    if told.kind == "lab":
        from routewright.lab.pool import SHIPPED, lab_pool
        from routewright.lab.questions import composed_and_single, query_of

        pool = lab_pool(told.folder or SHIPPED)
        found = composed_and_single(told.questions, told.single, told.split, told.seed)
        asked = [Asked(query_of(q), q.answer, q.metric) for q in found]
    else:
        pool, asked = load_pool(told.pool), read_queries(told.queries, told.questions)
    missing = sorted({name for name in needed if name} - set(pool.models))
    if missing:
        raise ConfigError(f"{', '.join(missing)} is not in the pool. Expected names of {', '.join(pool.models)}.")
    kept = remembering(pool, work / "replies.sqlite" if work is not None else None)
    return DataWorld(replace(kept, judge=judge_of(asked, told.metric)), tuple(asked))


def confidence(reply: Reply | None, quantile: float) -> float:
    """The quantile of the probabilities of a reply's tokens, as its model gave them.

    Raises:
        ConfigError: The model tells no log probabilities.
    """
    if reply is None or reply.error is not None:
        return 0.0
    choices = (reply.message or {}).get("choices") or [{}]
    content = (choices[0].get("logprobs") or {}).get("content") or ()
    if not content:
        raise ConfigError(
            f"{reply.model} gives no log probabilities, which the search of allocations begins with. Expected a base model that does."
        )
    return float(np.quantile([math.exp(min(0.0, float(token["logprob"]))) for token in content], quantile))


def texts_of(plan: Sequence[Subtask], results: dict[int, str]) -> list[str]:
    """What models are sent for the subtasks of a plan, with these results."""
    return [asked_text(t.text, t.after, results, [s.text for s in plan]) for t in plan]


class Lines:
    """A file of JSON lines, one an item with an id; what is there already is not made again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items: dict[str, dict[str, Any]] = {}
        whole = ""
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    item = json.loads(line)
                except ValueError:
                    break  # the last line of a run that was killed
                self.items[str(item["query_id"])] = item
                whole += line + "\n"
            path.write_text(whole, encoding="utf-8")

    def __contains__(self, query_id: str) -> bool:
        return query_id in self.items

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.items.values())

    def add(self, item: dict[str, Any]) -> None:
        self.items[str(item["query_id"])] = item
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(item) + "\n")
