"""`arithmetic`: sums, differences and products of numbers from 0 to 99, carries written out. Pairs of operands are held out."""

from __future__ import annotations

import random

from routewright.lab.families.base import Family, Operation, Values, Worked
from routewright.lab.families.digits import minus, plus, times

LARGEST = 99


def _draw(rng: random.Random) -> Values:
    """Two operands, each as often of one digit as of two."""
    return {slot: str(rng.randrange(10) if rng.random() < 0.4 else rng.randint(10, LARGEST)) for slot in "xy"}


def _draw_ordered(rng: random.Random) -> Values:
    small, large = sorted(_draw(rng).values(), key=int)
    return {"x": large, "y": small}


def _pair(values: Values) -> str:
    """The same for both orders."""
    return "/".join(sorted(values.values(), key=int))


def _fits(values: Values) -> tuple[int, int] | None:
    x, y = int(values["x"]), int(values["y"])
    return (x, y) if x <= LARGEST and y <= LARGEST else None


def _plus(values: Values) -> Worked | None:
    return plus(*pair) if (pair := _fits(values)) else None


def _minus(values: Values) -> Worked | None:
    return minus(*pair) if (pair := _fits(values)) else None


def _times(values: Values) -> Worked | None:
    return times(*pair) if (pair := _fits(values)) else None


def _digits(values: Values) -> int:
    """1: both operands of one digit; 2: one of two digits, or a sum or difference of such; 3: a long product."""
    return min(3, len(values["x"]) + len(values["y"]) - 1)


def _digits_of_sum(values: Values) -> int:
    return min(2, len(values["x"]) + len(values["y"]) - 1)


def _some(rng: random.Random, values: Values) -> Values:
    return {"y": str(rng.randint(2, 49))}


def _digit(rng: random.Random, values: Values) -> Values:
    return {"y": str(rng.randint(2, 9))}


def _less(rng: random.Random, values: Values) -> Values | None:
    x = int(values["x"])
    return {"y": str(rng.randint(1, min(x, LARGEST)))} if x else None


_THINGS = "[apples|books|coins|cards]"
_NUMBERS = {"x": "number", "y": "number"}
_OPENERS = "[What is|How much is|What do you get for]"

FAMILY = Family(
    "arithmetic",
    "sums, differences and products of numbers up to 99",
    (
        Operation(
            "plus",
            (
                "What is <x> + <y>?",
                f"{_OPENERS} <x> [+|plus] <y>?",
                "What is the sum of <x> and <y>?",
                "[Add|Please add] <y> to <x>.",
                "[Work out|Compute] <x> [+|plus] <y>.",
                f"I have <x> {_THINGS} and get <y> more. How many [are there|do I have] now?",
            ),
            "<x> + <y>",
            _NUMBERS,
            _plus,
            _draw,
            _pair,
            _digits_of_sum,
            ("number", "number"),
            "number",
            _some,
            ("the sum of <x> and <y>",),
            ("What is <x> plus <y>?", "How much is <x> and <y> together?", "What do you get if you add <y> to <x>?"),
            ("add <y>", "add <y> to it"),
            tail="plus <y>",
        ),
        Operation(
            "minus",
            (
                "What is <x> - <y>?",
                f"{_OPENERS} <x> [-|minus] <y>?",
                "What is the difference of <x> and <y>?",
                "[Take|Please take] <y> from <x>.",
                "[Work out|Compute] <x> [-|minus] <y>.",
                f"Of <x> {_THINGS} I lose <y>. How many are [left|there now]?",
            ),
            "<x> - <y>",
            _NUMBERS,
            _minus,
            _draw_ordered,
            _pair,
            _digits_of_sum,
            ("number", "number"),
            "number",
            _less,
            ("the difference of <x> and <y>",),
            ("What is <x> minus <y>?", "How much is left of <x> after taking <y>?", "What is <x> less <y>?"),
            ("take away <y>", "take <y> from it"),
            tail="minus <y>",
        ),
        Operation(
            "times",
            (
                "What is <x> * <y>?",
                f"{_OPENERS} <x> [*|times] <y>?",
                "What is the product of <x> and <y>?",
                "[Multiply|Please multiply] <x> by <y>.",
                "[Work out|Compute] <x> [*|times] <y>.",
                f"<x> boxes hold <y> {_THINGS} each. How many is that [together|in all]?",
            ),
            "<x> * <y>",
            _NUMBERS,
            _times,
            _draw,
            _pair,
            _digits,
            ("number", "number"),
            "number",
            _digit,
            ("the product of <x> and <y>",),
            ("What is <x> times <y>?", "How much is <x> times <y>?", "What do you get if you multiply <x> by <y>?"),
            ("multiply it by <y>", "multiply by <y>"),
            tail="times <y>",
        ),
    ),
)
