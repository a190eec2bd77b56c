"""`sorting`: short lists of numbers and of names: sorted, largest, how many. Lists are held out, whatever their order.

Names sort by the alphabet. Lists have three to five members, all different.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from routewright.lab.families.base import Family, Operation, Values, Worked
from routewright.lab.world import world

SHORTEST, LONGEST = 3, 5
_YEARS = range(1300, 2000)
LARGEST = 99


@cache
def _names() -> tuple[str, ...]:
    w = world()
    return tuple(name for name, kind in w.kind.items() if kind != "element" and len(name) <= 9)


def _members(values: Values) -> list[str]:
    return values["x"].split(", ")


def _numbers(values: Values) -> list[int] | None:
    members = _members(values)
    if len(members) < 2 or len(set(members)) < len(members) or not all(m.isdigit() for m in members):
        return None
    return [int(m) for m in members]


def _words(values: Values) -> list[str] | None:
    members = _members(values)
    return (
        members if len(members) > 1 and len(set(members)) == len(members) and all(map(str.isalpha, members)) else None
    )


def _joined(members: list[int] | list[str]) -> str:
    return ", ".join(map(str, members))


def _draw_numbers(rng: random.Random) -> Values:
    return {"x": _joined(rng.sample(range(LARGEST + 1), rng.randint(SHORTEST, LONGEST)))}


def _draw_names(rng: random.Random) -> Values:
    return {"x": _joined(rng.sample(_names(), rng.randint(SHORTEST, LONGEST)))}


def _draw_limit(rng: random.Random) -> Values:
    return {**_draw_numbers(rng), "n": str(rng.randint(10, 89))}


def _draw_pair(rng: random.Random) -> Values:
    x, y = rng.sample(range(LARGEST + 1), 2)
    return {"x": str(x), "y": str(y)}


def _draw_years(rng: random.Random) -> Values:
    x, y = rng.sample(_YEARS, 2)
    return {"x": str(x), "y": str(y)}


def _draw_two_names(rng: random.Random) -> Values:
    x, y = rng.sample(_names(), 2)
    return {"x": x, "y": y}


def _list(values: Values) -> str:
    """The list in order, so that every order of it is on one side."""
    return "/".join(sorted(_members(values)))


def _both(values: Values) -> str:
    return "/".join(sorted((values["x"], values["y"])))


def _by_length(values: Values) -> int:
    return len(_members(values)) - SHORTEST + 1


def _of_numbers(answer: Callable[[list[int]], Worked]) -> Callable[[Values], Worked | None]:
    return lambda values: None if (numbers := _numbers(values)) is None else answer(numbers)


def _of_words(answer: Callable[[list[str]], Worked]) -> Callable[[Values], Worked | None]:
    return lambda values: None if (words := _words(values)) is None else answer(words)


def _second(numbers: list[int]) -> Worked:
    largest = sorted(numbers, reverse=True)
    return Worked(str(largest[1]), str(largest[0]))


def _picked(keep: Callable[[int], bool]) -> Callable[[list[int]], Worked]:
    def answer(numbers: list[int]) -> Worked:
        kept = [n for n in numbers if keep(n)]
        return Worked(str(len(kept)), _joined(kept))

    return answer


def _above(values: Values) -> Worked | None:
    return _of_numbers(_picked(lambda n: n > int(values["n"])))(values)


def _below(values: Values) -> Worked | None:
    return _of_numbers(_picked(lambda n: n < int(values["n"])))(values)


def _larger(values: Values) -> Worked | None:
    x, y = int(values["x"]), int(values["y"])
    return Worked(str(max(x, y))) if x != y else None


def _smaller(values: Values) -> Worked | None:
    x, y = int(values["x"]), int(values["y"])
    return Worked(str(min(x, y))) if x != y else None


def _earlier(values: Values) -> Worked | None:
    x, y = values["x"], values["y"]
    return Worked(min(x, y, key=str.lower)) if x.lower() != y.lower() else None


_ORDER = ("from small to large", "from large to small")
_OF_LIST = {"x": "list", "n": "number"}
_ALPHABET = "[in the order of the alphabet|from a to z|by the alphabet]"


def _number_list(
    name: str, asks: tuple[str, ...], head: str, answer: Callable[[list[int]], Worked], noun: str = ""
) -> Operation:
    gives = "number" if noun else ""
    finals = (f"What is {noun}?",) if noun else ()
    return Operation(
        name, asks, head, _OF_LIST, _of_numbers(answer), _draw_numbers, _list, _by_length, gives=gives,
        nouns=(noun,) if noun else (), finals=finals,
    )  # fmt: skip


def _name_list(name: str, asks: tuple[str, ...], head: str, answer: Callable[[list[str]], Worked]) -> Operation:
    return Operation(name, asks, head, _OF_LIST, _of_words(answer), _draw_names, _list, _by_length)


_LISTS = (
    _number_list(
        "ascending",
        (
            f"Sort <x> {_ORDER[0]}.",
            f"[Put|Order|Please sort] the numbers <x> {_ORDER[0]}.",
            f"What is <x> sorted {_ORDER[0]}?",
        ),
        "<x> up",
        lambda numbers: Worked(_joined(sorted(numbers))),
    ),
    _number_list(
        "descending",
        (
            f"Sort <x> {_ORDER[1]}.",
            f"[Put|Order|Please sort] the numbers <x> {_ORDER[1]}.",
            f"What is <x> sorted {_ORDER[1]}?",
        ),
        "<x> down",
        lambda numbers: Worked(_joined(sorted(numbers, reverse=True))),
    ),
    _number_list(
        "largest",
        (
            "What is the largest of <x>?",
            "Which number [of|in the list] <x> is the [largest|biggest]?",
            "Find the largest of <x>.",
        ),
        "largest of <x>",
        lambda numbers: Worked(str(max(numbers))),
        "the largest of <x>",
    ),
    _number_list(
        "smallest",
        (
            "What is the smallest of <x>?",
            "Which number [of|in the list] <x> is the smallest?",
            "Find the smallest of <x>.",
        ),
        "smallest of <x>",
        lambda numbers: Worked(str(min(numbers))),
        "the smallest of <x>",
    ),
    _number_list(
        "second",
        ("What is the second largest of <x>?", "Which number [of|in the list] <x> is the second [largest|biggest]?"),
        "second largest of <x>",
        _second,
        "the second largest of <x>",
    ),
    _number_list(
        "even",
        (
            "How many of <x> are even?",
            "How many even numbers are in [the list|] <x>?",
            "Count the even numbers in <x>.",
        ),
        "even in <x>",
        _picked(lambda n: n % 2 == 0),
        "the count of even numbers in <x>",
    ),
    Operation(
        "above",
        ("How many of <x> are above <n>?", "How many [numbers in|of the numbers] <x> are [larger than|more than] <n>?"),
        "of <x> above <n>",
        _OF_LIST,
        _above,
        _draw_limit,
        _list,
        _by_length,
    ),
    Operation(
        "below",
        (
            "How many of <x> are below <n>?",
            "How many [numbers in|of the numbers] <x> are [smaller than|less than] <n>?",
        ),
        "of <x> below <n>",
        _OF_LIST,
        _below,
        _draw_limit,
        _list,
        _by_length,
    ),
    _name_list(
        "alphabet",
        (f"Sort <x> {_ALPHABET}.", f"[Put|Order|Please sort] the names <x> {_ALPHABET}."),
        "<x> a to z",
        lambda words: Worked(_joined(sorted(words, key=str.lower))),
    ),
    _name_list(
        "front",
        ("Which of <x> comes first in the alphabet?", "[Find|Name] the first of <x> in the alphabet."),
        "first of <x>",
        lambda words: Worked(min(words, key=str.lower)),
    ),
    _name_list(
        "longest",
        ("How many letters has the longest of <x>?", "How long is the longest [name|word] of <x>?"),
        "longest of <x>",
        lambda words: Worked(str(max(map(len, words))), " ".join(str(len(word)) for word in words)),
    ),
)


def _pair(
    name: str,
    kind: str,
    words: tuple[str, str],
    work: Callable[[Values], Worked | None],
    draw: Callable[[random.Random], Values],
    takes: str,
) -> Operation:
    """What is chosen of two values, which may come from two chains."""
    what, which = words
    return Operation(
        name,
        (
            f"What is {what} of <x> and <y>?",
            f"[Find|Tell me|Give me] {what} of <x> and <y>.",
            f"Which {which}, <x> or <y>?",
        ),
        f"{what.removeprefix('the ')} of <x>, <y>",
        {"x": kind, "y": kind},
        work,
        draw,
        _both,
        takes=(takes, takes),
        gives=takes,
        settings=lambda rng, values: None,
        nouns=(f"{what} of <x> and <y>",),
        finals=(f"What is {what} of <x> and <y>?", f"Which {which}, <x> or <y>?"),
    )


_PAIRS = (
    _pair("larger", "number", ("the larger", "number is larger"), _larger, _draw_pair, "number"),
    _pair("smaller", "number", ("the smaller", "number is smaller"), _smaller, _draw_pair, "number"),
    _pair("later", "number", ("the later", "year is later"), _larger, _draw_years, "year"),
    _pair("sooner", "number", ("the earlier", "year is earlier"), _smaller, _draw_years, "year"),
    _pair(
        "ahead",
        "word",
        ("the first in the alphabet", "comes first in the alphabet"),
        _earlier,
        _draw_two_names,
        "proper",
    ),
)

FAMILY = Family("sorting", "short lists of numbers or names: in order, largest, how many", (*_LISTS, *_PAIRS))
