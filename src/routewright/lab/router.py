"""What the lab's router is taught: conversations in the short form of `r1`, each with another pool.

    for pair in conversations(seed=0): ...        # shown, written, shown, written ...: see `learn.Pair`

A router that is taught one pool learns the names of its models by heart. So every conversation has a pool of its own: one
to nine models, each said to be good at some families (`ABILITIES`), a few at everything or at nothing, with places by
price, in any order, some letters left out. Right is the cheapest model that is said to be good at the step's family; where
there is none, the cheapest said to be good at all; else the dearest. So what is said of a model is all that can be learnt,
and the pool that it is to serve later is, like any other, one that it has not seen.

Sub-questions are those of gold plans, with the gold answers filled in; names of the world are mostly invented ones, for a
small model would learn them by heart. One conversation in five is a single question, passed on whole. So are some of the composed
ones, to anybody, and a few are not asked at all (`MANNERS`). In the first lesson that does not depend on what a right answer is worth; in
the second, short one, less is asked where it is worth less, roughly and for all questions alike (`silent`): enough that the figure is read.
Where asking begins to pay, for which questions, is left to training by reinforcement.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from routewright.lab.families import FAMILIES, Question
from routewright.lab.questions import stream
from routewright.lab.roster import INVENTED, renamed
from routewright.policies.plan_text import ANSWER, fill
from routewright.policies.r1_short import LETTERS, WHOLE, WORTHS, opening

Conversation = tuple[str, ...]
SINGLE = 0.2  # of the conversations, the share about single questions
Manner = Literal["plan", "whole", "none"]  # step by step; the whole question to one model; "none" without asking
MANNERS: Mapping[Manner, float] = {
    "plan": 0.8,
    "whole": 0.16,
    "none": 0.04,
}  # shares of composed questions; single ones have no plan
_SILENT, _FROM = (
    0.6,
    5,
)  # share of conversations in which nobody is asked, at a worth of 0; the worth from which it is as in MANNERS
NOTHING = "none"  # the answer of a router that asks nobody
ALL = "all"  # said of a model that is good at everything, more or less
# What a model is said to be good at, by family: words that are one token each for the lab's models.
ABILITIES: Mapping[str, str] = {
    "facts": "country",
    "arithmetic": "sum",
    "text": "letters",
    "sorting": "sorted",
    "units": "convert",
    "code": "print",
    "lookup": "table",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A model as a conversation tells of it."""

    letter: str
    rank: int
    about: tuple[str, ...]


def conversations(
    seed: int, split: str = "train", by_worth: bool = False, right: bool = False
) -> Iterator[Conversation]:
    """Conversations without end; with `by_worth` those of the second lesson, with `right` those that are planned, at any price."""
    rng = random.Random(f"route/{seed}")
    composed = stream("composed", split, seed)
    single = {family: stream(family, split, seed) for family in FAMILIES}
    while True:
        alone = rng.random() < SINGLE
        question = next(single[rng.choice(list(single))] if alone else composed)
        manner, worth = rng.choices(list(MANNERS), list(MANNERS.values()))[0], rng.randrange(WORTHS)
        if by_worth and rng.random() < silent(worth):
            manner = "none"
        if right:
            manner, worth = "plan", WORTHS - 1
        made = conversation(question, pool(rng), worth, manner, rng)
        yield renamed(question.entities, made, rng) if rng.random() < INVENTED else made


def silent(worth: int) -> float:
    """The share of conversations of the second lesson that end without asking, for that alone.

    Example:
        >>> [round(silent(worth), 2) for worth in (0, 2, 4, 5, 9)]
        [0.6, 0.36, 0.12, 0.0, 0.0]
    """
    return _SILENT * max(0.0, 1 - worth / _FROM)


def pool(rng: random.Random) -> list[Told]:
    """A pool that nobody has seen before, in the order it is shown."""
    abouts: list[tuple[str, ...]] = []
    if rng.random() < 0.95:
        specialists: list[list[str]] = [[] for _ in range(rng.randint(2, 5))]
        for word in ABILITIES.values():
            for chosen in rng.sample(specialists, rng.choice((0, 1, 1, 1, 1, 2))):
                chosen.append(word)
        abouts = [tuple(rng.sample(words, len(words))) for words in specialists]
    abouts += [(ALL,)] * rng.choice((0, 1, 1, 1, 2)) + [()] * rng.choice((0, 0, 1, 2))
    abouts = abouts or [(ALL,)]
    rng.shuffle(abouts)
    places = rng.sample(range(1, len(abouts) + 1), len(abouts))
    letters = sorted(rng.sample(LETTERS[:9], len(abouts))) if len(abouts) <= 9 and rng.random() < 0.3 else list(LETTERS)
    return [Told(letter, place, about) for letter, place, about in zip(letters, places, abouts, strict=False)]


def chosen(models: Sequence[Told], family: str) -> Told:
    """Who is right for a step of that family."""
    for word in (ABILITIES[family], ALL):
        able = [m for m in models if word in m.about]
        if able:
            return min(able, key=lambda m: m.rank)
    return max(models, key=lambda m: m.rank)


def conversation(
    question: Question, models: Sequence[Told], worth: int, manner: Manner = "plan", rng: random.Random | None = None
) -> Conversation:
    """A conversation about a question: shown and written in turn.

    Args:
        question: Single, or composed with its plan.
        models: As they are shown.
        worth: The figure shown.
        manner: `plan` is the right one.
        rng: With it, who is asked the `whole` composed question is drawn: half the time from all, else the dearest generalist.
    """
    start = opening(question.text, [(m.letter, m.rank, " ".join(m.about)) for m in models], worth)
    if manner == "none":
        return (f"{start}\nR:", f" {ANSWER}{NOTHING}")
    asked: list[tuple[Told, str, str]] = []  # whom, sub-question, answer
    results: dict[int, str] = {}
    if question.plan and manner == "whole":
        asked = [(anybody(models, rng), WHOLE, question.answer)]
    elif question.plan:
        for number, step in enumerate(question.plan, 1):
            asked.append((chosen(models, step.family), fill(step.template, results), step.answer))
            results[number] = step.answer
    else:
        asked = [(chosen(models, question.family), WHOLE, question.answer)]
    parts = [f"{start}\nR:"]
    for model, text, answer in asked:
        parts += [f" {model.letter} {text}\n", f"N: {answer}\nR:"]
    return (*parts, f" {ANSWER}{question.answer}")


def anybody(models: Sequence[Told], rng: random.Random | None) -> Told:
    """Who is asked a composed question as it is: anybody, half the time, or else the dearest of those said to be good at all."""
    if rng is not None and rng.random() < 0.5:
        return rng.choice(models)
    return max([m for m in models if ALL in m.about] or models, key=lambda m: m.rank)


def descriptions(best: Mapping[str, str], generalists: Sequence[str]) -> dict[str, str]:
    """What to say of a pool's models, from measurements: model -> its abilities, in the words that the router was taught.

    Args:
        best: Family -> the model that is best at it, as `standing.allocate` finds on validation questions.
        generalists: Models to be called good at everything.

    Example:
        >>> descriptions({"facts": "facts", "text": "words", "sorting": "words"}, ["large"])
        {'facts': 'country', 'words': 'letters sorted', 'large': 'all'}
    """
    said: dict[str, list[str]] = {}
    for family, model in best.items():
        said.setdefault(model, []).append(ABILITIES[family])
    return {model: " ".join(words) for model, words in said.items()} | dict.fromkeys(generalists, ALL)
