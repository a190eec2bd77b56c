"""What the policy `r2` reads off a state: the plan being run, the tries of each subtask, and which reply stands for it.

Everything comes from the trace of steps; the policy keeps nothing between calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from routewright.policies.plan_text import answer_text
from routewright.policies.r2_path import critical_path
from routewright.policies.r2_plan import asked
from routewright.rewards.format import MALFORMED
from routewright.types import Call, Decision, Generate, Plan, Reply, State, Step, Think

Chance = Callable[[str, Reply], float]  # a subtask as it was sent, a reply: how likely that is right


@dataclass(frozen=True, slots=True)
class Try:
    """A call for a subtask: its place in the trace, the text sent, what came."""

    step: int
    text: str
    reply: Reply

    @property
    def answer(self) -> str | None:
        """What the reply says, if it says anything."""
        return said(self.reply)


def said(reply: Reply) -> str | None:
    """The answer in a reply; None if it failed, was cut off, or is empty."""
    if reply.error is not None or reply.finish == "length":
        return None
    return answer_text(reply.text) or None


@dataclass(frozen=True, slots=True)
class Running:
    """The last plan of an episode: where it begins, its calls, and the tries of each."""

    start: int
    calls: tuple[Call, ...]
    tries: dict[int, list[Try]]

    @classmethod
    def of(cls, state: State) -> Running | None:
        start = max((i for i, s in enumerate(state.steps) if isinstance(s.action, Plan)), default=None)
        if start is None:
            return None
        plan = state.steps[start].action
        assert isinstance(plan, Plan)
        tries: dict[int, list[Try]] = {}
        for i, step in enumerate(state.steps[start + 1 :], start + 1):
            if step.node is not None and isinstance(step.action, Call) and step.reply is not None:
                tries.setdefault(step.node, []).append(Try(i, step.action.prompt or state.query.text, step.reply))
        return cls(start, plan.calls, tries)

    def stands(self, node: int, chance: Chance) -> Try | None:
        """The try whose answer stands: one of the most that agree, of them the likeliest, the latest."""
        usable = [t for t in self.tries.get(node, ()) if t.answer is not None]
        if not usable:
            return None
        agree = {t.step: sum(same(t.answer, o.answer) for o in usable) for t in usable}
        return max(usable, key=lambda t: (agree[t.step], chance(t.text, t.reply) if len(usable) > 1 else 0.0, t.step))

    def results(self, chance: Chance) -> dict[int, str]:
        """The answers of subtasks that have one, by number from 0."""
        found = {node: self.stands(node, chance) for node in range(len(self.calls))}
        return {node: t.answer for node, t in found.items() if t is not None and t.answer is not None}

    def text(self, node: int, results: dict[int, str]) -> str:
        """What a model is sent for a subtask."""
        call = self.calls[node]
        return asked(call.prompt or "", call.after, results, [c.prompt or "" for c in self.calls])

    def path(self) -> str:
        """The critical path, for people."""
        seconds = [sum(t.reply.latency_s for t in self.tries.get(i, ())) for i in range(len(self.calls))]
        chain, whole = critical_path([c.after for c in self.calls], seconds)
        numbers = " > ".join(str(i + 1) for i in chain)
        return f"critical path {numbers}: {whole:.3f} s of {sum(seconds):.3f} s of calls"


def same(a: str | None, b: str | None) -> bool:
    """Whether two answers say the same, but for case and blanks."""
    return a is not None and b is not None and " ".join(a.casefold().split()) == " ".join(b.casefold().split())


def faults(state: State) -> list[str]:
    """What was wrong with what the decomposer wrote since the last plan, in order."""
    found: list[str] = []
    for step in state.steps:
        if isinstance(step.action, Plan):
            found = []
        if isinstance(step.action, Think) and step.action.text.startswith(MALFORMED):
            found.append(step.action.text.removeprefix(MALFORMED))
    return found


def asked_before(state: State, start: int, text: str) -> set[str]:
    """Models that were sent this text for subtasks of plans before the step `start`: what they said did not stand."""
    return {
        s.reply.model
        for s in state.steps[:start]
        if s.node is not None and s.reply is not None and isinstance(s.action, Call) and s.action.prompt == text
    }


def written_by(step: Step, model: str) -> bool:
    """Whether a step is a text of this model for the policy."""
    return isinstance(step.decision, Generate) and step.decision.model == model


def direct_tries(state: State) -> list[tuple[int, Step]]:
    """Calls for the whole question."""
    return [
        (i, s)
        for i, s in enumerate(state.steps)
        if s.node is None and isinstance(s.decision, Decision) and isinstance(s.action, Call) and s.reply is not None
    ]
