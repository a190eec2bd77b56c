"""Plans of the policy `r2`: what a decomposer is asked, and its text read strictly, in two forms.

    json     {"subtasks": [{"id": "a", "task": "What is the capital of Peru?", "after": []}, ...]}   or   {"direct": true}
    lines    1. What is the capital of Peru?          as `plan_text` reads them, for the lab's planner; `Q` alone, or one line
             2. How many vowels are in '{1}'?         that is the question itself, means: no plan

A reader gives a `Written` or raises `Unreadable` with the reason; nothing is guessed. Refused: no JSON, other keys, no subtasks
or too many, empty, long or equal ones, an id twice, an `after` of nobody, a circle. Mended, and told: words or fences around
the one object. Whoever runs a plan has one that is whole, in an order in which it can be done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routewright.errors import RoutewrightError
from routewright.policies.plan_text import Subtask, parse_plan

DIRECT = "Q"  # in lines: the question as it is
LONGEST = 2000  # characters of a subtask
_LONGEST_TEXT = 40_000  # characters of a plan
_LONGEST_ID = 40
_SLOT = re.compile(r"\{([^{}\s]{1,40})\}")

RULES = """Take the question apart into subtasks for other models, each of which sees its own subtask and the results it comes \
after, and nothing else. Write one JSON object and nothing around it:
{"subtasks": [{"id": "a", "task": "...", "after": []}, {"id": "b", "task": "... {a} ...", "after": ["a"]}]}
"after" lists the subtasks whose results are needed; {a} in a task stands for the result of a. Subtasks that need nothing of each \
other are done at the same time. The result of the last one is the answer. Use as few as you can, at most %d.
If one model can answer the question as it is, write {"direct": true}."""


class Unreadable(RoutewrightError):
    """A text that is no plan of its form, with the reason."""


@dataclass(frozen=True, slots=True)
class Written:
    """A plan as it was read: its subtasks in an order in which they can be done, none if the question is to be asked as it is;
    and what had to be mended."""

    subtasks: tuple[Subtask, ...]
    mended: str = ""

    @property
    def direct(self) -> bool:
        return not self.subtasks


def read(text: str, form: str, question: str, most: int) -> Written:
    """What a decomposer wrote.

    Raises:
        Unreadable: It is no plan.
    """
    if len(text) > _LONGEST_TEXT:
        raise Unreadable(f"the plan has {len(text):,} characters. Expected at most {_LONGEST_TEXT:,}.")
    return _read_lines(text, question, most) if form == "lines" else _read_json(text, question, most)


def direct_text(form: str) -> str:
    """What a decomposer writes if no plan is needed."""
    return DIRECT if form == "lines" else json.dumps({"direct": True})


def _read_lines(text: str, question: str, most: int) -> Written:
    if text.strip() == DIRECT:
        return Written(())
    try:
        plan = parse_plan(text)
    except Unreadable:
        raise
    except RoutewrightError as error:
        raise Unreadable(str(error)) from None
    return _checked(plan, question, most, "")


def _read_json(text: str, question: str, most: int) -> Written:
    said, mended = _object(text)
    if set(said) == {"direct"}:
        if said["direct"] is not True:
            raise Unreadable('"direct" is not true. Expected {"direct": true}, or subtasks.')
        return Written((), mended)
    if set(said) != {"subtasks"} or not isinstance(said["subtasks"], list):
        raise Unreadable(
            f'the object has the keys {_names(said)}. Expected {{"subtasks": [...]}} or {{"direct": true}}.'
        )
    items = said["subtasks"]
    if not 1 <= len(items) <= most:
        raise Unreadable(f"the plan has {len(items)} subtasks. Expected 1 to {most}.")
    tasks, after = {}, {}
    for number, item in enumerate(items, 1):
        name, tasks_text, needs = _item(item, number)
        if name in tasks:
            raise Unreadable(f"two subtasks have the id {name!r}. Expected each id once.")
        tasks[name], after[name] = tasks_text, needs
    for name, needs in after.items():
        for other in needs:
            if other not in tasks:
                raise Unreadable(f"subtask {name!r} comes after {other!r}, which is none. Known: {', '.join(tasks)}.")
    order = _order(after)
    at = {name: i for i, name in enumerate(order)}
    plan = tuple(
        Subtask(_slotted(tasks[name], name, at, after[name]), tuple(sorted(at[o] for o in after[name])))
        for name in order
    )
    return _checked(plan, question, most, mended)


def _object(text: str) -> tuple[dict[str, Any], str]:
    """The one JSON object of a text, and what stood around it."""
    start = text.find("{")
    if start < 0:
        raise Unreadable(f"no JSON object in {text[:60]!r}. Expected one.")
    try:
        said, end = json.JSONDecoder(object_pairs_hook=_once).raw_decode(text, start)
    except Unreadable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the JSON can not be read ({str(error)[:80]}). Expected one whole object.") from None
    around = f"{text[:start]}{text[end:]}"
    if "{" in around:
        raise Unreadable("there is more than one JSON object. Expected one.")
    assert isinstance(said, dict)
    around = around.replace("```json", "").replace("```", "").strip()
    outside = text[:start].strip() or text[end:].strip()
    return said, f"left out what stood around the plan: {around[:60] or 'a fence'!r}" if outside else ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without a key twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Unreadable(f"an object has a key twice: {', '.join(k for k, _ in pairs)[:80]}. Expected each once.")
    return made


def _item(item: Any, number: int) -> tuple[str, str, tuple[str, ...]]:
    if not isinstance(item, dict) or not {"id", "task"} <= set(item) <= {"id", "task", "after"}:
        keys = _names(item) if isinstance(item, dict) else type(item).__name__
        raise Unreadable(f'subtask {number} has {keys}. Expected the keys "id", "task" and "after".')
    name, task, after = item["id"], item["task"], item.get("after", [])
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_ID or re.search(r"[\s{}]", name):
        raise Unreadable(f"the id of subtask {number} is {str(name)[:60]!r}. Expected a short word or a number.")
    if not isinstance(task, str) or not task.strip() or len(task) > LONGEST:
        raise Unreadable(
            f"the task of subtask {name!r} is empty, too long, or no text. Expected 1 to {LONGEST} characters."
        )
    if not isinstance(after, list) or not all(isinstance(o, str | int) and not isinstance(o, bool) for o in after):
        raise Unreadable(f'"after" of subtask {name!r} is no list of ids.')
    return name, task.strip(), tuple(dict.fromkeys(str(o) for o in after))


def _order(after: dict[str, tuple[str, ...]]) -> list[str]:
    """The ids, each after those it needs, else as written."""
    done: list[str] = []
    while len(done) < len(after):
        ready = next((n for n, needs in after.items() if n not in done and all(o in done for o in needs)), None)
        if ready is None:
            rest = [n for n in after if n not in done]
            raise Unreadable(f"the subtasks {', '.join(rest)[:80]} wait for one another. Expected no circle.")
        done.append(ready)
    return done


def _slotted(task: str, name: str, at: dict[str, int], needs: Sequence[str]) -> str:
    """The task with numbered slots, as `fill` of this module reads them. Braces that name no subtask are the task's own."""

    def slot(match: re.Match[str]) -> str:
        other = match[1]
        if other in needs:
            return f"{{{at[other] + 1}}}"
        if other in at or (other.isdecimal() and int(other) - 1 in {at[o] for o in needs}):
            raise Unreadable(
                f'subtask {name!r} has {match[0]}, and does not come after it. Expected it in its "after".'
            )
        return match[0]

    return _SLOT.sub(slot, task)


