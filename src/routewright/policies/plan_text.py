"""Plans as text: what a language model writes to take a question apart, read strictly.

One subtask a line, numbered, with slots for the answers of earlier ones, which also say what comes after what:

    1. What is the capital of Peru?
    2. How many vowels are in '{1}'?

Whoever runs a plan fills the slots as answers come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from routewright.errors import RoutewrightError
from routewright.types import Call, Plan

ANSWER = "answer:"  # marks the answer in a reply that also has working
MOST_SUBTASKS = 8
LONGEST_SUBTASK = 300
_SLOT = re.compile(r"\{([^{}]*)\}")
_LINE = re.compile(r"(\d{1,2})\. (\S.*)")


@dataclass(frozen=True, slots=True)
class Subtask:
    """One line of a plan: its text with slots, and the numbers, from 0, of the subtasks it needs."""

    text: str
    after: tuple[int, ...] = ()


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


def answer_text(reply: str) -> str:
    """What a reply puts into a slot: the text after its last mark, to the end of the line; without one the whole reply."""
    _, found, rest = reply.rpartition(ANSWER)
    return rest.split("\n", 1)[0].strip() if found else reply.strip()
