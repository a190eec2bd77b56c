"""The form of `r1` for very small routers: one line a turn, letters for names.

    Q: How many vowels are in the capital of Peru?        the question
    M: A 3 country; B 2 letters sorted; C 7 all           the models: a letter, the place by price, what they are good at
    W: 6                                                  what a right answer is worth: see `worth`
    R: A What is the capital of Peru?                     the router: a letter and a sub-question (`Q`: the question as it is)
    N: Lima                                               the worker's answer, one line of it
    R: B How many vowels are in 'Lima'?
    N: 2
    R: answer:2

A turn is one line, so the stop is a line's end; what a worker said is cut to its answer and put on one line, so it can
begin no line of its own. Names stand for places in the list, which the policy shuffles: what a model is called tells the
router nothing, what is said of it all. There are no thoughts, and no money is shown but for the order of prices and the worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from routewright.policies.plan_text import ANSWER, answer_text
from routewright.policies.r1_protocol import Final, Form, Route, Unreadable, View, answered, checked, clipped

WHOLE = "Q"  # as a sub-question: the question as it is
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORTHS = 10  # figures that `worth` gives
_REPLY = 200  # characters


class Short(Form):
    """One line a turn."""

    stop: ClassVar[tuple[str, ...]] = ("\n",)
    last: ClassVar[str] = f"R: {ANSWER}"

    def prompt(self, view: View) -> str:
        letters = _letters(view)
        told = [(letters[m.name], m.rank, m.about) for m in view.open]
        lines = [opening(view.question, told, worth(view.value_usd, [m.usd_per_mtok_out for m in view.models]))]
        for turn in view.turns:
            said = self.write(Route(turn.model, turn.query), view)
            lines += [f"R: {said}", f"N: {'none' if turn.failed else note(turn.reply)}"]
        lines.append(self.last if view.forced else "R:")
        return "\n".join(lines)

    def write(self, said: Route | Final, view: View) -> str:
        if isinstance(said, Final):
            return f"{ANSWER}{said.text}"
        query = WHOLE if said.query == view.question else " ".join(said.query.split())
        return f"{_letters(view).get(said.model, '?')} {query}"

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


def opening(question: str, models: list[tuple[str, int, str]], worth: int) -> str:
    """The first lines: the question, the models as (letter, place by price, what they are good at), the worth."""
    told = "; ".join(" ".join(f"{letter} {rank} {about}".split()) for letter, rank, about in models)
    return f"Q: {question}\nM: {told}\nW: {worth}"


def worth(value_usd: float, usd_per_mtok_out: Sequence[float | None]) -> int:
    """What a right answer is worth, against the prices of the pool, in one figure.

        W = round(2 log10(value_usd / (price of the dearest model's token)))      within 0 to 9

    Every 2 are a factor of ten; 6 is a thousand tokens of the dearest model. Where no price is known it is 9, as where money is
    no object.

    Example:
        >>> [worth(value, [0.5, 10.0, None]) for value in (0.0, 1e-4, 1e-3, 1e-2, 1.0)]
        [0, 2, 4, 6, 9]
    """
    dearest = max((p for p in usd_per_mtok_out if p is not None), default=0.0)
    if dearest <= 0:
        return WORTHS - 1
    tokens = value_usd / (dearest * 1e-6)
    return min(max(round(2 * math.log10(tokens)), 0), WORTHS - 1) if tokens > 0 else 0


def note(reply: str) -> str:
    """What a worker said, in one line: its answer if it has one."""
    return clipped(" ".join(answer_text(reply).split()), _REPLY) or "none"


def _letters(view: View) -> dict[str, str]:
    """Name -> letter, by the place in the pool's order, closed models counted; a pool has at most 26 models in this form."""
    if len(view.models) > len(LETTERS):
        raise Unreadable(f"The pool has {len(view.models)} models. Expected at most {len(LETTERS)} in this form.")
    return {m.name: letter for m, letter in zip(view.models, LETTERS, strict=False)}
