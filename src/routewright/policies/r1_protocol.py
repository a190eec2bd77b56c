"""What the forms of `r1` share: the nouns of a conversation between a router and a pool, and what a form has to do.

    prompt = form.prompt(View(question, models, turns, ...))
    wish = form.read(what_the_router_wrote, view)            # Route, Final, or Unreadable with the reason

    text = form.write(Route("words", "How many vowels are in 'Lima'?"), view)      # and `read` gives it back

A form writes the whole conversation anew before each turn, from the state alone, and reads one turn strictly. What workers
reply is data: a form shows it so that it can neither close a mark nor be taken for the router's own words. While nothing goes wrong
a prompt begins with all of the prompt before it and the turn that followed, as `write` has it: servers that keep what they have read
need not read it again, and a whole conversation is one sequence for training.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from routewright.errors import RoutewrightError

LONGEST_QUERY = 2000  # characters of a sub-question
LONGEST_REPLY = 2400  # characters of a worker's reply that the router is shown: some 600 tokens


class Unreadable(RoutewrightError):
    """A turn that is no turn of the form, with the reason."""


@dataclass(frozen=True, slots=True)
class Described:
    """A model as the router is told of it: its name here, what is known of it, and its place by price, 1 the cheapest."""

    name: str
    about: str
    usd_per_mtok_out: float | None
    rank: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One round: what the router thought, whom it asked what, the reply (or why there is none), and what was spent by then."""

    model: str
    query: str
    reply: str
    thought: str = ""
    failed: bool = False
    spent_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class View:
    """Everything a router is shown. Money in USD; `left_usd` may be infinite. `forced`: no more rounds, only the answer.

    `models` are the pool's, always in the same order; those `closed` do not fit the budget now and are not shown.
    """

    question: str
    models: tuple[Described, ...]
    closed: frozenset[str] = frozenset()
    turns: tuple[Turn, ...] = ()
    spent_usd: float = 0.0
    left_usd: float = math.inf
    value_usd: float = 0.0
    rounds: int = 4
    forced: bool = False
    fault: str = ""  # what was wrong with the last turn, which this one is to repair

    def of(self, forced: bool) -> View:
        """The same, with or without rounds left."""
        return replace(self, forced=forced)

    @property
    def open(self) -> tuple[Described, ...]:
        """Those that may be asked now."""
        return tuple(m for m in self.models if m.name not in self.closed)


@dataclass(frozen=True, slots=True)
class Route:
    """Ask this model that."""

    model: str
    query: str
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Final:
    """The router's answer."""

    text: str
    thought: str = ""


class Form(ABC):
    """A way to write conversations and to read turns."""

    stop: ClassVar[tuple[str, ...]] = ()
    last: ClassVar[str]  # how a prompt ends that leaves nothing but an answer, and no other

    @abstractmethod
    def prompt(self, view: View) -> str:
        """What the router is sent."""

    @abstractmethod
    def write(self, said: Route | Final, view: View) -> str:
        """A turn as a router writes it behind the prompt, without the space or line before it."""

    @abstractmethod
    def read(self, text: str, view: View) -> Route | Final:
        """What a turn says; `write` undone.

        Raises:
            Unreadable: It is no turn of this form, names no model shown, or asks where only an answer is left.
        """


def checked(model: str, query: str, thought: str, view: View) -> Route:
    """A route that may be taken.

    Raises:
        Unreadable: A model that is not shown, no sub-question or too long a one, or no round left.
    """
    names = [m.name for m in view.open]
    if view.forced:
        raise Unreadable(f"{model[:60]!r} is asked after the last of {view.rounds} rounds. Expected the answer.")
    if model in view.closed:
        raise Unreadable(
            f"{model} does not fit the budget any more. Expected one of: {', '.join(names) or 'none is left'}."
        )
    if model not in names:
        raise Unreadable(
            f"no model is called {model[:60]!r}. Expected exactly one of: {', '.join(names) or 'none is left'}."
        )
    if not query.strip():
        raise Unreadable(f"{model} is asked nothing. Expected a sub-question.")
    if len(query) > LONGEST_QUERY:
        raise Unreadable(f"the sub-question has {len(query)} characters. Expected at most {LONGEST_QUERY}.")
    return Route(model, query.strip(), thought.strip())


def answered(text: str, thought: str = "") -> Final:
    """An answer with something in it.

    Raises:
        Unreadable: It is empty.
    """
    if not text.strip():
        raise Unreadable("the answer is empty. Expected some text.")
    return Final(text.strip(), thought.strip())


def clipped(text: str, most: int = LONGEST_REPLY) -> str:
    """The beginning of a text, marked where it was cut."""
    return text if len(text) <= most else text[: most - 4] + " ..."


def ranks(prices: Sequence[float | None]) -> list[int]:
    """Places by price, 1 the cheapest; an unknown price is the dearest.

    Example:
        >>> ranks([2.0, None, 0.5])
        [2, 3, 1]
    """
    order = sorted(range(len(prices)), key=lambda i: (math.inf if prices[i] is None else float(prices[i] or 0), i))
    return [order.index(i) + 1 for i in range(len(prices))]
