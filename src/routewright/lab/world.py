"""The lab's fixed world: entities of seven kinds and what is true of them, read from `world.txt` when first asked.

    fact("capital", "Switzerland")      # "Bern"
    entities("river", "test")           # rivers that composed test questions may name

The facts are real ones. Names are unique over all kinds, so that a name says what it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, TypeAlias, get_args

from routewright.errors import RoutewrightError, UnknownName

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# Whole countries, with all that belongs to them, are kept from coordinators; written out, so that each part has rivers,
# mountains, people and works.
_HELD_OUT: Mapping[Split, frozenset[str]] = {
    "validation": frozenset(
        ["Chile", "Colombia", "Czechia", "Finland", "Greece", "Mongolia", "Nepal", "Poland", "Portugal", "Slovenia"]
    ),
    "test": frozenset(
        [
            "Austria",
            "Bulgaria",
            "Denmark",
            "Ecuador",
            "Egypt",
            "Ireland",
            "Japan",
            "Norway",
            "Peru",
            "Turkey",
            "Ukraine",
            "Zambia",
        ]
    ),
}
_TO_COUNTRY = {"river": "source", "mountain": "place", "person": "home"}
_TO_PERSON = {"book": "author", "music": "composer"}


@dataclass(frozen=True)
class World:
    """The tables: kind -> names in order, relation -> name -> value, relation -> kind, name -> kind."""

    names: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, Mapping[str, str]]
    subject: Mapping[str, str]
    kind: Mapping[str, str]


def part(*key: str) -> Split:
    """The split that a key belongs to, for ever: 8 in 10 train, 1 validation, 1 test."""
    bucket = zlib.crc32("\x1f".join(key).encode()) % 10
    return "train" if bucket < 8 else "validation" if bucket == 8 else "test"


def check_split(split: str) -> Split:
    """The split of that name; `UnknownName` if there is none."""
    for known in SPLITS:
        if split == known:
            return known
    raise UnknownName("split", split, SPLITS)


@cache
def world() -> World:
    """The world that ships with the package."""
    return parse(files("routewright.lab").joinpath("world.txt").read_text(encoding="utf-8"))


def parse(text: str) -> World:
    """Read the tables; `RoutewrightError` names the line of a row that is too short, or of a name that comes twice."""
    names: dict[str, list[str]] = {}
    facts: dict[str, dict[str, str]] = {}
    subject: dict[str, str] = {}
    kind_of: dict[str, str] = {}
    kind, relations = "", list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        first, *rest = line.split() or ["#"]
        if first.startswith("#"):
            continue
        if first.startswith("["):
            kind, relations = first.strip("[]"), rest
            names[kind] = []
            facts |= {relation: {} for relation in rest}
            subject |= dict.fromkeys(rest, kind)
            continue
        if len(rest) != len(relations) or not (first + "".join(rest).replace("-", "")).isalnum():
            raise RoutewrightError(
                f"world, line {number}: {line!r} has {len(rest)} values. Expected a name and {len(relations)} words for "
                f"{', '.join(relations)}, '-' where there is none."
            )
        if first in kind_of:
            raise RoutewrightError(f"world, line {number}: {first!r} is a {kind_of[first]} already. Leave one out.")
        names[kind].append(first)
        kind_of[first] = kind
        for relation, value in zip(relations, rest, strict=True):
            if value != "-":
                facts[relation][first] = value
    return World({k: tuple(v) for k, v in names.items()}, facts, subject, kind_of)


def fact(relation: str, name: str) -> str | None:
    """What stands in the world, or None."""
    return world().facts[relation].get(name)


def country_of(name: str) -> str | None:
    """The country that an entity belongs to: that of its person for a work, its own for a country or capital."""
    w = world()
    kind = w.kind.get(name)
    if kind is None:
        return _capitals().get(name)
    if kind in _TO_PERSON:
        return country_of(w.facts[_TO_PERSON[kind]][name])
    return name if kind == "country" else w.facts[_TO_COUNTRY[kind]].get(name) if kind in _TO_COUNTRY else None


@cache
def entity_split(name: str) -> Split | None:
    """Which composed questions may name an entity or come through it; None for what is no entity (a currency, a year)."""
    w = world()
    if name not in w.kind and name not in _capitals():
        return None
    country = country_of(name)
    if country is not None:
        return next((split for split, held in _HELD_OUT.items() if country in held), "train")
    author = next((w.facts[r][name] for r in _TO_PERSON.values() if name in w.facts[r]), name)
    return part("entity", author)


@cache
def entities(kind: str, split: Split) -> tuple[str, ...]:
    """The names of a kind that belong to a split of composed questions."""
    return tuple(name for name in world().names[kind] if entity_split(name) == split)


@cache
def all_names() -> tuple[str, ...]:
    """Every name and every value in words: what text operations may be asked about."""
    w = world()
    values = {v for table in w.facts.values() for v in table.values() if v.isalpha()}
    return tuple(sorted({*w.kind, *values}))


@cache
def _capitals() -> dict[str, str]:
    return {city: country for country, city in world().facts["capital"].items()}
