"""What a family of questions is: operations, each with its ways to ask, its exact answer and its working.

The loop that calls it:

    family = FAMILIES.load("text")
    asked = family.make(random.Random(0), "train")       # a Question with its answer and working
    family.solve(asked.text)                             # the same answer, read from the text alone

A family lists `Operation`s. Values are text throughout, as a model reads and writes them. A template has slots in angle
brackets, so that code in a question may have braces: "What is the capital of <x>?". `[a|b]` in it stands for either.

Each operation draws its values; `held` names what is kept apart between the splits (a word, a pair of operands). The
splits of facts are ways to ask instead (`hold_phrasings`), for what nobody was told nobody can know.
"""

from __future__ import annotations

import itertools
import random
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple, TypeAlias

from routewright.errors import RoutewrightError
from routewright.lab.world import Split, part

Values: TypeAlias = Mapping[str, str]
_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
_SLOT = re.compile(r"<([a-z]+)>")
_KINDS = {
    "number": r"\d{1,6}",
    "word": r"[A-Za-z]+",
    "letter": r"[a-z]",
    "list": r"\w+(?:, \w+)*",
    "any": r"[^\n]+?",
}


class Worked(NamedTuple):
    """An exact answer and the short text a model may write before it."""

    answer: str
    working: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One subtask of a gold plan. `template` and `head` have slots `{1}`, `{2}` ... for the answers of earlier steps."""

    template: str
    head: str
    family: str
    operation: str
    answer: str
    working: str
    after: tuple[int, ...] = ()  # numbers of the steps whose answers it needs, from 0


@dataclass(frozen=True, slots=True)
class Question:
    """One question with everything that is known of it.

    `metric` is the name in `routewright.tasks` that scores a reply, `kind` the kind of its answer key. `working` is what
    may be written before the answer; `head` names the question in a note ("capital of Peru"). `entities` are the names
    of the world it uses. A composed one has a `plan`, and `new_pair` if a pair of its chain is in no training question.
    """

    text: str
    answer: str
    family: str
    operation: str
    difficulty: int
    metric: str
    split: Split
    working: str = ""
    head: str = ""
    entities: tuple[str, ...] = ()
    plan: tuple[Step, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    new_pair: bool = False
    kind: str = "literal"


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked.

    Args:
        name: Unique in its family.
        asks: Templates of whole questions; the first, expanded, is the one that plans use.
        head: Template of the note's left side.
        slots: Slot -> `number`, `word`, `letter`, `list` or `any`: what a text may have there.
        work: The exact answer and working of values; None where it does not apply to them.
        draw: Values for a question of the family, whatever its split.
        held: What of the values is kept apart between splits.
        difficulty: 1 to 3, of values.
        takes: Types of the slots `x` (and `y`) in a chain; empty: it can only begin one.
        gives: The type of its answer; "" keeps it out of chains.
        settings: Values of the other slots when `x` and `y` are given by a chain; None where they do not suit.
        nouns: Templates of the answer as a noun phrase, for composed questions.
        finals: Templates of whole questions that hold a noun phrase, for composed questions.
        does: Templates of an order about "it".
        tail: Template that turns a question about `x` into one about this: "How many ... in Bern, times 7?".
        preface: Template of what has to stand before a composed question (a table).
    """

    name: str
    asks: tuple[str, ...]
    head: str
    slots: Mapping[str, str]
    work: Callable[[Values], Worked | None]
    draw: Callable[[random.Random], Values]
    held: Callable[[Values], str] = lambda values: "/".join(values.values())
    difficulty: Callable[[Values], int] = lambda values: 1
    takes: tuple[str, ...] = ()
    gives: str = ""
    settings: Callable[[random.Random, Values], Values | None] = lambda rng, values: {}
    nouns: tuple[str, ...] = ()
    finals: tuple[str, ...] = ()
    does: tuple[str, ...] = ()
    tail: str = ""
    preface: str = ""

    @cached_property
    def phrasings(self) -> tuple[str, ...]:
        """Every way to ask."""
        return expand(self.asks)

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """The same as patterns that read the values back."""
        return tuple(_pattern(phrasing, self.slots) for phrasing in self.phrasings)


