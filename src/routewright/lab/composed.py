"""Composed questions of two to four steps that cross families, each with its gold plan.

    make(random.Random(0), "test").plan     # Steps: what a specialist is asked, its family, its gold answer, what it needs

Entities and (chain, operation) pairs are held out (`world.py`, `chains.py`): a test question names and comes through
entities that no training question does; half of the test questions have a pair that no training question has
(`new_pair`). Subtasks are questions of their families in the words that training uses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from routewright.errors import RoutewrightError
from routewright.lab.chains import STEPS, Link, Shape, shapes
from routewright.lab.families import FAMILIES
from routewright.lab.families.base import Question, Step, Values, Worked, expand, metric_of, put
from routewright.lab.world import Split, entities, entity_split, part
from routewright.policies.plan_text import fill

NAME = "composed"
_TRIES = 1_000
_WEIGHTS = (0.3, 0.4, 0.3)  # of two, three and four steps
ORDERS = expand(("[Tell me|Find|Give me|Work out|I want to know] <x>.", "[Can you find|Do you know] <x>?"))
ENDS = expand(("What [is the result|do you get|comes out]?",))
BEGINS = ("Take", "Start with", "Begin with", "First find")
JOINTS = (", then ", ", next ")


def make(rng: random.Random, split: Split, known_pairs: bool = False) -> Question:
    """A composed question of a split; with `known_pairs` its pairs of operations are those of training."""
    for _ in range(_TRIES):
        steps = rng.choices(STEPS, _WEIGHTS)[0]
        group = split if not known_pairs and (split == "train" or rng.random() < 0.5) else "train"
        by_first = shapes(steps, group)
        shape = rng.choice(by_first[rng.choice(list(by_first))])
        question = _fill(shape, rng, split)
        if question is not None:
            return question
    raise RoutewrightError(
        f"No composed question for the split {split!r} in {_TRIES} tries; expected about one in two to come out. Its shapes "
        "or entities leave too little: look at chains.py and world.py."
    )


def run(plan: Sequence[Step], solve: Callable[[str, str], Worked | None] | None = None) -> list[Worked]:
    """Execute a gold plan, each subtask by the exact solver of its family, from the subtasks' texts alone.

    Args:
        plan: The steps.
        solve: (family, text) -> answer, if not the families' own.

    Raises:
        RoutewrightError: A subtask is no question of its family.
    """
    done: list[Worked] = []
    for step in plan:
        text = fill(step.template, {i: worked.answer for i, worked in enumerate(done, 1)})
        worked = solve(step.family, text) if solve else FAMILIES.load(step.family).solve(text)
        if worked is None:
            raise RoutewrightError(
                f"{text!r} is no question of the family {step.family!r}: a defect of the plan's template."
            )
        done.append(worked)
    return done


def _fill(shape: Shape, rng: random.Random, split: Split) -> Question | None:
    """The shape with values; None if an operation does not apply to what came before."""
    steps: list[Step] = []
    settings: list[Values] = []
    for link in shape.links:
        given = {slot: steps[i].answer for slot, i in zip("xy", link.after, strict=False)}
        chosen = _values(link, given, rng, split)
        worked = link.operation.work({**given, **chosen}) if chosen is not None else None
        if chosen is None or worked is None:
            return None
        if link.family == "facts" and entity_split(worked.answer) not in (split, None):
            return None
        steps.append(_step(link, chosen, worked))
        settings.append(chosen)
    if len({step.template for step in steps}) < len(steps):
        return None  # two branches about the same
    text = _say(shape, settings, rng)
    used = [
        name
        for s, step in zip(settings, steps, strict=True)
        if step.family == "facts"
        for name in (s.get("x"), step.answer)
    ]
    return Question(
        text,
        steps[-1].answer,
        NAME,
        shape.name,
        len(steps) - 1,
        metric_of(steps[-1].answer),
        split,
        entities=tuple(dict.fromkeys(name for name in used if name and entity_split(name))),
        plan=tuple(steps),
        pairs=shape.pairs,
        new_pair=bool(shape.splits - {"train"}),
    )


def _values(link: Link, given: Values, rng: random.Random, split: Split) -> Values | None:
    """The values that no earlier step gives."""
    operation = link.operation
    if link.after:
        if len(link.after) == len(operation.takes) > 1:
            return {}
        return operation.settings(rng, given)
    if link.family == "facts":
        names = entities(operation.takes[0], split)
        return {"x": rng.choice(names)} if names else None
    values = operation.draw(rng)
    return values if part(link.family, operation.held(values)) == split else None


def _step(link: Link, chosen: Values, worked: Worked) -> Step:
    slots = {slot: f"{{{i + 1}}}" for slot, i in zip("xy", link.after, strict=False)} | dict(chosen)
    operation = link.operation
    return Step(
        put(operation.phrasings[0], slots),
        put(operation.head, slots),
        link.family,
        operation.name,
        worked.answer,
        worked.working,
        link.after,
    )


# -- how it is said


def _say(shape: Shape, settings: Sequence[Values], rng: random.Random) -> str:
    forms = [_ask_last, _ask_last, _order] if shape.nests else []
    if len(shape.links[-1].after) == 1:
        forms.append(_take_last)
        if shape.links[-1].operation.tail and shape.nests and len(shape.links[-2].after) == 1:
            forms += [_tail, _tail]
        if all(len(link.after) <= 1 for link in shape.links):
            forms += [_in_turn, _in_turn]
    text = rng.choice(forms)(shape, settings, rng)
    prefaces = [
        put(link.operation.preface, s) for link, s in zip(shape.links, settings, strict=True) if link.operation.preface
    ]
    return " ".join([*prefaces, text[0].upper() + text[1:]])


def _noun(shape: Shape, settings: Sequence[Values], i: int, rng: random.Random) -> str:
    """Link i and all before it as one noun phrase."""
    link = shape.links[i]
    inner = {slot: _noun(shape, settings, j, rng) for slot, j in zip("xy", link.after, strict=False)}
    return put(rng.choice(expand(link.operation.nouns)), {**settings[i], **inner})


def _final(shape: Shape, settings: Sequence[Values], i: int, rng: random.Random) -> str:
    link = shape.links[i]
    inner = {slot: _noun(shape, settings, j, rng) for slot, j in zip("xy", link.after, strict=False)}
    return put(rng.choice(expand(link.operation.finals)), {**settings[i], **inner})


def _do(shape: Shape, settings: Sequence[Values], i: int, rng: random.Random) -> str:
    return put(rng.choice(shape.links[i].operation.does), settings[i])


def _ask_last(shape: Shape, settings: Sequence[Values], rng: random.Random) -> str:
    return _final(shape, settings, len(shape.links) - 1, rng)


def _order(shape: Shape, settings: Sequence[Values], rng: random.Random) -> str:
    return put(rng.choice(ORDERS), {"x": _noun(shape, settings, len(shape.links) - 1, rng)})


def _tail(shape: Shape, settings: Sequence[Values], rng: random.Random) -> str:
    """A question about the last step but one, with the last hung on: "How many vowels are in Bern, times 7?"."""
    last = len(shape.links) - 1
    asked = _final(shape, settings, last - 1, rng)
    return f"{asked[:-1]}, {put(shape.links[last].operation.tail, settings[last])}?"


def _take_last(shape: Shape, settings: Sequence[Values], rng: random.Random) -> str:
    """A noun phrase, and the last step as an order."""
    last = len(shape.links) - 1
    if not Shape(shape.links[:-1]).nests:
        return _in_turn(shape, settings, rng)
    return f"{rng.choice(BEGINS)} {_noun(shape, settings, last - 1, rng)}, then {_do(shape, settings, last, rng)}. {rng.choice(ENDS)}"


def _in_turn(shape: Shape, settings: Sequence[Values], rng: random.Random) -> str:
    """The first step as a noun phrase, every other as an order."""
    joint = rng.choice(JOINTS)
    orders = "".join(joint + _do(shape, settings, i, rng) for i in range(1, len(shape.links)))
    return f"{rng.choice(BEGINS)} {_noun(shape, settings, 0, rng)}{orders}. {rng.choice(ENDS)}"
