"""Whether calls are right: against lists of allowed values per parameter, as the Berkeley leaderboard's checker judges.

A reference is one of

    {"f": {"a": [5], "b": ["x", ""]}}           one call; "" among the values: may be left out
    {"f_1": {...}, "f_2": {...}}                several calls, in any order; a counter follows a repeated name
    ["f(a=5)", "g(b=1)"]                        calls written out
    [] or {}                                    no call is right

Strings are compared without case, spaces and ,./-_*^ ; a string that spells a number or a list counts as that.
Reference: BFCL `eval_checker/checker.py` at 00b5602, 2024.
Differs: types come from the allowed values, for references carry no schema (so Java's "150" for a long is right here,
wrong there); calls written out are compared, not run. Beyond the arguments written they may have false or empty ones,
which restate a default, and the two of gcd and lcm may be swapped.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

from routewright.tasks.keys.call import Call, canonical, from_python
from routewright.tasks.keys.literal import MISSING, parse

_PUNCTUATION = re.compile(r"[ ,./\-_*^]")
_COUNTER = re.compile(r"[ _]\d+$")
_SYMMETRIC = ("gcd", "lcm", "hcf")


class Wanted(NamedTuple):
    """One call that a reference asks for: allowed values by parameter. `written`: it was a call, not such lists."""

    name: str
    allowed: dict[str, list[Any]]
    written: bool


def call_matches(key: str, reference: str, strict: bool = False) -> bool:
    """Whether the calls of a key are right for the reference; `strict` refuses [1] where [1.0] is asked."""
    try:
        calls: list[Call] = [(name, arguments) for name, arguments in json.loads(key)]
    except (ValueError, TypeError, RecursionError):
        return False
    wanted = wanted_calls(reference)
    if len(wanted) != len(calls):
        return False
    fits = [[j for j, call in enumerate(calls) if _fits(call, want, strict)] for want in wanted]
    return _one_each(fits, len(calls))


@lru_cache(maxsize=4_096)
def wanted_calls(reference: str) -> tuple[Wanted, ...]:
    """The calls a reference asks for; empty where no call is right."""
    try:
        value = json.loads(reference)
    except (ValueError, RecursionError):
        value = [reference]
    if isinstance(value, dict):
        value = [value]
    wanted: list[Wanted] = []
    for entry in value if isinstance(value, list) else [str(value)]:
        if isinstance(entry, dict):
            wanted += [Wanted(name, _lists(allowed), False) for name, allowed in entry.items()]
        else:
            calls = from_python(str(entry))
            wanted += [Wanted(name, {k: [canonical(v)] for k, v in given.items()}, True) for name, given in calls]
    return tuple(wanted)


def _lists(allowed: Any) -> dict[str, list[Any]]:
    pairs = allowed.items() if isinstance(allowed, dict) else ()
    return {name: values if isinstance(values, list) else [values] for name, values in pairs}


def _one_each(fits: list[list[int]], count: int) -> bool:
    """Whether every row can have a column of its own (augmenting paths)."""
    owner: list[int | None] = [None] * count

    def place(row: int, seen: set[int]) -> bool:
        for column in fits[row]:
            if column not in seen:
                seen.add(column)
                held = owner[column]
                if held is None or place(held, seen):
                    owner[column] = row
                    return True
        return False

    return all(fits) and len(fits) <= 200 and all(place(row, set()) for row in range(len(fits)))


def _fits(call: Call, want: Wanted, strict: bool) -> bool:
    called, arguments = call
    name = want.name.replace(".", "_")
    if called != name and called != _COUNTER.sub("", name) and not called.endswith(f"_{name}"):
        return False
    allowed = want.allowed
    if want.written:
        if name.endswith(_SYMMETRIC) and len(arguments) == len(allowed) == 2:
            return sorted(map(str, arguments.values())) == sorted(str(v[0]) for v in allowed.values())
        if list(allowed) == ["0"] and len(arguments) == 1:  # written by position
            allowed = {next(iter(arguments)): allowed["0"]}
        arguments = {k: v for k, v in arguments.items() if k in allowed or v not in (False, None, "", 0)}
    for parameter, value in arguments.items():
        options = allowed.get(parameter, ())
        if not any(
            _same(value, option, strict and not want.written) or (want.written and str(value) == option)
            for option in options
        ):
            return False
    return all(parameter in arguments or "" in options for parameter, options in allowed.items())


def _same(value: Any, option: Any, strict: bool, inside: bool = False) -> bool:
    if isinstance(option, str):
        return isinstance(value, str) and _plain(value) == _plain(option)
    if isinstance(value, str) and (spelt := parse(value)) is not MISSING:
        value = list(spelt) if isinstance(spelt, tuple) else spelt
    if isinstance(option, bool) or isinstance(value, bool):
        return isinstance(value, bool) and value is option
    if isinstance(option, list):
        if not isinstance(value, list) or len(value) != len(option):
            return False
        return all(_same(v, o, strict, True) for v, o in zip(value, option, strict=True))
    if isinstance(option, dict):
        return isinstance(value, dict) and _same_entries(value, option, strict)
    if strict and inside and isinstance(option, float) and isinstance(value, int):
        return False
    return bool(value == option)


def _same_entries(value: dict[str, Any], option: dict[str, Any], strict: bool) -> bool:
    given = {str(name).casefold(): entry for name, entry in value.items()}
    for name, inner in option.items():
        options = inner if isinstance(inner, list) else [inner]
        if name.casefold() not in given:
            if "" not in options:
                return False
            continue
        entry = given.pop(name.casefold())
        if not any(_same(entry, one, strict) for one in options) and not _same(entry, inner, strict):
            return False
    return not given


def _plain(text: str) -> str:
    return _PUNCTUATION.sub("", text).casefold().replace("'", '"').strip('"')