@dataclass(frozen=True)
class Family:
    """Operations that one specialist should master."""

    name: str
    summary: str
    operations: tuple[Operation, ...]
    entities: Callable[[Values], tuple[str, ...]] = lambda values: ()
    hold_phrasings: bool = False
    weights: tuple[float, ...] = ()  # of the operations; empty: equal
    tries: int = field(default=10_000, repr=False)

    @cached_property
    def by_name(self) -> dict[str, Operation]:
        """Operations by name."""
        return {operation.name: operation for operation in self.operations}

    def make(self, rng: random.Random, split: Split) -> Question:
        """A question of a split."""
        for _ in range(self.tries):
            operation = rng.choices(self.operations, self.weights)[0] if self.weights else rng.choice(self.operations)
            values = operation.draw(rng)
            if not self.hold_phrasings and part(self.name, operation.held(values)) != split:
                continue
            worked = operation.work(values)
            if worked is not None:
                return self._question(operation, values, worked, rng.choice(self.phrasings(operation, split)), split)
        raise RoutewrightError(
            f"Family {self.name!r} found no question for the split {split!r} in {self.tries:,} tries. Expected about one "
            "in ten to belong to it; its operations draw from too little."
        )

    def phrasings(self, operation: Operation, split: Split) -> tuple[str, ...]:
        """The ways to ask that a split has: all of them, unless it is they that are held out."""
        return _dealt(operation.phrasings)[split] if self.hold_phrasings else operation.phrasings

    def solve(self, text: str) -> Worked | None:
        """The exact answer, read from the text alone; None if it is no question of this family.

        Raises:
            RoutewrightError: The text can be read in two ways with two answers.
        """
        found: dict[str, Worked] = {}
        for operation in self.operations:
            for pattern in operation.patterns:
                match = pattern.fullmatch(text)
                worked = operation.work(match.groupdict()) if match else None
                if worked is not None:
                    found[worked.answer] = worked
        if len(found) > 1:
            raise RoutewrightError(f"{text!r} has {len(found)} answers in the family {self.name!r}: {sorted(found)}.")
        return next(iter(found.values()), None)

    def _question(self, operation: Operation, values: Values, worked: Worked, phrasing: str, split: Split) -> Question:
        return Question(
            put(phrasing, values),
            worked.answer,
            self.name,
            operation.name,
            operation.difficulty(values),
            metric_of(worked.answer),
            split,
            worked.working,
            put(operation.head, values),
            self.entities(values),
        )


def metric_of(answer: str) -> str:
    """`numeric` for a whole number; else `literal`, which compares text with its case (and single letters too)."""
    return "numeric" if answer.isdigit() else "literal"


def put(template: str, values: Values) -> str:
    """A template with its slots filled."""
    for slot, value in values.items():
        template = template.replace(f"<{slot}>", value)
    return template


def expand(templates: Sequence[str]) -> tuple[str, ...]:
    """Every text that templates with `[a|b]` stand for.

    >>> expand(["[What|Which] is <x>[|, please]?"])
    ('What is <x>?', 'What is <x>, please?', 'Which is <x>?', 'Which is <x>, please?')
    """
    texts: list[str] = []
    for template in templates:
        pieces = _CHOICE.split(template)
        options = [piece.split("|") if i % 2 else [piece] for i, piece in enumerate(pieces)]
        texts += ["".join(chosen) for chosen in itertools.product(*options)]
    return tuple(dict.fromkeys(texts))


@cache
def _dealt(phrasings: tuple[str, ...]) -> dict[Split, tuple[str, ...]]:
    """Ways to ask by split, a tenth (and at least one) each for validation and test; the first is for training."""
    order = sorted(phrasings[1:], key=lambda text: zlib.crc32(text.encode()))
    n = max(1, len(phrasings) // 10)
    return {"validation": tuple(order[:n]), "test": tuple(order[n : 2 * n]), "train": (phrasings[0], *order[2 * n :])}


def _pattern(phrasing: str, slots: Mapping[str, str]) -> re.Pattern[str]:
    parts = _SLOT.split(phrasing)
    seen: set[str] = set()
    pattern = ""
    for i, piece in enumerate(parts):
        if i % 2 == 0:
            pattern += re.escape(piece)
        elif piece in seen:
            pattern += f"(?P={piece})"
        else:
            seen.add(piece)
            pattern += f"(?P<{piece}>{_KINDS[slots[piece]]})"
    return re.compile(pattern)
