"""Who is in the lab's pool: for each model its size, what it is trained on, and for how long.

Specialists see questions of their families, and those steps of composed questions that are of their families (the
question, the notes so far, the next note); generalists see all, the large one composed questions in one shot too;
`planner` writes plans. Every specialist also sees a few questions of the other families, so that it answers in form where
it knows nothing: a model that breaks down on a foreign question would make routing too easy.

    recipe = ROSTER["facts"]
    model = train(vocabulary(), recipe.shape(len(vocabulary())), source(recipe), recipe.course)
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np

from routewright.lab import composed
from routewright.lab.families import FAMILIES, Question
from routewright.lab.questions import stream
from routewright.lab.shape import Shape
from routewright.lab.text import (
    completion_text,
    next_reply,
    notes_text,
    plan_prompt,
    plan_text,
    prompt_text,
    reply_text,
)
from routewright.lab.tokenizer import Vocabulary
from routewright.lab.wording import template_words
from routewright.lab.words import invented
from routewright.lab.world import SPLITS, entities, world

if TYPE_CHECKING:
    from routewright.lab.learn import Course, Pair

PLAN = "plan"  # a source of its own: composed question -> plan
STEPS = "steps"  # composed question and notes -> next note; "steps:FAMILY": only steps of that family
WORLD = "facts"  # its steps may name any entity, for nobody can guess a fact; pairs of operations are held out as ever
CONTEXT = 320
ROUTE = "route"  # and another: composed questions and single ones -> whole conversations of a router, see `lab.router`
BY_WORTH = "route:worth"  # the same, in which what a right answer is worth matters
INVENTED = 0.75  # of the plans and conversations they learn, the share with invented names


@dataclass(frozen=True)
class Lesson:
    """What a model sees after its first course, and for how long."""

    shares: dict[str, float]
    steps: int
    rate: float


@dataclass(frozen=True)
class Recipe:
    """One model: its size, the shares of what it sees, and the course of its training; a second lesson, if there is one."""

    name: str
    about: str
    width: int
    layers: int
    heads: int
    feed: int
    shares: dict[str, float] = field(default_factory=dict)
    steps: int = 3000
    tokens: int = 4096
    rate: float = 2e-3
    rounds: tuple[int, ...] = ()
    optimiser: Literal["adamw", "muon"] = "adamw"
    context: int = CONTEXT
    second: Lesson | None = None

    def parameters(self, vocabulary: int) -> int:
        """Weights with a vocabulary of this size, the shared embedding counted once."""
        layer = 4 * self.width**2 + 3 * self.width * self.feed + 2 * self.width
        return vocabulary * self.width + self.layers * layer + self.width

    def shape(self, vocabulary: int) -> Shape:
        return Shape(vocabulary, self.width, self.layers, self.heads, self.feed, self.context)

    @property
    def then(self) -> Recipe | None:
        """The recipe of the second lesson."""
        if self.second is None:
            return None
        return replace(
            self, shares=self.second.shares, steps=self.second.steps, rate=self.second.rate, rounds=(), second=None
        )

    @property
    def course(self) -> Course:
        from routewright.lab.learn import Course

        return Course(self.steps, self.tokens, self.rate, rounds=self.rounds, optimiser=self.optimiser)


def _special(*families: str, steps: float = 0.35) -> dict[str, float]:
    """Steps of its own families, 5 % evenly over the others' questions, the rest questions of its own."""
    others = [name for name in FAMILIES if name not in families]
    own = {name: (0.95 - steps) / len(families) for name in families}
    parts = {f"{STEPS}:{name}": steps / len(families) for name in families}
    return {**own, **parts, **{name: 0.05 / len(others) for name in others}}


def _general(composed: float, steps: float = 0.0) -> dict[str, float]:
    rest = (1 - composed - steps) / len(FAMILIES)
    return {**dict.fromkeys(FAMILIES, rest), "composed": composed, STEPS: steps}


