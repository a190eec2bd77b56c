"""`units`: a fixed table of conversions, days of the week and months, with small numbers. The numbers are held out."""

from __future__ import annotations

import random
from collections.abc import Callable

from routewright.lab.families.base import Family, Operation, Values, Worked
from routewright.lab.families.digits import times

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
LENGTHS = dict(
    zip(MONTHS, ["31", "28", "31", "30", "31", "30", "31", "31", "30", "31", "30", "31"], strict=True)
)  # of a common year
LARGEST = 99
CHAINED = ("km", "hours", "weeks")  # conversions that composed questions use; the others would crowd out the rest
# name: the large unit, the small one, how many of it, the largest number asked about
_CONVERSIONS = {
    "km": ("kilometers", "meters", 1000, 99),
    "kg": ("kilograms", "grams", 1000, 99),
    "cm": ("meters", "centimeters", 100, 99),
    "hours": ("hours", "minutes", 60, 99),
    "minutes": ("minutes", "seconds", 60, 99),
    "weeks": ("weeks", "days", 7, 99),
    "years": ("years", "months", 12, 99),
    "dozens": ("dozens", "pieces", 12, 99),
}


def _multiplied(n: int, factor: int) -> Worked:
    """n * factor; zeros of the factor are only appended, so 60 is worked as 6."""
    digits = str(factor).rstrip("0")
    worked = times(n, int(digits))
    return Worked(str(n * factor), worked.working if digits != "1" else "")


def _down(factor: int) -> Callable[[Values], Worked | None]:
    return lambda values: _multiplied(n, factor) if (n := int(values["x"])) <= LARGEST else None


def _up(factor: int) -> Callable[[Values], Worked | None]:
    def work(values: Values) -> Worked | None:
        n, rest = divmod(int(values["x"]), factor)
        return Worked(str(n), f"{n}*{factor}={values['x']}") if not rest and 0 < n <= LARGEST else None

    return work


def _draw_down(most: int) -> Callable[[random.Random], Values]:
    return lambda rng: {"x": str(rng.randrange(1, 10) if rng.random() < 0.3 else rng.randint(10, most))}


def _draw_up(most: int, factor: int) -> Callable[[random.Random], Values]:
    return lambda rng: {"x": str(factor * (rng.randrange(1, 10) if rng.random() < 0.3 else rng.randint(10, most)))}


def _by_size(values: Values) -> int:
    return 1 if len(values["x"].rstrip("0")) < 2 else 2


def _conversion(name: str) -> tuple[Operation, Operation]:
    large, small, factor, most = _CONVERSIONS[name]
    down = Operation(
        f"{name}_down",
        (
            f"How many {small} are in <x> {large}?",
            f"How many {small} [are|is] <x> {large}?",
            f"[Convert|Change] <x> {large} [to|into] {small}.",
            f"What is <x> {large} in {small}?",
        ),
        f"<x> {large} in {small}",
        {"x": "number"},
        _down(factor),
        _draw_down(most),
        lambda values: f"{name}/{values['x']}",
        _by_size,
        takes=("number",),
        gives="total" if name in CHAINED else "",  # too large to go on with
        nouns=(f"the number of {small} in as many {large} as <x>",),
        finals=(f"How many {small} are in as many {large} as <x>?",),
        does=(f"take it as {large} and change that to {small}",),
    )
    up = Operation(
        f"{name}_up",
        (
            f"How many {large} are <x> {small}?",
            f"[Convert|Change] <x> {small} [to|into] {large}.",
            f"What is <x> {small} in {large}?",
        ),
        f"<x> {small} in {large}",
        {"x": "number"},
        _up(factor),
        _draw_up(most, factor),
        lambda values: f"{name} up/{values['x']}",
        lambda values: 2,
    )
    return down, up


def _steps(cycle: list[str], start: str, n: int) -> Worked | None:
    """The n-th after `start`: whole rounds taken off, then one by one in short names."""
    if start not in cycle or n > LARGEST:
        return None
    rounds, rest = divmod(n, len(cycle))
    at = cycle.index(start)
    passed = " ".join(cycle[(at + i) % len(cycle)][:3] for i in range(1, rest + 1))
    working = f"{n}-{rounds * len(cycle)}={rest} {passed}" if rounds else passed
    return Worked(cycle[(at + rest) % len(cycle)], working.strip())


def _after(cycle: list[str]) -> Callable[[Values], Worked | None]:
    return lambda values: _steps(cycle, values["d"], int(values["x"]))


def _draw_date(cycle: list[str], most: int) -> Callable[[random.Random], Values]:
    return lambda rng: {"x": str(rng.randint(1, most)), "d": rng.choice(cycle)}


def _start(cycle: list[str]) -> Callable[[random.Random, Values], Values | None]:
    return lambda rng, values: {"d": rng.choice(cycle)}


_DATES = (
    Operation(
        "weekday",
        (
            "What day is <x> days after <d>?",
            "[Which day|What day of the week] [is|comes] <x> days after <d>?",
            "[It is|Today is] <d>. [What|Which] day is it in <x> days?",
        ),
        "<d> + <x> days",
        {"x": "number", "d": "word"},
        _after(DAYS),
        _draw_date(DAYS, 30),
        difficulty=lambda values: 1 if int(values["x"]) < 7 else 2,
        takes=("number",),
        gives="name",
        settings=_start(DAYS),
        nouns=("the day that comes as many days after <d> as <x>",),
        finals=(
            "If today is <d>, what day is it in as many days as <x>?",
            "Which day comes as many days after <d> as <x>?",
        ),
        does=("go that many days on from <d>",),
    ),
    Operation(
        "month",
        (
            "What month is <x> months after <d>?",
            "[Which|What] month comes <x> months after <d>?",
            "[It is|This is] <d>. [What|Which] month is it in <x> months?",
        ),
        "<d> + <x> months",
        {"x": "number", "d": "word"},
        _after(MONTHS),
        _draw_date(MONTHS, 23),
        difficulty=lambda values: 2 if int(values["x"]) < 7 else 3,
        takes=("number",),
        gives="name",
        settings=_start(MONTHS),
        nouns=("the month that comes as many months after <d> as <x>",),
        finals=(
            "If it is <d>, what month is it in as many months as <x>?",
            "Which month comes as many months after <d> as <x>?",
        ),
        does=("go that many months on from <d>",),
    ),
    Operation(
        "days",
        ("How many days are in <x> and <y> together?", "How many days do <x> and <y> have [together|in all]?"),
        "days of <x> and <y>",
        {"x": "word", "y": "word"},
        lambda values: _month_days(values),
        lambda rng: dict(zip("xy", rng.sample(MONTHS, 2), strict=True)),
        difficulty=lambda values: 3,
    ),
)


def _month_days(values: Values) -> Worked | None:
    """Days of two months of a common year, added in writing."""
    if values["x"] not in LENGTHS or values["y"] not in LENGTHS:
        return None
    x, y = LENGTHS[values["x"]], LENGTHS[values["y"]]
    return Worked(str(int(x) + int(y)), f"{x}+{y}")


FAMILY = Family(
    "units",
    "units of length, weight and time, days of the week and months",
    (*(operation for name in _CONVERSIONS for operation in _conversion(name)), *_DATES),
    weights=(*[1.0] * (2 * len(_CONVERSIONS)), 4.0, 4.0, 1.0),
)
