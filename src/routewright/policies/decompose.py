"""`decompose`: a planner takes the question apart, each subtask goes to the model that suits it, the last result answers.

The planner is a model of the pool and writes lines as `plan_text` reads them; its tokens are charged like any others.
Independent subtasks run side by side; a later one is asked with the answers it needs filled in. Which model does a subtask
is decided when it is ready, by value_usd * quality - cost_usd over a router's forecasts for the filled-in text; without a
router it is the `worker`. A plan that can not be read is noted in the trace and the question asked as it is. After a
subtask has failed the question is planned anew, at most `replans` times, then asked as it is.

Not every question is worth a plan. Where the router has a column for this policy as a whole (`itself`), fitted on episodes
that planned every question, it is weighed like a model: the question is planned only if

    value_usd * quality[itself] - cost_usd[itself]  >  max over models m of  value_usd * quality[m] - cost_usd[m]

Reference: Shao et al. 2025 (Route-and-Reason), arXiv:2506.05901. Differs: plans are graphs and run in parallel, planning
may fail and be done again, the allocator forecasts per model and so takes any pool; nothing is trained by reinforcement here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from routewright import config
from routewright.errors import ConfigError, RoutewrightError
from routewright.policies.base import Policy, Wish
from routewright.policies.plan_text import actions_of, answer_text, fill, parse_plan
from routewright.rewards.format import malformed
from routewright.types import Answer, Call, Decision, Generate, Plan, Query, Reply, State, Think


class Decompose(Policy):
    """Plan, allocate, solve."""

    kind = "decompose"
    summary = "a planner takes the question apart, each subtask goes to the model that suits it"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    class Config(config.Config):
        planner: str = Field(min_length=1, description="the model that writes plans, a name of the pool")
        prompt: str = Field(
            "Q: {question}\nP:", description="what the planner is sent; {question} stands for the question"
        )
        worker: str = Field(
            "", description="who solves subtasks without a router; empty: the first that is not the planner"
        )
        plan_tokens: int = Field(256, ge=8, description="the longest plan, tokens")
        replans: int = Field(1, ge=0, le=8, description="new plans after a subtask that failed")
        itself: str = Field(
            "decompose",
            description="the router's column that forecasts planning itself; a router without it: always plan",
        )

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._subtask(s, s.focus) if s.focus is not None else self._next(s) for s in states]

    def _next(self, state: State) -> Wish:
        """Plan; after a plan that went through, answer; after one that did not, plan anew or ask the question itself."""
        plans = sum(isinstance(s.action, Plan) for s in state.steps)
        refused = any(isinstance(s.action, Think) for s in state.steps)
        last = state.steps[-1] if state.steps else None
        if last is not None and last.reply is not None and last.action is not None:
            direct = isinstance(last.action, Call) and last.node is None
            if direct or (last.reply.error is None and len(_solved(state)) == len(state.plan)):
                return Decision(Answer("last"))
        if refused or plans > self.config.replans:
            model, why = self._choose(state, state.query.text)
            return Decision(Call(model, final=True), self._open(state), 1.0, f"no plan: {why}")
        if self.config.planner not in [card.name for card in state.pool]:
            raise ConfigError(
                f"decompose.planner = {self.config.planner!r} is not in the pool: {', '.join(c.name for c in state.pool)}."
            )
        if not state.steps and (short := self._direct(state)) is not None:
            return short
        question = self.config.prompt.replace("{question}", state.query.text)
        return Generate(self.config.planner, question, (), self.config.plan_tokens)

    def _direct(self, state: State) -> Decision | None:
        """One call for the whole question, where the forecasts promise more of it than of planning."""
        if self.forecaster is None or self.config.itself not in self.forecaster.router.models:
            return None
        forecast = self.forecaster.forecast([state.query])
        gain = dict(zip(forecast.models, state.value_usd * forecast.quality[0] - forecast.cost_usd[0], strict=True))
        names = [n for n in self._open(state) if n in gain and n != self.config.planner]
        if not names or max(gain[n] for n in names) < gain[self.config.itself]:
            return None
        model, why = self._choose(state, state.query.text)
        at = forecast.models.index(self.config.itself)
        plan = f"planning {forecast.quality[0, at]:.3f} at {forecast.cost_usd[0, at]:.3g} USD"
        return Decision(Call(model, final=True), (*self._open(state), self.config.itself), 1.0, f"{why}; {plan}")

    def parse(self, reply: Reply, state: State) -> Wish:
        if reply.error is not None:
            return malformed(f"no plan came ({reply.error[:200]})")
        try:
            plan = parse_plan(reply.text)
        except RoutewrightError as error:
            return malformed(str(error))
        return Decision(actions_of(plan), (), None, f"{len(plan)} subtasks")

    def _subtask(self, state: State, number: int) -> Decision:
        """A model for a subtask that is ready, and its text with the answers it needs."""
        call = state.plan[number]
        try:
            text = fill(call.prompt or state.query.text, _solved(state))
        except RoutewrightError:  # an earlier subtask gave nothing: ask with the slot as it is
            text = call.prompt or state.query.text
        model, why = self._choose(state, text)
        return Decision(Call(model, prompt=text), self._open(state), 1.0, why)

    def _choose(self, state: State, text: str) -> tuple[str, str]:
        names = self._open(state)
        if not names:
            raise RoutewrightError(
                "decompose has no model left to ask. This is a defect: the engine ends such an episode."
            )
        failed = {s.reply.model for s in state.steps if s.reply is not None and s.reply.error is not None}
        fresh = [n for n in names if n not in failed] or list(names)
        if self.forecaster is not None:
            asked = state.query if text == state.query.text else Query(text)  # the whole knows what a cache saves
            forecast = self.forecaster.forecast([asked])
            known = [n for n in fresh if n in forecast.models]
            if known:
                at = {n: i for i, n in enumerate(forecast.models)}
                gain = state.value_usd * forecast.quality[0] - forecast.cost_usd[0]
                best = max(known, key=lambda n: gain[at[n]])
                return (
                    best,
                    f"forecast quality {forecast.quality[0, at[best]]:.3f} at {forecast.cost_usd[0, at[best]]:.3g} USD",
                )
        if self.config.worker in fresh:
            return self.config.worker, "the worker named"
        return fresh[0], "the first of the pool"

    def _open(self, state: State) -> tuple[str, ...]:
        """Models that may be asked now; the planner only if there is no other."""
        legal = [card.name for card, may in zip(state.pool, state.legal, strict=True) if may]
        return tuple(n for n in legal if n != self.config.planner) or tuple(legal)


def _solved(state: State) -> dict[int, str]:
    """Answers of the plan being run, by the number of the subtask, from 1."""
    start = max((i for i, s in enumerate(state.steps) if isinstance(s.action, Plan)), default=-1)
    return {
        step.node + 1: answer_text(step.reply.text)
        for step in state.steps[start + 1 :]
        if step.node is not None and step.reply is not None and step.reply.error is None
    }
