"""What `r2` is compared with, under the same engine and at the same prices.

CoT           `large`, note after note (`lab.standing.StepByStep`)
ToT           the same with two trees of notes: the first note is the greedy one, and a sampled one; the answers are voted on.
              The lab's models can not judge a thought, so there is no evaluator; the greedy branch wins a draw
DataShunt     the question as it is, to `small` or `large` by its difficulty: whichever the forecast is worth more of
DoT           the planner's plan, its subtasks to `small` or `large` by forecasts
random, all-large, all-small     the planner's plan, its subtasks to anybody or to one model
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from allocators import made

from routewright.lab.text import answer_of
from routewright.policies.base import Policy, Wish
from routewright.policies.r2 import R2
from routewright.policies.r2_plan import slots
from routewright.policies.r2_state import same
from routewright.router import Router
from routewright.types import Answer, Call, Decision, Plan, Reply, State, Step

MOST_NOTES = 6


class Trees(Policy):
    """Two chains of notes of one model, voted on."""

    kind: ClassVar[str] = "trees"
    summary: ClassVar[str] = "two chains of notes of one model, voted on; a control"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._one(state) for state in states]

    def _one(self, state: State) -> Decision:
        chains: list[list[int]] = [[], []]
        for i, step in enumerate(state.steps):
            action = step.action
            assert isinstance(action, Call)
            chains[int(action.role == "step" and self._second(state, step))].append(i)
        for number, chain in enumerate(chains):
            last = state.steps[chain[-1]].reply if chain else None
            done = last is not None and (last.error is not None or answer_of(last.text) is not None)
            if not done and len(chain) < MOST_NOTES:
                sample = int(number == 1 and not chain)
                context = "transcript"
                after = tuple(chain)
                return Decision(
                    Call(self.model, context=context, after=after, role="step", sample=sample), reason=str(number)
                )
        ends = [chain[-1] for chain in chains]
        said = [answer_of(_reply(state, i).text) for i in ends]
        best = ends[1] if said[0] is None and said[1] is not None else ends[0]
        why = "both agree" if same(*said) else "the greedy branch"
        return Decision(Answer("last", of=(best,)), reason=why)

    def _second(self, state: State, step: Step) -> bool:
        return isinstance(step.decision, Decision) and step.decision.reason == "1"


def _reply(state: State, i: int) -> Reply:
    reply = state.steps[i].reply
    assert reply is not None
    return reply


class Shunt(Policy):
    """One of two models, by what is forecast of them."""

    kind: ClassVar[str] = "shunt"
    summary: ClassVar[str] = "small or large by difficulty; a control"

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__()
        self.pair = tuple(models)

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        assert self.forecaster is not None
        found: list[Wish] = []
        for state in states:
            forecast = self.forecaster.forecast([state.query]).take(self.pair)
            gain = state.value_usd * forecast.quality[0] - forecast.cost_usd[0]
            found.append(Decision(Call(self.pair[int(gain.argmax())], final=True), self.pair, 1.0))
        return found


class RandomAllocation(R2):
    """The same plans, to anybody."""

    kind: ClassVar[str] = "r2_random"

    @property
    def random(self) -> bool:
        return True

    def _choose(self, state: State, text: str, rng: Any = None, without: Any = ()) -> tuple[str, float, str]:
        names = self._open(state)
        return str((rng or np.random.default_rng(0)).choice(names)), 1 / len(names), "at random"


class Sequential(R2):
    """The same plans, one subtask after the other, each sent what it is sent there."""

    kind: ClassVar[str] = "r2_sequential"

    def _rest(self, written: Any, state: State) -> tuple[Plan, list[int]]:
        plan, known = super()._rest(written, state)
        chain = [
            replace(call, after=tuple(sorted({*call.after, i - 1}))) if i else call for i, call in enumerate(plan.calls)
        ]
        return Plan(tuple(chain)), known

    def _subtask(self, state: State, node: int, rng: np.random.Generator) -> Decision:
        return super()._subtask(replace(state, steps=tuple(self._slim(step) for step in state.steps)), node, rng)

    def _slim(self, step: Step) -> Step:
        """A plan without the waiting that was put in, so that no result is shown that has no slot."""
        if not isinstance(step.action, Plan) or not isinstance(step.decision, Decision):
            return step
        calls = [replace(c, after=tuple(sorted(slots(c.prompt or "", c.after)))) for c in step.action.calls]
        return replace(step, decision=replace(step.decision, action=Plan(tuple(calls))))


def of(cls: type[R2], router: Router | None, **options: Any) -> R2:
    """A variant of the policy, with forecasts or without."""
    plain = made(router, **options)
    policy = cls(plain.config, plain.seed)
    policy.forecaster, policy.fits = plain.forecaster, plain.fits
    return policy