def _checked(plan: Sequence[Subtask], question: str, most: int, mended: str) -> Written:
    """What both forms refuse; a plan of the question alone is none."""
    if len(plan) > most:
        raise Unreadable(f"the plan has {len(plan)} subtasks. Expected 1 to {most}.")
    same = [t.text for i, t in enumerate(plan) if t in plan[:i]]
    if same:
        raise Unreadable(f"two subtasks are the same: {same[0][:60]!r}. Expected each once.")
    if len(plan) == 1 and plan[0].text.strip() == question.strip():
        return Written((), mended)
    return Written(tuple(plan), mended)


def _names(said: dict[str, Any]) -> str:
    return ", ".join(map(repr, list(said)[:5])) or "none"


def fill(template: str, after: Sequence[int], results: dict[int, str]) -> str:
    """A subtask with the results it has slots for; `results` by number of the subtask, from 0. Other braces stay."""

    def result(match: re.Match[str]) -> str:
        number = int(match[1]) - 1 if match[1].isdecimal() else -1
        return results[number] if number in after and number in results else match[0]

    return _SLOT.sub(result, template)


def slots(template: str, after: Sequence[int]) -> frozenset[int]:
    """The subtasks, from 0, that a template has slots for."""
    found = {int(n) - 1 for n in _SLOT.findall(template) if n.isdecimal()}
    return frozenset(found & set(after))


