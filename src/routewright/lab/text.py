"""What models of the lab read and write: prompts, replies, notes and plans, as text that a tiny model can learn.

A question alone asks for its answer; a question with notes, which may be none, asks for the next note:

    Q: How many vowels are in the capital of Peru?      Q: How many vowels are in the capital of Peru?
    A:                                                  N: capital of Peru=Lima
                                                        N:

A reply is working, if any, and a mark: ` i1 a2 answer:2`, or before the last step ` note:capital of Peru=Lima`. After a
mark comes the value at once, for a word after a space may be read as other tokens than the same word elsewhere. The marks
are those that `routewright.tasks` looks for, so a whole reply can be scored as it is.

Plans are written as `routewright.policies.plan_text` reads them:

    Q: How many vowels are in the capital of Peru?
    P:
    1. What is the capital of Peru?
    2. How many vowels are in '{1}'?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routewright.errors import RoutewrightError
from routewright.lab.families.base import Question, Step
from routewright.policies.plan_text import ANSWER, Subtask, fill

NOTE = "note:"


# -- questions and replies


def prompt_text(question: str, notes: Sequence[str] | None = None) -> str:
    """What a model is shown; with notes (an empty list too) it is asked for the next note, without for the answer."""
    lines = [f"Q: {question}", *(f"N: {note}" for note in notes or ()), "A:" if notes is None else "N:"]
    return "\n".join(lines)


def transcript(request: Sequence[Mapping[str, Any]], replies: Sequence[str], role: str) -> list[dict[str, Any]]:
    """The question and the replies so far as notes, in one message that asks for the next note: a pool's form `lab`.

    A reply is shown by its note, or its answer, or as it is. Who verifies is shown what the author of the last reply was.
    """
    if role == "verify":
        replies = replies[:-1]
    notes = [note_of(reply) or answer_of(reply) or reply.strip() for reply in replies]
    return [{"role": "user", "content": prompt_text(str(request[-1].get("content", "")), notes)}]


def plan_prompt(question: str) -> str:
    """What the planner is shown."""
    return f"Q: {question}\nP:"


def reply_text(working: str, answer: str) -> str:
    """The reply that gives an answer."""
    return f"{working} {ANSWER}{answer}" if working else f"{ANSWER}{answer}"


def completion_text(reply: str) -> str:
    """What a model writes after a prompt: a space and the reply."""
    return f" {reply}"


def answer_of(reply: str) -> str | None:
    """The answer of a reply: what stands after its last mark, to the end of the line; None without one."""
    return _marked(reply, ANSWER)


def note_of(reply: str) -> str | None:
    """The note of a reply, likewise."""
    return _marked(reply, NOTE)


def _marked(reply: str, mark: str) -> str | None:
    _, found, rest = reply.rpartition(mark)
    return rest.split("\n", 1)[0].strip() or None if found else None


# -- notes


def notes_text(plan: Sequence[Step]) -> list[str]:
    """The gold notes of a plan, one a step: what was asked, and its answer."""
    results = {i: step.answer for i, step in enumerate(plan, 1)}
    return [f"{fill(step.head, results)}={step.answer}" for step in plan]


def next_reply(question: Question, step: int) -> str:
    """What to write after `step` notes: the next note, or at the last step the answer. Of a simple question the answer."""
    plan = question.plan
    if not plan:
        return reply_text(question.working, question.answer)
    if not 0 <= step < len(plan):
        raise RoutewrightError(f"A plan of {len(plan)} steps has no step {step}. Expected 0 to {len(plan) - 1}.")
    if step == len(plan) - 1:
        return reply_text(plan[step].working, plan[step].answer)
    note, working = notes_text(plan[: step + 1])[step], plan[step].working
    return f"{working} {NOTE}{note}" if working else f"{NOTE}{note}"


# -- plans


def plan_text(plan: Sequence[Step | Subtask]) -> str:
    """A plan as the planner writes it."""
    texts = [step.template if isinstance(step, Step) else step.text for step in plan]
    return "\n".join(f"{i}. {text}" for i, text in enumerate(texts, 1))