ROSTER: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("facts", "knows the small world", 128, 4, 4, 384, _special("facts", steps=0.65), 3500),
        Recipe("words", "spells, counts and sorts", 128, 4, 4, 384, _special("text", "sorting"), 8000),
        Recipe("maths", "calculates, converts units and dates", 160, 4, 4, 448, _special("arithmetic", "units"), 6000),
        Recipe(
            "reader", "reads code and tables", 128, 4, 4, 384, _special("code", "lookup"), 8000, rounds=(5000, 3000)
        ),
        Recipe("small", "a little of everything", 96, 3, 3, 288, _general(0.1), 3000),
        Recipe("large", "the best overall, and the dearest", 256, 6, 8, 704, _general(0.3, 0.15), 6000, 4096, 1.5e-3),
        Recipe("cheap", "quick, and mostly wrong", 64, 2, 2, 192, _general(0.1), 400),
        Recipe("planner", "takes composed questions apart", 192, 4, 6, 512, {PLAN: 1.0}, 4500),
        Recipe(
            "router",
            "asks the others, turn by turn",
            160,
            4,
            5,
            448,
            {ROUTE: 1.0},
            3500,
            rate=4e-3,
            optimiser="muon",
            second=Lesson({BY_WORTH: 1.0}, 600, 1e-3),
            context=384,
        ),
    )
}


@cache
def vocabulary() -> Vocabulary:
    """The one vocabulary of all lab models: the words of the templates."""
    return Vocabulary(tuple(template_words()))


def pairs_of(name: str, seed: int) -> Iterator[Pair]:
    """Prompt and completion without end: a family, `composed` in one shot, `steps`, `plan` or `route`."""
    kind, _, only = name.partition(":")
    if kind == ROUTE:
        from routewright.lab.router import conversations

        yield from conversations(seed, by_worth=name == BY_WORTH)
        return
    rng = random.Random(f"{name}/{seed}")
    if kind == STEPS and only == WORLD:
        asked = _of_all_entities(random.Random(f"{name}/all/{seed}"))
    else:
        asked = stream("composed" if kind in (PLAN, STEPS) else kind, "train", seed)
    for question in asked:
        if kind == PLAN:
            prompt, plan = plan_prompt(question.text), "\n" + plan_text(question.plan)
            yield renamed(question.entities, (prompt, plan), rng) if rng.random() < INVENTED else (prompt, plan)
        elif kind == STEPS:
            steps = [i for i, step in enumerate(question.plan) if step.family == only or not only]
            if steps:
                yield _step(question, rng.choice(steps))
        else:
            yield prompt_text(question.text), completion_text(reply_text(question.working, question.answer))


def _of_all_entities(rng: random.Random) -> Iterator[Question]:
    """Composed questions about the whole world, with pairs of operations of training alone."""
    sizes = [sum(len(entities(kind, split)) for kind in world().names) for split in SPLITS]
    while True:
        yield composed.make(rng, rng.choices(SPLITS, sizes)[0], known_pairs=True)


def renamed(names: Sequence[str], pair: Pair, rng: random.Random) -> Pair:
    """The pair with invented names for those of the world, the same in all its texts.

    Three hundred names are learnt by heart, and a planner that knows them by heart writes one of them where it should copy
    a new one: so it was, with every plan right in training and 13 % with names it had not seen. A lowercase name (of an
    element) stays lowercase: with capitals in their place, most lowercase ones were still miswritten.
    """
    new = {name: invented(rng) if name.islower() else invent(rng) for name in names}
    if not new:
        return pair
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, sorted(new, key=len, reverse=True))) + r")\b")
    return tuple(pattern.sub(lambda found: new[found[1]], text) for text in pair)


def invent(rng: random.Random) -> str:
    """A name that nobody bears, one in ten of two words."""
    name = invented(rng).capitalize()
    return f"{name} {invent(rng)}" if rng.random() < 0.1 else name


def _step(question: Question, step: int) -> Pair:
    shown = notes_text(question.plan)[:step]
    return prompt_text(question.text, shown), completion_text(next_reply(question, step))


def source(recipe: Recipe) -> Callable[[np.random.Generator, int], Sequence[Pair]]:
    """Fresh pairs in the recipe's shares."""
    names = [name for name, share in recipe.shares.items() if share > 0]
    shares = np.array([recipe.shares[name] for name in names])

    def draw(rng: np.random.Generator, n: int) -> list[Pair]:
        counts = rng.multinomial(n, shares / shares.sum())
        seeds = rng.integers(0, 2**31, len(names)).tolist()
        return [
            pair for name, k, s in zip(names, counts, seeds, strict=True) for pair in islice(pairs_of(name, s), int(k))
        ]

    return draw
