"""`code`: what a few lines of Python print. Programs are held out, numbers and all.

The answer comes from arithmetic and slicing written here, not from running the text; a test runs it and compares.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from routewright.lab.families.base import Family, Operation, Values, Worked
from routewright.lab.families.digits import minus, plus, times
from routewright.lab.words import draw, everyday

_ASKS = (
    "What does <code> print?",
    "[What|Which value] [is printed by|comes out of] <code>?",
    "Run <code>. What does it [print|show]?",
)
_LINES = ("What does this print?\n<code>", "[Run this|Read this]. What does it [print|show]?\n<code>")


def _ints(values: Values, slots: str) -> list[int]:
    return [int(values[slot]) for slot in slots]


def _linear(values: Values) -> Worked | None:
    """x * k + m, at most 99 * 9 + 99."""
    x, k, m = _ints(values, "xkm")
    if x > 99 or k > 9 or m > 99:
        return None
    product = times(x, k)
    total = plus(int(product.answer), m)
    working = f"{x}*{k}: {product.working} {product.answer}, {product.answer}+{m}: {total.working}"
    return Worked(total.answer, working)


def _compare(values: Values) -> Worked:
    x, k = _ints(values, "xk")
    return Worked(values["a"] if x > k else values["b"], f"{x}{'>' if x > k else '<' if x < k else '='}{k}")


def _remainder(values: Values) -> Worked | None:
    x, k = _ints(values, "xk")
    if x > 99 or not 2 <= k <= 9:
        return None
    whole = x // k * k
    left = minus(x, whole)
    return left and Worked(left.answer, f"{x // k}*{k}={whole}")


def _item(values: Values) -> Worked | None:
    (i,) = _ints(values, "i")
    word = values["x"]
    return (
        Worked(word[i], " ".join(f"{letter}{j}" for j, letter in enumerate(word[: i + 1]))) if i < len(word) else None
    )


def _slice(values: Values) -> Worked | None:
    i, j = _ints(values, "ij")
    word = values["x"]
    return (
        Worked(word[i:j], " ".join(f"{letter}{n}" for n, letter in enumerate(word[:j]))) if i < j <= len(word) else None
    )


def _length(values: Values) -> Worked | None:
    n, k = len(values["x"]), int(values["k"])
    return Worked(str(n + k), f"{n}+{k}") if k <= 9 else None


def _counting(step: Callable[[int, int], int], start: int) -> Callable[[Values], Worked | None]:
    def work(values: Values) -> Worked | None:
        n, k = _ints(values, "nk")
        if not 1 <= n <= 6 or k > 12:
            return None
        total, seen = start, list[str]()
        for i in range(n):
            total = step(total, i * k if start else k)
            seen.append(str(total))
        return Worked(str(total), " ".join(seen))

    return work


def _joined(values: Values) -> Worked | None:
    """Every letter, k times."""
    k = int(values["k"])
    return Worked("".join(letter * k for letter in values["x"])) if 2 <= k <= 3 and len(values["x"]) <= 8 else None


def _number(rng: random.Random) -> str:
    return str(rng.randint(2, 30))


def _short(rng: random.Random) -> str:
    word = draw(rng)
    return word if len(word) <= 8 else rng.choice(("stone", "panda", "lemon", "tiger"))


def _settings_linear(rng: random.Random, values: Values) -> Values | None:
    return {"k": str(rng.randint(2, 9)), "m": str(rng.randint(1, 30))}


def _settings_compare(rng: random.Random, values: Values) -> Values | None:
    a, b = rng.sample(everyday(), 2)
    return {"k": str(max(0, int(values["x"]) + rng.randint(-6, 6))), "a": a, "b": b}


def _settings_remainder(rng: random.Random, values: Values) -> Values | None:
    return {"k": str(rng.randint(2, 9))}


def _draw_of(settings: Callable[[random.Random, Values], Values | None]) -> Callable[[random.Random], Values]:
    def drawn(rng: random.Random) -> Values:
        x = {"x": _number(rng)}
        return {**x, **(settings(rng, x) or {})}

    return drawn


def _draw_slice(rng: random.Random) -> Values:
    word = _short(rng)
    i = rng.randrange(len(word))
    return {"x": word, "i": str(i), "j": str(rng.randint(i + 1, len(word)))}


def _draw_item(rng: random.Random) -> Values:
    word = _short(rng)
    return {"x": word, "i": str(rng.randrange(len(word)))}


def _draw_word(most: int) -> Callable[[random.Random], Values]:
    return lambda rng: {"x": _short(rng), "k": str(rng.randint(2, most))}


def _draw_loop(rng: random.Random) -> Values:
    return {"n": str(rng.randint(2, 6)), "k": str(rng.randint(2, 12))}


def _program(
    name: str,
    code: str,
    slots: dict[str, str],
    work: Callable[[Values], Worked | None],
    draw_values: Callable[[random.Random], Values],
    difficulty: int,
) -> Operation:
    asks = tuple(ask.replace("<code>", code) for ask in (_LINES if "\n" in code else _ASKS))
    return Operation(
        name, asks, code.replace("\n", "; "), slots, work, draw_values, difficulty=lambda values: difficulty
    )


def _chained(
    name: str,
    call: str,
    slots: dict[str, str],
    work: Callable[[Values], Worked | None],
    settings: Callable[[random.Random, Values], Values | None],
    gives: str,
    difficulty: int,
) -> Operation:
    """A program that starts with `x = ...`, whose value may come from a chain."""
    return Operation(
        name,
        tuple(ask.replace("<code>", f"x = <x>; {call}") for ask in _ASKS),
        f"x = <x>; {call}",
        {"x": "number", **slots},
        work,
        _draw_of(settings),
        difficulty=lambda values: difficulty,
        takes=("number",),
        gives=gives,
        settings=settings,
        nouns=(f"the output of {call} where x is <x>",),
        finals=(f"What does {call} show if x is <x>?", f"With x set to <x>, what does {call} print?"),
        does=(f"call it x and run {call}",),
    )


_NUMBERS = {"k": "number", "m": "number", "n": "number"}
_WORD = {"x": "word", "i": "number", "j": "number", "k": "number"}

FAMILY = Family(
    "code",
    "what a few lines of Python print",
    (
        _chained("linear", "print(x * <k> + <m>)", _NUMBERS, _linear, _settings_linear, "number", 2),
        _chained("remainder", "print(x % <k>)", _NUMBERS, _remainder, _settings_remainder, "number", 2),
        _chained(
            "compare", "print('<a>' if x > <k> else '<b>')", {**_NUMBERS, "a": "word", "b": "word"}, _compare,
            _settings_compare, "name", 1,
        ),
        _program("item", "print('<x>'[<i>])", _WORD, _item, _draw_item, 1),
        _program("slice", "print('<x>'[<i>:<j>])", _WORD, _slice, _draw_slice, 2),
        _program("size", "print(len('<x>') + <k>)", _WORD, _length, _draw_word(9), 1),
        _program("add", "t = 0\nfor i in range(<n>):\n    t += <k>\nprint(t)", _NUMBERS, _counting(lambda t, i: t + i, 0), _draw_loop, 2),
        _program("grow", "t = 1\nfor i in range(<n>):\n    t += i * <k>\nprint(t)", _NUMBERS, _counting(lambda t, i: t + i, 1), _draw_loop, 3),
        _program("spread", "t = ''\nfor c in '<x>':\n    t += c * <k>\nprint(t)", _WORD, _joined, _draw_word(3), 3),
    ),
)  # fmt: skip
