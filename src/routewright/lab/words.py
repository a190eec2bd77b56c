"""Words to be asked about: everyday ones from `words.txt`, names of the world, invented ones, and any of them turned round.

    draw(random.Random(0))     # "walnut", "Oslo", "rimeto", "nreB"

Invented words make them unlimited: a model has to read letters, and can not learn words by heart.
"""

from __future__ import annotations

import random
from functools import cache
from importlib.resources import files

from routewright.lab.world import all_names

_STARTS = [
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "z",
    "br",
    "cl",
    "dr",
    "fl",
    "gr",
    "pl",
    "sh",
    "st",
    "th",
    "tr",
]
_MIDDLES = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "ou"]
_ENDS = ["", "", "", "", *["n", "r", "s", "l", "t", "m", "ck", "nd"]]
SHORTEST, LONGEST = 3, 9
_SPELLED_LITERALS = frozenset({"true", "false", "none", "null"})


@cache
def everyday() -> tuple[str, ...]:
    """The everyday words, lower case."""
    return tuple(files("routewright.lab").joinpath("words.txt").read_text(encoding="utf-8").split())


@cache
def _names() -> tuple[str, ...]:
    return tuple(name for name in all_names() if SHORTEST <= len(name) <= LONGEST + 2)


def invented(rng: random.Random) -> str:
    """A word of two or three syllables that is in no dictionary, or nearly so."""
    while True:
        n = 2 if rng.random() < 0.6 else 3
        word = "".join([rng.choice(_STARTS) + rng.choice(_MIDDLES) for _ in range(n)]) + rng.choice(_ENDS)
        if len(word) <= LONGEST:
            return word


def draw(rng: random.Random) -> str:
    """A word: 30% everyday, 35% names, 35% invented; of all these one in eight reversed, in capitals, or repeated."""
    kind = rng.random()
    word = rng.choice(everyday()) if kind < 0.3 else rng.choice(_names()) if kind < 0.65 else invented(rng)
    twist = rng.random()
    if twist < 0.05:
        word = word[::-1]
    elif twist < 0.1:
        word = word.upper()
    elif twist < 0.125 and len(word) < 6:
        word *= 2
    return word if word.lower() not in _SPELLED_LITERALS else "acorn"
