"""`facts`: one fact of the lab's fixed world. All facts are there to be learnt; ways to ask them are held out."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from routewright.lab.families.base import Family, Operation, Values, Worked
from routewright.lab.world import fact, world


def _asks(*nouns: str, first: str = "", more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The usual ways to ask for what noun phrases name; `first` is the one that plans use."""
    either = f"[{'|'.join(nouns)}]"
    usual = (f"[What is|Do you know|Can you tell me] {either}?", f"[Tell me|Give me|Please name|Name] {either}.")
    return (first or f"What is {nouns[0]}?", *usual, *more)


@cache
def _known(relation: str) -> tuple[str, ...]:
    return tuple(world().facts[relation])


def _relation(
    name: str,
    takes: str,
    gives: str,
    head: str,
    nouns: tuple[str, ...],
    does: tuple[str, ...] = (),
    *,
    first: str = "",
    more: tuple[str, ...] = (),
) -> Operation:
    asks = _asks(*nouns, first=first, more=more)
    return Operation(
        name,
        asks,
        head,
        {"x": "word"},
        _look_up(name),
        _draw(name),
        takes=(takes,),
        gives=gives,
        nouns=nouns,
        finals=tuple(a for a in (f"What is {nouns[0]}?", first, *more) if a),
        does=does,
    )


def _look_up(relation: str) -> Callable[[Values], Worked | None]:
    def work(values: Values) -> Worked | None:
        value = fact(relation, values["x"])
        return None if value is None else Worked(value)

    return work


def _draw(relation: str) -> Callable[[random.Random], Values]:
    return lambda rng: {"x": rng.choice(_known(relation))}


_OF_COUNTRIES = (
    _relation(
        "capital",
        "country",
        "city",
        "capital of <x>",
        ("the capital of <x>", "the capital city of <x>", "the seat of government of <x>"),
        ("find its capital", "go to its capital"),
        more=("Which city is the capital of <x>?",),
    ),
    _relation(
        "currency",
        "country",
        "name",
        "currency of <x>",
        ("the currency of <x>", "the money used in <x>", "the name of the money in <x>"),
        ("take its currency", "find the money used there"),
        more=("What do people pay with in <x>?", "Which currency is used in <x>?"),
    ),
    _relation(
        "language",
        "country",
        "name",
        "language of <x>",
        ("the main language of <x>", "the main language spoken in <x>", "the most common language in <x>"),
        ("take its main language", "find the main language there"),
        more=("Which language is mainly spoken in <x>?", "What do people mostly speak in <x>?"),
    ),
    _relation(
        "continent",
        "country",
        "name",
        "continent of <x>",
        ("the continent of <x>", "the continent that <x> is in", "the continent that <x> belongs to"),
        ("find the continent it is in",),
        more=("[On which continent is|Which continent is home to] <x>?",),
    ),
)
_OF_PLACES = (
    _relation(
        "source",
        "river",
        "country",
        "source of <x>",
        ("the country where the <x> rises", "the country with the source of the <x>", "the country the <x> starts in"),
        first="In which country does the <x> rise?",
        more=("In [which|what] country does the river <x> [start|begin]?", "Where is the source of the <x>?"),
    ),
    _relation(
        "place",
        "mountain",
        "country",
        "place of <x>",
        ("the country where Mount <x> stands", "the home country of Mount <x>", "the country that Mount <x> is in"),
        first="In which country is Mount <x>?",
        more=("[In what country|Where] [is|stands] Mount <x>?", "Which country has Mount <x>?"),
    ),
    _relation(
        "number",
        "element",
        "number",
        "number of <x>",
        ("the atomic number of <x>", "the number of protons in <x>", "the place of <x> in the periodic table"),
        more=("How many protons does <x> have?", "Which atomic number has <x>?"),
    ),
)
_OF_PEOPLE = (
    _relation(
        "born",
        "person",
        "year",
        "birth of <x>",
        ("the birth year of <x>", "the year of birth of <x>", "the year in which <x> was born"),
        ("find the year of birth",),
        more=("[When|In which year|In what year] was <x> born?",),
    ),
    _relation(
        "home",
        "person",
        "country",
        "home of <x>",
        ("the home country of <x>", "the country <x> came from", "the native country of <x>"),
        ("find the home country", "go to the home country"),
        more=("[Which|What] country did <x> come from?", "Where did <x> come from?"),
    ),
    _relation(
        "author",
        "book",
        "person",
        "author of <x>",
        ("the author of <x>", "the writer of <x>", "the person who wrote <x>"),
        first="Who wrote <x>?",
        more=("Who [was|is] the [author|writer] of <x>?", "By whom was <x> written?"),
    ),
    _relation(
        "composer",
        "music",
        "person",
        "composer of <x>",
        ("the composer of <x>", "the person who composed <x>", "the musician behind <x>"),
        first="Who composed <x>?",
        more=("Who [was|is] the composer of <x>?", "By whom was <x> composed?"),
    ),
)


def _entities(values: Values) -> tuple[str, ...]:
    return (values["x"],)


FAMILY = Family(
    "facts",
    "one fact of a small fixed world",
    (*_OF_COUNTRIES, *_OF_PLACES, *_OF_PEOPLE),
    _entities,
    hold_phrasings=True,
    weights=(77, 81, 72, 64, 78, 40, 48, 75, 73, 54, 33),  # facts of each relation, so that all come equally often
)
