"""Controls of one model, for pools that follow instructions: step by step (CoT), and a tree of thoughts with an evaluator (ToT)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from routewright.policies.base import Policy, Wish
from routewright.types import Answer, Call, Decision, State, Step

STEPWISE = "{question}\n\nThink step by step, then give the answer."
THOUGHT = "{question}\n\nSteps so far:\n{thoughts}\n\nWrite the next step towards the answer, one or two sentences, and nothing else."
JUDGE = "{question}\n\nSteps so far:\n{thoughts}\n\nHow likely do these steps lead to the right answer? Write a number from 0 to 10 and nothing else."
LAST = "{question}\n\nSteps:\n{thoughts}\n\nGive the answer."
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class StepByStep(Policy):
    """Chain of thought: one call that is told to think."""

    kind: ClassVar[str] = "chain_of_thought"
    summary: ClassVar[str] = "one model, told to think step by step; a control"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [
            Decision(Call(self.model, prompt=STEPWISE.replace("{question}", s.query.text), final=True)) for s in states
        ]


class TreeOfThoughts(Policy):
    """At every depth `width` next steps are sampled and judged; the best is gone on from. Yao et al. 2023, arXiv:2305.10601, breadth 1."""

    kind: ClassVar[str] = "tree_of_thoughts"
    summary: ClassVar[str] = "one model's thoughts, judged by another; a control"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    def __init__(self, model: str, evaluator: str, width: int = 2, depth: int = 3) -> None:
        super().__init__()
        self.model, self.evaluator, self.width, self.depth = model, evaluator, width, depth

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [Decision(self._one(state)) for state in states]

    def _one(self, state: State) -> Any:
        done, each = len(state.steps), 2 * self.width
        level, place = divmod(done, each)
        kept = [self._best(state.steps[d * each : (d + 1) * each]) for d in range(min(level, self.depth))]
        if level >= self.depth:
            if done > self.depth * each:
                return Answer("last")
            return Call(self.model, prompt=self._text(LAST, state, kept), final=True)
        if place < self.width:
            return Call(self.model, prompt=self._text(THOUGHT, state, kept), role="thought", sample=place)
        thought = _said(state.steps[level * each + place - self.width])
        return Call(self.evaluator, prompt=self._text(JUDGE, state, [*kept, thought]), role="evaluate")

    def _best(self, steps: Sequence[Step]) -> str:
        """The thought that was judged best, the first of those that are alike."""
        thoughts, verdicts = steps[: self.width], steps[self.width :]
        scores = [_score(v) if _said(t) else -1.0 for t, v in zip(thoughts, verdicts, strict=True)]
        return _said(thoughts[int(np.argmax(scores))])

    def _text(self, form: str, state: State, thoughts: Sequence[str]) -> str:
        told = "\n".join(f"{i}. {t}" for i, t in enumerate(thoughts, 1)) or "(none)"
        return form.replace("{question}", state.query.text).replace("{thoughts}", told)


def _said(step: Step) -> str:
    reply = step.reply
    return "" if reply is None or reply.error is not None else " ".join(reply.text.split())


def _score(step: Step) -> float:
    found = _NUMBER.search(_said(step))
    return min(float(found[0]), 10.0) if found else 0.0
