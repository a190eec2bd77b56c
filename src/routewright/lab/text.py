"""What models of the lab read and write: prompts, replies, notes and plans, as text that a tiny model can learn.

A question alone asks for its answer; a question with notes, which may be none, asks for the next note:

    Q: How many vowels are in the capital of Peru?      Q: How many vowels are in the capital of Peru?
    A:                                                  N: capital of Peru=Lima
                                                        N:

A reply is working, if any, and a mark: ` i1 a2 answer:2`, or before the last step ` note:capital of Peru=Lima`. After a
mark comes the value at once, for a word after a space may be read as other tokens than the same word elsewhere. The marks
are those that `routewright.tasks` looks for, so a whole reply can be scored as it is.

A plan is one subtask a line, with slots for the answers of earlier ones:

    1. What is the capital of Peru?
    2. How many vowels are in '{1}'?
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from routewright.errors import RoutewrightError
from routewright.lab.families.base import Question, Step
from routewright.types import Call, Plan

ANSWER = "answer:"
NOTE = "note:"
MOST_SUBTASKS = 8
LONGEST_SUBTASK = 300
_SLOT = re.compile(r"\{([^{}]*)\}")
_LINE = re.compile(r"(\d{1,2})\. (\S.*)")


@dataclass(frozen=True, slots=True)
class Subtask:
    """One line of a plan: its text with slots, and the numbers, from 0, of the subtasks it needs."""

    text: str
    after: tuple[int, ...] = ()


# -- questions and replies


def prompt_text(question: str, notes: Sequence[str] | None = None) -> str:
    """What a model is shown; with notes (an empty list too) it is asked for the next note, without for the answer."""
    lines = [f"Q: {question}", *(f"N: {note}" for note in notes or ()), "A:" if notes is None else "N:"]
    return "\n".join(lines)


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


def parse_plan(text: str) -> tuple[Subtask, ...]:
    """Read a plan back.

    Raises:
        RoutewrightError: No plan, with the reason: no lines or too many, wrong numbers, a slot of a later subtask or of
            none, a brace without its other half, a subtask too long.
    """
    lines = text.strip().split("\n")
    if len(lines) > MOST_SUBTASKS:
        raise RoutewrightError(f"The plan has {len(lines)} lines. Expected at most {MOST_SUBTASKS}, one subtask each.")
    plan = []
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] != str(number):
            raise RoutewrightError(f"Line {number} of the plan is {line[:80]!r}. Expected '{number}. ' and a subtask.")
        if len(match[2]) > LONGEST_SUBTASK:
            raise RoutewrightError(
                f"Subtask {number} of the plan has {len(match[2])} characters. Expected at most {LONGEST_SUBTASK}."
            )
        plan.append(Subtask(match[2], _slots(match[2], number)))
    return tuple(plan)


def _slots(text: str, number: int) -> tuple[int, ...]:
    slots = _SLOT.findall(text)
    if text.count("{") != len(slots) or text.count("}") != len(slots):
        raise RoutewrightError(f"Subtask {number} of the plan, {text[:80]!r}, has a brace without its other half.")
    known = [str(i) for i in range(1, number)]
    for slot in slots:
        if slot not in known:
            raise RoutewrightError(
                f"Subtask {number} of the plan needs {{{slot}}}. Expected an earlier one: {', '.join(known) or 'there is none'}."
            )
    return tuple(sorted({int(slot) - 1 for slot in slots}))


def fill(template: str, results: Mapping[int, str]) -> str:
    """A subtask with the answers of earlier ones in its slots; `{1}` is the first subtask's.

    Raises:
        RoutewrightError: A slot has no answer yet.
    """

    def answer(match: re.Match[str]) -> str:
        number = int(match[1]) if match[1].isdecimal() else 0
        if number not in results:
            known = ", ".join(map(str, results)) or "none"
            raise RoutewrightError(
                f"{template[:80]!r} needs the answer {match[0]}; there are {known}. Solve that first."
            )
        return results[number]

    return _SLOT.sub(answer, template) if "{" in template else template


def actions_of(plan: Sequence[Subtask]) -> Plan:
    """The plan as the engine's action. The prompts keep their slots: whoever runs it fills them as answers come."""
    return Plan(tuple(Call(None, prompt=task.text, after=task.after, role="solve") for task in plan))