def asked(template: str, after: Sequence[int], results: dict[int, str], tasks: Sequence[str]) -> str:
    """What a model is sent for a subtask: its text filled in, and after it the results it has no slot for."""
    return fill(template, after, results) + _notes(template, after, results, tasks)


def _notes(template: str, after: Sequence[int], results: dict[int, str], tasks: Sequence[str]) -> str:
    rest = [j for j in after if j in results and j not in slots(template, after)]
    known = "\n".join(f"- {tasks[j]}: {results[j]}" for j in rest)
    return f"\n\nKnown so far:\n{known}" if rest else ""


def prompt(form: str, template: str, question: str, most: int, known: Sequence[tuple[str, str]], fault: str) -> str:
    """What the decomposer is sent. The lines' form shows the question alone: the lab's planner knows nothing else.

    Args:
        template: Of the lines' form, with {question}.
        known: Subtasks that are done, and their results.
        fault: What was wrong with the plan before.
    """
    if form == "lines":
        return template.replace("{question}", question)
    parts = [RULES % most, f"Question: {question}"]
    if known:
        done = "\n".join(f"- {json.dumps(task)}: {json.dumps(result)}" for task, result in known)
        parts.append(f"Done so far (plan what is left; write results you need into the tasks):\n{done}")
    if fault:
        parts.append(f"The plan before failed: {fault}")
    return "\n\n".join(parts)


def remaining(plan: Sequence[Subtask], known: dict[str, str]) -> tuple[tuple[Subtask, ...], list[str]]:
    """What of a plan is left where some subtasks have been answered before.

    Args:
        plan: In an order in which it can be done.
        known: Subtask as it is sent -> its answer.

    Returns:
        The rest, with those answers filled in and numbered anew, nothing if the last one has its answer; and the texts whose
        answers were used, in order.
    """
    results: dict[int, str] = {}
    used: list[str] = []
    tasks = [task.text for task in plan]
    for i, task in enumerate(plan):
        if all(j in results for j in task.after):
            text = asked(task.text, task.after, results, tasks)
            if text in known and not _SLOT.search(known[text]):  # an answer that looks like a slot is asked for again
                results[i] = known[text]
                used.append(text)
    if len(plan) - 1 in results:
        return (), used
    rest = [i for i in range(len(plan)) if i not in results]
    place = {i: n for n, i in enumerate(rest)}
    return tuple(_again(plan[i], results, place, tasks) for i in rest), used


def _again(task: Subtask, results: dict[int, str], place: dict[int, int], tasks: Sequence[str]) -> Subtask:
    """A subtask of what is left: known answers written in, slots of the others numbered anew."""
    texts = {j: results[j] if j in results else f"{{{place[j] + 1}}}" for j in task.after}
    text = fill(task.text, task.after, texts) + _notes(task.text, task.after, results, tasks)
    return Subtask(text, tuple(sorted(place[j] for j in task.after if j in place)))
