"""The form of `r1` for very small routers: one line a turn, letters for names.

    Q: How many vowels are in the capital of Peru?        the question
    M: A 3 country; B 2 letters sorted; C 7 all           the models: a letter, the place by price, what they are good at
    R: A What is the capital of Peru?                     the router: a letter and a sub-question (`Q`: the question as it is)
    N: Lima                                               the worker's answer, one line of it
    R: B How many vowels are in 'Lima'?
    N: 2
    R: answer:2

A turn is one line, so the stop is a line's end; what a worker said is cut to its answer and put on one line, so it can
begin no line of its own. Names stand for places in the list, which the policy shuffles: what a model is called tells the
router nothing, what is said of it all. There are no thoughts, and no money is shown but for the order of prices.
"""

from __future__ import annotations

from typing import ClassVar

from routewright.policies.plan_text import ANSWER, answer_text
from routewright.policies.r1_protocol import Final, Form, Route, Unreadable, View, answered, checked, clipped

WHOLE = "Q"  # as a sub-question: the question as it is
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_REPLY = 200  # characters


class Short(Form):
    """One line a turn."""

    stop: ClassVar[tuple[str, ...]] = ("\n",)
    last: ClassVar[str] = f"R: {ANSWER}"

    def prompt(self, view: View) -> str:
        letters = _letters(view)
        lines = [opening(view.question, [(letters[m.name], m.rank, m.about) for m in view.open])]
        for turn in view.turns:
            query = WHOLE if turn.query == view.question else " ".join(turn.query.split())
            lines += [f"R: {letters.get(turn.model, '?')} {query}", f"N: {'none' if turn.failed else note(turn.reply)}"]
        lines.append(self.last if view.forced else "R:")
        return "\n".join(lines)

    def read(self, text: str, view: View) -> Route | Final:
        said = text.strip()
        if view.forced:
            return answered(said.split("\n", 1)[0])
        if "\n" in said:
            raise Unreadable(f"the turn has {said.count(chr(10)) + 1} lines. Expected one.")
        if said.startswith(ANSWER):
            return answered(said.removeprefix(ANSWER))
        letter, _, query = said.partition(" ")
        names = {there: name for name, there in _letters(view).items()}
        if letter not in names:
            raise Unreadable(
                f"the turn begins with {letter[:60]!r}. Expected one of {', '.join(names)}, or {ANSWER!r}."
            )
        return checked(names[letter], view.question if query.strip() == WHOLE else query, "", view)


def opening(question: str, models: list[tuple[str, int, str]]) -> str:
    """The first lines: the question and the models as (letter, place by price, what they are good at)."""
    told = "; ".join(" ".join(f"{letter} {rank} {about}".split()) for letter, rank, about in models)
    return f"Q: {question}\nM: {told}"


def note(reply: str) -> str:
    """What a worker said, in one line: its answer if it has one."""
    return clipped(" ".join(answer_text(reply).split()), _REPLY) or "none"


def _letters(view: View) -> dict[str, str]:
    """Name -> letter, by the place in the pool's order, closed models counted; a pool has at most 26 models in this form."""
    if len(view.models) > len(LETTERS):
        raise Unreadable(f"The pool has {len(view.models)} models. Expected at most {len(LETTERS)} in this form.")
    return {m.name: letter for m, letter in zip(view.models, LETTERS, strict=False)}
